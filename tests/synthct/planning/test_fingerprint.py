"""What is read of a data set, against figures made by hand and by NumPy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import make_volume, save_case, save_image
from pydantic import ValidationError

from synthct.anatomy import Region, Task
from synthct.dataset import find_cases, load_case
from synthct.errors import InputError, UsageError
from synthct.intensity import CaseZScore, fit_z_score
from synthct.planning.fingerprint import Fingerprint, fingerprint
from synthct.resample import resample_to_spacing
from synthct.volume import read_volume

EVERY_HU = np.arange(-1024, 3072, dtype=np.int16)


def save(folder: Path, image: Any, ct: Any, mask: Any, spacing: tuple[float, float, float] = (1.0, 1.0, 3.0)) -> None:
    save_image(folder / ("mr.mha" if folder.name.startswith("1") else "cbct.mha"), np.array(image), spacing=spacing)
    save_image(folder / "ct.mha", np.array(ct), spacing=spacing)
    save_image(folder / "mask.mha", np.array(mask, np.uint8), spacing=spacing)


def test_two_cases_by_hand(tmp_path: Path) -> None:
    first = np.array([[[0, 10, 20, 30]]], np.int16)
    save(tmp_path / "2ABA001", first, first * 10, [[[1, 1, 0, 0]]])
    save(tmp_path / "2HNA001", first[..., :2] + 5, [[[-2000, 40]]], [[[1, 1]]], (0.5, 0.8, 2.0))
    done: list[None] = []
    found = fingerprint(find_cases(tmp_path), advance=lambda: done.append(None))
    assert len(done) == 2
    assert (found.task, found.regions, found.cases) == (Task.CBCT, (Region.ABDOMEN, Region.HEAD_NECK), 2)
    assert found.spacings == ((3.0, 1.0, 1.0), (2.0, 0.8, 0.5))
    assert found.shapes == ((1, 1, 4), (1, 1, 2))
    assert (found.ct.values, found.ct.counts) == ((-2000, 0, 40, 100), (1, 1, 1, 1))
    assert (found.image.values, found.image.counts) == ((0, 5, 10, 15), (1, 1, 1, 1))
    score = found.ct_z_score()
    clipped = np.array([-1024, 0, 40, 100])
    assert (score.low, score.high) == (-1024, 3071)
    assert (score.mean, score.std) == (pytest.approx(clipped.mean()), pytest.approx(clipped.std()))


def test_outside_the_mask_nothing_counts(tmp_path: Path) -> None:
    ct = np.full((2, 3, 4), -1000, np.int16)
    ct[1, 1] = 50
    save(tmp_path / "1ABA001", ct, ct, ct == 50)
    found = fingerprint(find_cases(tmp_path))
    assert (found.ct.values, found.ct.counts) == ((50,), (4,))
    score = found.ct_z_score()
    assert (score.mean, score.std) == (50, 1)


def test_ct_with_fractions_is_rounded_and_mr_is_not(tmp_path: Path) -> None:
    values = np.array([[[0.25, 0.5, 0.75, 40.4]]], np.float32)
    save(tmp_path / "1ABA001", values, values, np.ones((1, 1, 4)))
    found = fingerprint(find_cases(tmp_path))
    assert (found.ct.values, found.ct.counts) == ((0, 1, 40), (2, 1, 1))
    assert found.image.values[:3] == (0.25, 0.5, 0.75)


@pytest.mark.parametrize("bounds", ["fixed", "percentile", (-200.0, 900.0)])
def test_normalisations_are_those_of_all_voxels(tmp_path: Path, bounds: Any) -> None:
    random = np.random.default_rng(1)
    voxels = []
    for number in (1, 2, 3):
        ct = random.integers(-1200, 3300, (4, 9, 8)).astype(np.int16)
        mask = random.random(ct.shape) < 0.6
        save(tmp_path / f"2ABA00{number}", ct // 2, ct, mask)
        voxels.append(ct[mask])
    found = fingerprint(find_cases(tmp_path))
    every = np.concatenate(voxels)
    for ours, own in ((found.ct_z_score(bounds), every), (found.image_normalisation(bounds), every // 2)):
        low, high = {"fixed": (-1024.0, 3071.0), "percentile": np.percentile(own, (0.5, 99.5))}.get(str(bounds), bounds)
        expected = fit_z_score(own, low=low, high=high)
        assert ours.kind == "z-score"
        assert (ours.low, ours.high) == (pytest.approx(low), pytest.approx(high))
        assert (ours.mean, ours.std) == (pytest.approx(expected.mean), pytest.approx(expected.std))


def test_mr_is_normalised_case_by_case(tmp_path: Path) -> None:
    save_case(tmp_path / "1ABA001")
    assert fingerprint(find_cases(tmp_path)).image_normalisation("percentile") == CaseZScore()


def test_a_case_without_ct(tmp_path: Path) -> None:
    save_case(tmp_path / "1ABA001")
    save_case(tmp_path / "1ABA002", reference=False)
    with pytest.raises(InputError, match=r"case 1ABA002 has no CT; expected ct\.mha"):
        fingerprint(find_cases(tmp_path))


def test_a_case_without_mask(tmp_path: Path) -> None:
    (save_case(tmp_path / "1ABA001") / "mask.mha").unlink()
    with pytest.raises(InputError, match="1ABA001 has no mask"):
        fingerprint(find_cases(tmp_path))


def test_cases_of_both_tasks_and_of_none(tmp_path: Path) -> None:
    save_case(tmp_path / "1ABA001")
    save_case(tmp_path / "2ABA001")
    with pytest.raises(UsageError, match="cases of mri and of cbct; expected cases of one task"):
        fingerprint(find_cases(tmp_path))
    with pytest.raises(UsageError, match="of no case"):
        fingerprint([])


def test_a_constant_ct_has_no_percentile_bounds(tmp_path: Path) -> None:
    save(tmp_path / "1ABA001", np.ones((2, 2, 2)), np.full((2, 2, 2), 7, np.int16), np.ones((2, 2, 2)))
    found = fingerprint(find_cases(tmp_path))
    with pytest.raises(UsageError, match="clip bounds 7 and 7 leave nothing between"):
        found.ct_z_score("percentile")


@pytest.mark.parametrize("change", [{"shapes": [(1, 2, 3)] * 2}, {"spacings": [(0.0, 1.0, 1.0)]}, {"shapes": []}])
def test_figures_that_cannot_be_meant(change: dict[str, Any]) -> None:
    content = {"task": "mri", "regions": ["AB"], "spacings": [(1.0, 1.0, 1.0)], "shapes": [(4, 4, 4)]}
    Fingerprint.model_validate({**content, "ct": {}, "image": {}})
    with pytest.raises(ValidationError):
        Fingerprint.model_validate({**content, "ct": {}, "image": {}, **change})


def test_real_limbs(data_root: Path) -> None:
    cases = [files for files in find_cases(data_root / "sts" / "Task1") if files.id in ("1EXA017", "1EXA045")]
    found = fingerprint(cases)
    loaded = [load_case(files) for files in cases]
    hu = np.concatenate([case.reference.voxels[case.mask.voxels > 0] for case in loaded if case.reference is not None])
    assert found.ct.mean == pytest.approx(hu.mean(dtype=np.float64), abs=1e-6)
    assert found.ct.percentile(99.5) == pytest.approx(np.percentile(hu, 99.5), abs=1e-6)
    assert (found.task, found.regions) == (Task.MRI, (Region.EXTREMITY,))
    assert found.spacings[0] == pytest.approx((3.27, 0.977, 0.977), abs=1e-2)
    for bounds in ("fixed", "percentile"):
        score = found.ct_z_score(bounds)  # type: ignore[arg-type]
        kept = EVERY_HU[(score.low or 0) <= EVERY_HU]
        kept = kept[kept <= (score.high or 0)]
        assert np.abs(score.invert(score.apply(kept)).astype(np.float64) - kept).max() < 0.01


def test_a_real_ct_comes_back_from_network_units_and_grid(data_root: Path) -> None:
    """Where the spacing is the plan's nothing but the z-score lies between a CT and its prediction's HU."""
    case = load_case(find_cases(data_root / "cbct-simulated")[0])
    assert case.reference is not None
    score = fingerprint(find_cases(data_root / "cbct-simulated")).ct_z_score()
    ct = resample_to_spacing(case.reference, case.reference.spacing_zyx, 3)
    back = score.invert(score.apply(ct.voxels))
    assert ct is case.reference
    inside = read_volume(find_cases(data_root / "cbct-simulated")[0].reference or Path())
    assert np.abs(back.astype(np.float64) - np.clip(inside.voxels, -1024, 3071)).max() < 0.01


def test_an_image_is_read_on_its_own_grid_only(tmp_path: Path) -> None:
    folder = save_case(tmp_path / "1ABA001")
    save_image(folder / "ct.mha", make_volume(np.ones((3, 4, 6), np.int16)).voxels)
    with pytest.raises(InputError, match=r"ct\.mha"):
        fingerprint(find_cases(tmp_path))
