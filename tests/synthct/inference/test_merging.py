"""Merging against brute force: every prediction of every voxel gathered, then reduced."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import pytest
import torch
from builders import Array
from hypothesis import given, settings
from hypothesis import strategies as st

from synthct.inference import sliding_windows
from synthct.inference.merging import MeanMerger, gaussian_weight, make_merger
from synthct.inference.settings import Merging
from synthct.inference.transfer import Landing

CPU = torch.device("cpu")
Triple = tuple[int, int, int]
MERGINGS: tuple[Merging, ...] = get_args(Merging)
AIR = -7.0

SHAPES = st.tuples(st.integers(1, 13), st.integers(1, 11), st.integers(1, 12))
PATCHES = st.tuples(st.integers(1, 6), st.integers(1, 6), st.integers(1, 6))


def _merge(
    merging: Merging, shape: Triple, patch: Triple, windows: list[tuple[Triple, Array]], *, spread: bool = True
) -> tuple[Array, Array | None]:
    landing = Landing(shape, air=AIR, spread=spread, device=CPU)
    merger = make_merger(merging, landing, patch, CPU)
    for start, predictions in windows:
        merger.add(start, torch.from_numpy(predictions))
    merger.close()
    return landing.values.numpy(), None if landing.spread is None else landing.spread.numpy()


def _brute(merging: Merging, shape: Triple, patch: Triple, windows: list[tuple[Triple, Array]]) -> tuple[Array, Array]:
    """Voxel by voxel in fp64 (medians: fp32, as they are chosen and not calculated)."""
    weight = gaussian_weight(patch).numpy() if merging == "gaussian" else np.ones(patch, np.float32)
    values, spread = np.full(shape, AIR), np.zeros(shape)
    for voxel in np.ndindex(*shape):
        found: list[float] = []
        weights: list[float] = []
        for start, predictions in windows:
            inside = tuple(index - first for index, first in zip(voxel, start, strict=True))
            if all(0 <= index < edge for index, edge in zip(inside, patch, strict=True)):
                found += [member[inside] for member in predictions]
                weights += [weight[inside]] * len(predictions)
        if not found:
            continue
        ordered = np.sort(np.array(found, np.float32))
        count = len(ordered)
        mean = np.average(np.array(found, np.float64), weights=weights)
        spread[voxel] = np.sqrt(np.average((np.array(found, np.float64) - mean) ** 2, weights=weights))
        if merging in ("mean", "gaussian"):
            values[voxel] = mean
        else:
            low, high = ordered[(count - 1) // 2], ordered[count // 2]
            values[voxel] = {"lower": low, "upper": high, "average": (low + high) / np.float32(2)}[merging[7:]]
    return values, spread


@pytest.mark.parametrize("merging", MERGINGS)
@settings(max_examples=25, deadline=None)
@given(SHAPES, PATCHES, st.sampled_from([0.3, 0.5, 0.8, 1.0]), st.integers(1, 3), st.integers(0, 2**32 - 1))
def test_equals_brute_force(
    merging: Merging, shape: Triple, patch: Triple, step: float, members: int, seed: int
) -> None:
    patch = tuple(min(size, edge) for size, edge in zip(shape, patch, strict=True))  # type: ignore[assignment]
    rng = np.random.default_rng(seed)
    windows = [
        (start, rng.normal(0, 3, (members, *patch)).round(1).astype(np.float32))  # rounded: equal values and zeros
        for start in sliding_windows(shape, patch, step)
        if rng.random() > 0.2
    ]
    values, spread = _merge(merging, shape, patch, windows)
    expected, expected_spread = _brute(merging, shape, patch, windows)
    if merging.startswith("median"):
        np.testing.assert_array_equal(values, expected.astype(np.float32))
    else:
        np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(spread, expected_spread, rtol=1e-5, atol=1e-5)


def _three(values: list[float], merging: Merging) -> tuple[list[float], list[float]]:
    """Windows [0, 2), [1, 3), [2, 4) of constant value along x of a line of five voxels."""
    windows = [((0, 0, x), np.full((1, 1, 1, 2), value, np.float32)) for x, value in enumerate(values)]
    merged, spread = _merge(merging, (1, 1, 5), (1, 1, 2), windows)
    assert spread is not None
    return merged[0, 0].tolist(), spread[0, 0].tolist()


@pytest.mark.parametrize(
    ("merging", "expected"),
    [
        ("mean", [0.0, 2.0, 7.0, 10.0, AIR]),
        ("gaussian", [0.0, 2.0, 7.0, 10.0, AIR]),  # at an edge of two, both voxels weigh the same
        ("median-lower", [0.0, 0.0, 4.0, 10.0, AIR]),
        ("median-upper", [0.0, 4.0, 10.0, 10.0, AIR]),
        ("median-average", [0.0, 2.0, 7.0, 10.0, AIR]),
    ],
)
def test_by_hand(merging: Merging, expected: list[float]) -> None:
    values, spread = _three([0.0, 4.0, 10.0], merging)
    assert values == pytest.approx(expected)
    assert spread == pytest.approx([0.0, 2.0, 3.0, 0.0, 0.0])


@pytest.mark.parametrize("merging", MERGINGS)
def test_spread_of_one_prediction_is_exactly_zero(merging: Merging) -> None:
    prediction = np.random.default_rng(0).normal(1e4, 1e3, (1, 3, 4, 5)).astype(np.float32)
    values, spread = _merge(merging, (3, 4, 5), (3, 4, 5), [((0, 0, 0), prediction)])
    np.testing.assert_allclose(values, prediction[0], rtol=1e-6)
    assert spread is not None
    assert not spread.any()


@pytest.mark.parametrize("merging", MERGINGS)
def test_spread_beside_a_large_mean(merging: Merging) -> None:
    """Sums of squares would lose a deviation of 1 beside a mean of 10,000."""
    windows = [((0, 0, 0), np.full((1, 2, 2, 2), 1e4 + sign, np.float32)) for sign in (-1, 1, 1, -1)]
    _, spread = _merge(merging, (2, 2, 2), (2, 2, 2), windows)
    np.testing.assert_allclose(spread, 1.0, rtol=1e-5)


@pytest.mark.parametrize("merging", MERGINGS)
def test_spread_does_not_change_the_values(merging: Merging) -> None:
    rng = np.random.default_rng(5)
    shape, patch = (9, 8, 7), (4, 4, 4)
    windows = [
        (start, rng.normal(0, 1, (2, *patch)).astype(np.float32)) for start in sliding_windows(shape, patch, 0.4)
    ]
    with_spread, _ = _merge(merging, shape, patch, windows)
    without, spread = _merge(merging, shape, patch, windows, spread=False)
    assert spread is None
    assert np.array_equal(with_spread, without)


@pytest.mark.parametrize("merging", MERGINGS)
def test_rows_without_a_window_are_air(merging: Merging) -> None:
    """Windows on rows 0 to 1 and 6 to 7 of nine: the slab has to leap over the gap."""
    windows: Any = [((z, 0, 0), np.full((1, 2, 1, 1), float(z), np.float32)) for z in (0, 6)]
    values, spread = _merge(merging, (9, 1, 1), (2, 1, 1), windows)
    assert values[:, 0, 0].tolist() == [0.0, 0.0, AIR, AIR, AIR, AIR, 6.0, 6.0, AIR]
    assert spread is not None
    assert not spread.any()


@pytest.mark.parametrize("merging", MERGINGS)
def test_a_broken_prediction_stays_visible(merging: Merging) -> None:
    good, broken = np.zeros((1, 1, 1, 2), np.float32), np.array([[[[np.nan, 1.0]]]], np.float32)
    values, _ = _merge(merging, (1, 1, 3), (1, 1, 2), [((0, 0, 0), good), ((0, 0, 1), broken)])
    assert np.isnan(values[0, 0]).tolist() == [False, True, False]


def test_median_frees_windows_as_the_sweep_advances() -> None:
    landing = Landing((100, 2, 2), air=AIR, spread=False, device=CPU)
    merger: Any = make_merger("median-lower", landing, (4, 2, 2), CPU)
    held = []
    for z in range(0, 97, 2):
        merger.add((z, 0, 0), torch.full((1, 4, 2, 2), float(z)))
        held.append(len(merger._pending))
    assert max(held) == 2
    merger.close()
    assert merger._pending == []
    assert (
        landing.values[:, 0, 0].tolist() == [0.0] * 4 + [float(2 * (row // 2) - 2) for row in range(4, 98)] + [96.0] * 2
    )


def test_mean_keeps_a_slab_as_deep_as_a_window() -> None:
    merger: Any = MeanMerger(Landing((500, 3, 3), air=AIR, spread=True, device=CPU), torch.ones(4, 3, 3))
    assert merger._slab.shape == (4, 4, 3, 3)


def test_gaussian_by_hand() -> None:
    weight = gaussian_weight((1, 1, 4))
    near = 1.0  # 0.5 from the middle, in units of the largest
    far = np.exp(-0.5 * (1.5 / 0.5) ** 2) / np.exp(-0.5 * (0.5 / 0.5) ** 2)
    np.testing.assert_allclose(weight[0, 0].numpy(), [far, near, near, far], rtol=1e-6)
    assert gaussian_weight((64, 64, 64)).min().item() == pytest.approx(1e-3)
