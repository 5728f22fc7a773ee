"""Our way in memory against the official way through files: the same labels, voxel for voxel."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from file_pipeline import nnunet_through_files, totalsegmentator_through_files
from wave_images import make_image

from benchmarks.random_network import make_plans, write_random_checkpoint
from evaluation.segmenters import open_segmenter
from synthct.volume import read_volume, write_volume

pytestmark = [
    pytest.mark.filterwarnings("ignore:Detected old nnU-Net plans format"),
    pytest.mark.slow,
]

TURNED = (0.0, 0.96, -0.28, 0.0, 0.28, 0.96, 1.0, 0.0, 0.0)
"""Axes swapped and tilted by 16 degrees."""

IMAGES: dict[str, dict[str, Any]] = {
    "thick slices": {"shape": (14, 40, 31), "spacing_zyx": (4.5, 1.7, 2.2)},
    "flipped axes": {"shape": (33, 29, 41), "spacing_zyx": (2.0, 3.0, 1.1), "direction": (-1, 0, 0, 0, 1, 0, 0, 0, -1)},
    "swapped and tilted axes": {"shape": (30, 44, 21), "spacing_zyx": (1.9, 2.3, 5.0), "direction": TURNED},
    "already 3 mm": {"shape": (30, 45, 52), "spacing_zyx": (3.0, 3.0, 3.0)},
    "floating point": {"shape": (17, 35, 26), "spacing_zyx": (3.3, 2.9, 3.1), "dtype": np.float64},
    "many windows": {"shape": (75, 70, 66), "spacing_zyx": (3.0, 2.5, 2.8)},
    "one axis thinner than a window": {"shape": (6, 90, 64), "spacing_zyx": (3.0, 1.0, 2.0)},
}


@pytest.mark.parametrize("name", IMAGES)
def test_totalsegmentator_on_any_grid(name: str, results_folder: Path, model_folder: Path, tmp_path: Path) -> None:
    image = make_image(**IMAGES[name])
    labels = open_segmenter(f"totalsegmentator:{results_folder}", device="cpu").segment(image, image.voxels, case="1")
    expected = totalsegmentator_through_files(image, model_folder, tmp_path / "files")
    assert labels.shape == image.voxels.shape
    assert np.unique(expected).size > 10
    np.testing.assert_array_equal(labels, expected)


def test_the_real_architecture_on_a_real_ct(data_root: Path, tmp_path: Path) -> None:
    model = write_random_checkpoint(tmp_path / "results", seed=1)
    image = read_volume(data_root / "labelled-ct" / "small_ct.mha")
    labels = open_segmenter(f"totalsegmentator:{tmp_path / 'results'}", device="cpu").segment(
        image, np.ones(image.voxels.shape), case="1ABA001"
    )
    expected = totalsegmentator_through_files(image, model, tmp_path / "files")
    assert np.unique(expected).size > 10
    np.testing.assert_array_equal(labels, expected)


@pytest.mark.parametrize("reader", ["SimpleITKIO", "NibabelIOWithReorient"])
@pytest.mark.parametrize("name", ["thick slices", "flipped axes"])
def test_nnunet_with_its_own_resampling(name: str, reader: str, tmp_path: Path) -> None:
    model = write_random_checkpoint(tmp_path / "results", plans=make_plans(small=True, reader=reader))
    image = make_image(**IMAGES[name])
    write_volume(image, tmp_path / "ct.nii.gz")
    stored = read_volume(tmp_path / "ct.nii.gz")
    nnunet_through_files(tmp_path / "ct.nii.gz", tmp_path / "labels.nii.gz", model)
    expected = read_volume(tmp_path / "labels.nii.gz").voxels
    labels = open_segmenter(f"nnunet:{model}", device="cpu").segment(stored, stored.voxels, case="1")
    assert np.unique(expected).size > 10
    np.testing.assert_array_equal(labels, expected)


def test_zero_borders_are_cropped_and_put_back(tmp_path: Path) -> None:
    model = write_random_checkpoint(tmp_path / "results", plans=make_plans(small=True, reader="SimpleITKIO"))
    image = make_image((20, 40, 30), (3.0, 3.0, 3.0))
    image.voxels[:4] = 0
    image.voxels[:, :, 25:] = 0
    write_volume(image, tmp_path / "ct.nii.gz")
    nnunet_through_files(tmp_path / "ct.nii.gz", tmp_path / "labels.nii.gz", model)
    labels = open_segmenter(f"nnunet:{model}", device="cpu").segment(image, image.voxels, case="1")
    np.testing.assert_array_equal(labels, read_volume(tmp_path / "labels.nii.gz").voxels)
    assert not labels[:4].any()
    assert not labels[:, :, 25:].any()
    assert labels[4:, :, :25].any()


def test_axes_in_the_order_of_the_plans(tmp_path: Path) -> None:
    plans = make_plans(small=True, reader="SimpleITKIO")
    plans["transpose_forward"], plans["transpose_backward"] = [2, 0, 1], [1, 2, 0]
    model = write_random_checkpoint(tmp_path / "results", plans=plans)
    assert json.loads((model / "plans.json").read_text())["transpose_forward"] == [2, 0, 1]
    image = make_image((20, 40, 30), (2.0, 3.0, 4.0))
    write_volume(image, tmp_path / "ct.nii.gz")
    nnunet_through_files(tmp_path / "ct.nii.gz", tmp_path / "labels.nii.gz", model)
    labels = open_segmenter(f"nnunet:{model}", device="cpu").segment(image, image.voxels, case="1")
    np.testing.assert_array_equal(labels, read_volume(tmp_path / "labels.nii.gz").voxels)
