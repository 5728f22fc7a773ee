"""Structure agreement equals MONAI label by label: random maps, real label maps, any axis order, any threads."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.ndimage import affine_transform

from evaluation.metrics import StructureScore, score_structures

Array = npt.NDArray[Any]
Spacing = tuple[float, float, float]
Values = tuple[float, float, float, float]


def monai_values(reference: Array, prediction: Array, label: int, spacing: Spacing, tolerance: float) -> Values:
    """Dice, HD95 and both NSD of one label as the official program calls MONAI: full binary volumes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations inside MONAI's imports, and its notes on empty maps
        import torch
        from monai.metrics import DiceMetric, HausdorffDistanceMetric, SurfaceDiceMetric

        expected, found = (
            torch.from_numpy((label_map == label)[None, None].astype(np.float32))
            for label_map in (reference, prediction)
        )
        dice = DiceMetric(include_background=True)(found, expected).item()
        hd95 = HausdorffDistanceMetric(include_background=True, percentile=95)(found, expected, spacing=spacing).item()
        nsd = [
            SurfaceDiceMetric([tolerance], include_background=True, use_subvoxels=subvoxels)(
                found, expected, spacing=spacing
            ).item()
            for subvoxels in (True, False)
        ]
    return dice, hd95, nsd[0], nsd[1]


def require_equal(score: StructureScore, expected: Values) -> None:
    """Where the reference lacks the label MONAI has no Dice; where either map does it has no HD95."""
    dice, hd95, nsd_surfel, nsd_voxel = (None if math.isnan(value) else value for value in expected)
    assert score.dice == (pytest.approx(dice, abs=1e-6) if dice is not None else (0.0 if score.prediction_ml else None))
    assert score.hd95 == (pytest.approx(hd95, abs=1e-4, rel=1e-6) if hd95 is not None else None)
    assert score.nsd_surfel == (pytest.approx(nsd_surfel, abs=1e-5) if nsd_surfel is not None else None)
    assert score.nsd_voxel == (pytest.approx(nsd_voxel, abs=1e-6) if nsd_voxel is not None else None)


maps = hnp.arrays(
    np.uint8, st.shared(st.tuples(*[st.integers(1, 9)] * 3), key="shape"), elements=st.sampled_from([0, 0, 1, 2])
)
steps = st.sampled_from([0.1, 0.5, 0.7, 0.9765625, 1.0, 1.5, 3.0, 5.0])


@settings(max_examples=60, deadline=None)
@given(
    reference=maps,
    prediction=maps,
    spacing=st.tuples(steps, steps, steps),
    tolerance=st.sampled_from([0.0, 0.7, 1.0, 2.0, 4.5, 50.0]),
)
def test_random_maps_equal_monai(reference: Array, prediction: Array, spacing: Spacing, tolerance: float) -> None:
    scores = score_structures(reference, prediction, [1, 2, 3], spacing, tolerance)
    for label, score in scores.items():
        require_equal(score, monai_values(reference, prediction, label, spacing, tolerance))


@settings(max_examples=15, deadline=None)
@given(
    boxes=st.lists(st.tuples(*[st.integers(0, 24)] * 3, *[st.integers(1, 12)] * 3), min_size=2, max_size=6),
    spacing=st.tuples(steps, steps, steps),
)
def test_boxes_and_their_far_copies_equal_monai(boxes: list[tuple[int, ...]], spacing: Spacing) -> None:
    reference, prediction = np.zeros((2, 34, 34, 34), np.uint8)
    for number, (z, y, x, depth, height, width) in enumerate(boxes):
        volume = (reference, prediction)[number % 2]
        volume[z : z + depth, y : y + height, x : x + width] = 1 + number // 2 % 2
    for label, score in score_structures(reference, prediction, [1, 2], spacing).items():
        require_equal(score, monai_values(reference, prediction, label, spacing, 2.0))


def real_labels(data_root: Path) -> tuple[Array, Spacing]:
    image = sitk.ReadImage(str(data_root / "labelled-ct" / "segmentation.mha"))
    x, y, z = image.GetSpacing()
    return sitk.GetArrayFromImage(image), (z, y, x)


def shifted(labels: Array) -> Array:
    """Moved by 1, 2 and 1 voxels; background moves in."""
    moved = np.zeros_like(labels)
    moved[1:, 2:, 1:] = labels[:-1, :-2, :-1]
    return moved


def scaled(labels: Array) -> Array:
    """Grown by 6 % around the middle of the volume."""
    middle = (np.array(labels.shape) - 1) / 2
    grown: Array = affine_transform(labels, np.full(3, 1 / 1.06), middle * (1 - 1 / 1.06), order=0)
    return grown


@pytest.mark.parametrize(
    ("perturbed", "spacing"),
    [(shifted, None), (scaled, None), (shifted, (5.0, 0.9765625, 0.8)), (scaled, (0.7, 1.3, 3.27))],
    ids=["shifted", "scaled", "shifted-anisotropic", "scaled-anisotropic"],
)
def test_every_structure_of_a_real_label_map_equals_monai(data_root: Path, perturbed: Any, spacing: Any) -> None:
    reference, own_spacing = real_labels(data_root)
    prediction = perturbed(reference)
    labels = [label for label in np.unique(reference).tolist() if label]
    assert len(labels) == 61
    scores = score_structures(reference, prediction, labels, spacing or own_spacing)
    for label in labels:
        require_equal(scores[label], monai_values(reference, prediction, label, spacing or own_spacing, 2.0))
    assert sum(score.status == "found" for score in scores.values()) > 50


def test_axis_order_memory_order_and_type_change_nothing(data_root: Path) -> None:
    reference, spacing = real_labels(data_root)
    prediction = shifted(reference)
    labels = range(1, 118)
    scores = score_structures(reference, prediction, labels, spacing)
    x_first = score_structures(reference.T, prediction.T, labels, spacing[::-1])
    assert x_first == scores
    mixed = score_structures(reference, np.asfortranarray(prediction), labels, spacing)
    assert mixed == scores
    wide = score_structures(reference.astype(np.int64), prediction.astype(np.uint16), labels, spacing)
    assert wide == scores
    flipped = score_structures(reference[::-1, :, ::-1], prediction[::-1, :, ::-1], labels, spacing)
    copied = score_structures(
        reference.transpose(1, 2, 0).copy(), prediction.transpose(1, 2, 0).copy(), labels, spacing
    )
    for label, score in scores.items():
        for other in (flipped[label], copied[label]):
            assert (other.dice, other.status, other.cut) == (score.dice, score.status, score.cut)
            for name in ("hd95", "nsd_surfel", "nsd_voxel"):
                value = getattr(score, name)
                assert getattr(other, name) == (None if value is None else pytest.approx(value, rel=1e-12))


@pytest.mark.parametrize("threads", [1, 2, 7])
def test_the_number_of_threads_changes_nothing(data_root: Path, threads: int) -> None:
    reference, spacing = real_labels(data_root)
    prediction = scaled(reference)
    labels = range(1, 118)
    scores = score_structures(reference, prediction, labels, spacing, threads=threads)
    assert scores == score_structures(reference, prediction, labels, spacing)
    assert [score.label for score in scores.values()] == list(labels)
