"""Distances between point sets: by hand, and equal to a comparison of every pair, as far as they are asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.metrics import distances as module
from evaluation.metrics.distances import nearest_distances

Array = npt.NDArray[Any]
Spacing = tuple[float, float, float]


def every_pair(points: Array, targets: Array, spacing: Spacing) -> Array:
    steps = (points[:, :, None] - targets[:, None]) * np.array(spacing)[:, None, None]
    nearest: Array = np.sqrt((steps**2).sum(axis=0)).min(axis=1)
    return nearest


def places(*points: tuple[int, int, int]) -> Array:
    return np.array(points, dtype=np.int32).T


def test_by_hand() -> None:
    points = places((0, 0, 0), (0, 3, 4), (2, 0, 0), (-1, -2, -2))
    found = nearest_distances(points, places((0, 0, 0)), (3.0, 1.0, 1.0), radius=0.0, enough=4)
    assert found.tolist() == [0.0, 5.0, 6.0, pytest.approx(np.sqrt(17))]


def test_the_radius_itself_is_found_and_nothing_far_beyond() -> None:
    points = places(*((0, 0, n) for n in range(40)))
    found = nearest_distances(points, places((0, 0, 0)), (1.0, 1.0, 0.1), radius=2.0)
    assert found[20] == pytest.approx(2.0)
    across = nearest_distances(points[::-1], places((0, 0, 0)), (0.1, 5.0, 5.0), radius=2.0)
    np.testing.assert_array_equal(found[:21], across[:21])
    sideways = nearest_distances(places((0, 2, 0), (0, 3, 0)), places((0, 0, 0)), (1.0, 1.0, 0.1), radius=2.0)
    assert sideways.tolist() == [2.0, np.inf]


def test_no_radius_leaves_what_coincides() -> None:
    found = nearest_distances(places((1, 1, 1), (1, 1, 2), (1, 2, 1)), places((1, 1, 1)), (1.0, 1.0, 1.0), radius=0.0)
    assert found[0] == 0.0
    assert (found[1:] >= 1.0).all()


def test_lines_longer_than_a_byte() -> None:
    points = places((0, 0, 0), (0, 0, 250), (0, 0, 700), (0, 0, 1000))
    targets = places((0, 0, 1010), (0, 1, 310))
    found = nearest_distances(points, targets, (1.0, 1.0, 0.5), radius=0.0, enough=4)
    np.testing.assert_allclose(found, every_pair(points, targets, (1.0, 1.0, 0.5)), rtol=1e-12)


def cloud(seed: int, count: int, side: int) -> Array:
    return np.unique(np.random.default_rng(seed).integers(0, side, (3, count), dtype=np.int32), axis=1)


@settings(max_examples=60, deadline=None)
@given(
    seeds=st.tuples(st.integers(0, 1000), st.integers(0, 1000)),
    counts=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    spacing=st.tuples(*[st.sampled_from([0.3, 0.9765625, 1.0, 2.5, 5.0])] * 3),
    radius=st.floats(0.0, 12.0),
    share=st.floats(0.0, 1.0),
    apart=st.sampled_from([0, 5, 200]),
)
def test_equals_every_pair_as_far_as_asked(
    seeds: tuple[int, int],
    counts: tuple[int, int],
    spacing: Spacing,
    radius: float,
    share: float,
    apart: int,
) -> None:
    points, targets = (cloud(seed, count, 20) for seed, count in zip(seeds, counts, strict=True))
    targets[1] += apart
    expected = every_pair(points, targets, spacing)
    enough = round(share * expected.size)
    found = nearest_distances(points, targets, spacing, radius=radius, enough=enough)
    known = np.isfinite(found)
    np.testing.assert_allclose(found[known], expected[known], rtol=1e-12)
    assert (expected[~known] > radius).all()
    np.testing.assert_allclose(np.sort(found)[:enough], np.sort(expected)[:enough], rtol=1e-12)


@pytest.mark.parametrize("pairs_per_voxel", [0, 1_000_000], ids=["transform", "tree"])
def test_far_targets_by_tree_and_by_transform(monkeypatch: pytest.MonkeyPatch, pairs_per_voxel: int) -> None:
    spacing = (1.0, 0.9, 2.0)
    points, targets = cloud(1, 400, 30), cloud(2, 400, 30)
    by_lines = nearest_distances(points, targets, spacing, radius=0.0, enough=points.shape[1])
    np.testing.assert_allclose(by_lines, every_pair(points, targets, spacing), rtol=1e-12)
    monkeypatch.setattr(module, "_MOST_LINES", 5)
    monkeypatch.setattr(module, "_PAIRS_PER_VOXEL", pairs_per_voxel)
    module._lines.cache_clear()
    otherwise = nearest_distances(points, targets, spacing, radius=0.0, enough=points.shape[1])
    module._lines.cache_clear()
    np.testing.assert_allclose(otherwise, by_lines, rtol=1e-6)


def test_targets_that_are_all_about_equally_far() -> None:
    """Points in the middle of a sphere: a tree alone would compare each of them with nearly every target."""
    grid = np.stack(np.meshgrid(*[np.arange(-45, 46, dtype=np.int32)] * 3, indexing="ij")).reshape(3, -1)
    radii = np.sqrt((grid**2).sum(axis=0))
    points, targets = grid[:, radii <= 8], grid[:, np.abs(radii - 44) < 0.6]
    found = nearest_distances(points, targets, (1.0, 1.0, 1.0), radius=0.0, enough=points.shape[1])
    np.testing.assert_allclose(found[::50], every_pair(points[:, ::50], targets, (1.0, 1.0, 1.0)), rtol=1e-6)
