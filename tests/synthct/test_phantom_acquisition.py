"""How the scanners see one tissue, an edge and a cylinder, against what the noise laws and constants say."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from phantom_cases import centred_axes

from synthct.phantom import acquisition, cbct
from synthct.phantom.acquisition import attenuation, ct_scan, mr_scan, stored_hu
from synthct.phantom.cbct import cbct_scan
from synthct.phantom.tissues import TISSUES, Tissue, values_per_tissue

SHAPE = (12, 64, 64)
SPACING = (3.0, 4.0, 4.0)
AXES = centred_axes((64, 64, 12), (4.0, 4.0, 3.0))
RADIUS = np.hypot(AXES[0][None, :], AXES[1][:, None])
SIGMA = 12.0


def only(tissue: Tissue) -> npt.NDArray[np.uint8]:
    return np.full(SHAPE, tissue, dtype=np.uint8)


def cylinder(tissue: Tissue = Tissue.MUSCLE) -> npt.NDArray[np.uint8]:
    """Return a cylinder of 100 mm radius along z."""
    return np.where(np.broadcast_to(RADIUS < 100, SHAPE), np.uint8(tissue), np.uint8(0)).astype(np.uint8)


def mr(tissues: npt.NDArray[np.uint8], seed: int = 0) -> npt.NDArray[np.int16]:
    return mr_scan(tissues, SPACING, AXES, np.random.default_rng(seed))


def cone_beam(tissues: npt.NDArray[np.uint8], seed: int = 0) -> npt.NDArray[np.int16]:
    return cbct_scan(values_per_tissue("hu")[tissues], tissues, SPACING, AXES, np.random.default_rng(seed))


def test_every_tissue_has_values_that_can_be_stored() -> None:
    assert set(TISSUES) == set(Tissue)
    assert sorted(Tissue) == list(range(len(Tissue)))
    for tissue, values in TISSUES.items():
        assert -1000 <= values.hu <= 2000, tissue
        assert 0 <= values.mr <= 1000, tissue
        assert min(values.hu_texture, values.mr_texture) >= 0, tissue
    assert values_per_tissue("hu")[Tissue.MUSCLE] == 55
    assert values_per_tissue("mr")[[Tissue.FAT, Tissue.COMPACT]].tolist() == [930, 40]


def test_mr_of_air_follows_rayleighs_law() -> None:
    air = mr(only(Tissue.OUTSIDE)).astype(float)
    assert air.mean() == pytest.approx(SIGMA * math.sqrt(math.pi / 2), rel=0.01)
    assert air.std() == pytest.approx(SIGMA * math.sqrt(2 - math.pi / 2), rel=0.02)
    assert air.min() >= 0


@pytest.mark.parametrize("tissue", [Tissue.FLUID, Tissue.COMPACT, Tissue.BLOOD])
def test_mr_of_one_tissue_follows_rices_law(tissue: Tissue, monkeypatch: pytest.MonkeyPatch) -> None:
    # The second moment of Rician magnitudes is signal^2 + 2 sigma^2; texture adds at most its own variance.
    monkeypatch.setattr(acquisition, "_MR_BIAS", 0.0)
    signal, texture = TISSUES[tissue].mr, TISSUES[tissue].mr_texture
    square = float((mr(only(tissue)).astype(float) ** 2).mean())
    assert signal**2 + 2 * SIGMA**2 - 30 < square < signal**2 + 2 * SIGMA**2 + texture**2 + 30


def test_mr_noise_far_above_zero_is_gaussian(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acquisition, "_MR_BIAS", 0.0)
    fluid = mr(only(Tissue.FLUID)).astype(float)
    assert fluid.mean() == pytest.approx(200 + SIGMA**2 / 400, abs=0.5)
    assert SIGMA < fluid.std() < math.hypot(SIGMA, TISSUES[Tissue.FLUID].mr_texture)
    assert np.mean(np.abs(fluid - 200) > 3 * fluid.std()) == pytest.approx(0.0027, abs=0.002)


def test_coil_bias_stays_within_ten_percent_and_is_smooth() -> None:
    spans = []
    for seed in range(4):
        mean = mr(only(Tissue.FAT), seed).astype(float).reshape(12, 8, 8, 8, 8).mean(axis=(0, 2, 4)) / 930
        assert mean.min() > 0.895
        assert mean.max() < 1.105
        # Waves of 220 mm or more at an amplitude of a tenth: little changes from one block of 32 mm to the next.
        assert np.abs(np.diff(mean, axis=0)).max() < 0.12
        spans.append(float(np.ptp(mean)))
    assert max(spans) > 0.05


@pytest.mark.parametrize("hu", [-1000.0, -100.0, 0.0, 1300.0])
def test_ct_noise_has_twelve_hu(hu: float) -> None:
    scan = ct_scan(np.full(SHAPE, hu, dtype=np.float32), np.random.default_rng(0)).astype(float)
    assert scan.mean() == pytest.approx(hu, abs=0.5)
    # Below -1024, two deviations under air, the scale ends.
    assert scan.std() == pytest.approx(12.0, abs=0.4)


def test_ct_noise_is_independent_from_voxel_to_voxel() -> None:
    scan = ct_scan(np.zeros(SHAPE, dtype=np.float32), np.random.default_rng(1)).astype(float)
    for axis in range(3):
        size = scan.shape[axis]
        first, second = scan.take(range(size - 1), axis=axis), scan.take(range(1, size), axis=axis)
        assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.03


def test_stored_hu_clips_and_rounds() -> None:
    stored = stored_hu(np.array([-5000.0, -1024.4, -0.6, 0.5, 1.5, 2.49, 3070.6, 9e4], dtype=np.float32))
    assert stored.dtype == np.int16
    assert stored.tolist() == [-1024, -1024, -1, 0, 2, 2, 3071, 3071]


@pytest.mark.parametrize("tissue", [Tissue.AIR, Tissue.FAT, Tissue.LIVER, Tissue.SPONGY, Tissue.TOOTH])
def test_attenuation_of_one_tissue_is_its_mean_and_texture(tissue: Tissue) -> None:
    hu = attenuation(only(tissue), SPACING, np.random.default_rng(0))
    mean, texture = TISSUES[tissue][:2]
    assert hu.mean() == pytest.approx(mean, abs=0.05 * texture + 0.01)
    assert (hu.std() > 0.3 * texture and hu.std() <= texture) or texture == hu.std() == 0


def test_edges_mix_within_two_voxels_and_overshoot_nothing() -> None:
    tissues = only(Tissue.AIR)
    tissues[:, :, 32:] = Tissue.FLUID
    row = attenuation(tissues, SPACING, np.random.default_rng(0)).mean(axis=(0, 1))
    assert np.abs(row[:30] + 1000).max() < 1
    assert np.abs(row[34:] - 10).max() < 2
    assert (np.diff(row[29:35]) >= -1).all()
    assert (row[31] + row[32]) / 2 == pytest.approx((-1000 + 10) / 2, abs=2)
    assert row[31] > -950


def test_scanners_are_deterministic_in_their_generator() -> None:
    for scan in (mr, cone_beam):
        first = scan(cylinder(), 7)
        np.testing.assert_array_equal(first, scan(cylinder(), 7))
        assert np.mean(first != scan(cylinder(), 8)) > 0.5
        assert first.dtype == np.int16


def test_cone_beam_air_has_less_noise_than_a_body() -> None:
    air = cone_beam(only(Tissue.OUTSIDE)).astype(float)
    assert -996 < air.mean() < -979
    assert air.std() == pytest.approx(0.4 * 35, abs=0.5)
    body = cone_beam(only(Tissue.MUSCLE)).astype(float)
    across = np.diff(body, axis=0)[::2] / math.sqrt(2)  # smooth artefacts cancel between slices
    assert across.std() == pytest.approx(35, abs=1.5)


def test_cupping_darkens_the_middle_of_a_uniform_cylinder() -> None:
    # 0.7 to 1.3 times 7.5 % of 1055 lie between the middle (depth 0.98) and the rim (0.19): 62 HU on average.
    drops = []
    for seed in range(12):
        scan = cone_beam(cylinder(), seed).astype(float)
        middle, rim = scan[:, RADIUS < 20].mean(), scan[:, (RADIUS > 85) & (RADIUS < 95)].mean()
        drops.append(rim - middle)
    assert np.mean(drops) == pytest.approx(62, abs=25)


def test_cupping_and_shading_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cbct, "_NOISE", 0.0)
    shaded = cone_beam(cylinder(), 3).astype(float)
    monkeypatch.setattr(cbct, "_SHADING_HU", 0.0)
    cupped = cone_beam(cylinder(), 3).astype(float)
    rings = [cupped[:, (low <= RADIUS) & (low + 15 > RADIUS)].mean() for low in range(0, 90, 15)]
    assert rings == sorted(rings)
    assert 0.7 * 0.075 * 1055 * 0.75 < rings[-1] - rings[0] < 1.3 * 0.075 * 1055
    assert 5 - 2 < cupped[:, RADIUS > 120].mean() + 1000 < 20 + 2
    shading = (shaded - cupped)[:, RADIUS < 95]
    assert 5 < shading.std() < 1.3 * 55
    assert np.abs(shading).max() <= 1.3 * 55 * math.sqrt(2.5) + 1
    assert np.abs(shaded - cupped)[:, RADIUS > 105].max() == 0


def test_streaks_start_at_bone_and_fade(monkeypatch: pytest.MonkeyPatch) -> None:
    tissues = cylinder()
    tissues[6, 31:33, 31:33] = Tissue.COMPACT
    with_streaks = cone_beam(tissues, 5).astype(float)
    monkeypatch.setattr(cbct, "_STREAK_HU", 0.0)
    streaks = with_streaks - cone_beam(tissues, 5)
    spread = [streaks[6][(low <= RADIUS) & (low + 20 > RADIUS)].std() for low in (10, 40, 70, 100)]
    assert spread == sorted(spread, reverse=True)
    assert spread[0] > 1.5 * spread[-1] > 0
    # 18 mm (two standard deviations along z) away from the bone a seventh is left, or nothing.
    assert streaks[0].std() < 0.2 * streaks[6].std()
    assert (streaks[6] > 5).any()
    assert (streaks[6] < -5).any()


def test_tissue_without_bone_or_gas_has_no_streaks(monkeypatch: pytest.MonkeyPatch) -> None:
    before = cone_beam(cylinder(), 2)
    monkeypatch.setattr(cbct, "_STREAK_HU", 1e4)
    np.testing.assert_array_equal(before, cone_beam(cylinder(), 2))


def test_cone_beam_values_are_clipped() -> None:
    tissues = cylinder(Tissue.TOOTH)
    for hu, expected in ((-3000.0, -1024), (9000.0, 3071)):
        scan = cbct_scan(np.full(SHAPE, hu, np.float32), tissues, SPACING, AXES, np.random.default_rng(0))
        assert np.unique(scan[:, RADIUS < 90]).tolist() == [expected]


def test_scanners_leave_their_input_alone() -> None:
    tissues = cylinder()
    hu = attenuation(tissues, SPACING, np.random.default_rng(0))
    before, map_before = hu.copy(), tissues.copy()
    ct_scan(hu, np.random.default_rng(1))
    cbct_scan(hu, tissues, SPACING, AXES, np.random.default_rng(2))
    mr(tissues)
    np.testing.assert_array_equal(hu, before)
    np.testing.assert_array_equal(tissues, map_before)
