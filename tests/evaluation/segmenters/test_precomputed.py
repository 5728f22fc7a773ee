"""Ready label maps: found by case id, checked against the image, refused when they are no label maps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from evaluation.segmenters import Segmenter, open_segmenter
from evaluation.segmenters.label_map import read_label_map
from evaluation.segmenters.precomputed import PrecomputedSegmenter
from evaluation.segmenters.registry import case_files
from evaluation.structures import STRUCTURE_NAMES
from synthct.errors import GeometryError, HeaderError, InputError
from synthct.volume import Volume, write_volume


def labels_of(image: Volume, dtype: Any = np.uint8) -> npt.NDArray[Any]:
    labels = np.zeros(image.voxels.shape, dtype)
    labels[2:5, 3:9, 4:20] = 5
    labels[6:8] = 117
    return labels


def test_a_case_is_found_by_its_id(noisy_image: Volume, tmp_path: Path) -> None:
    expected = labels_of(noisy_image)
    write_volume(noisy_image.with_voxels(expected), tmp_path / "seg_1ABA001.mha")
    write_volume(noisy_image.with_voxels(expected * 0), tmp_path / "1aba002.nii.gz")
    (tmp_path / "notes.txt").write_text("1ABA003")
    segmenter = PrecomputedSegmenter(tmp_path)
    assert isinstance(segmenter, Segmenter)
    np.testing.assert_array_equal(segmenter.segment(noisy_image, expected, case="1ABA001"), expected)
    assert not segmenter.segment(noisy_image, expected, case="1ABA002").any()
    assert (segmenter.name, segmenter.weights, segmenter.labels) == ("precomputed", None, STRUCTURE_NAMES)
    with pytest.raises(InputError, match=rf"{tmp_path}: holds no label map of case 1ABA003; expected 1ABA003\.mha"):
        segmenter.segment(noisy_image, expected, case="1ABA003")


def test_one_case_twice_is_refused(noisy_image: Volume, tmp_path: Path) -> None:
    for name in ("1ABA001.mha", "a_1ABA001.nii.gz"):
        write_volume(noisy_image.with_voxels(labels_of(noisy_image)), tmp_path / name)
    with pytest.raises(InputError, match=r"a_1ABA001\.nii\.gz: case 1ABA001 stands twice; also as 1ABA001\.mha"):
        PrecomputedSegmenter(tmp_path)


def test_the_file_of_a_case_is_told(noisy_image: Volume, tmp_path: Path) -> None:
    path = write_volume(noisy_image.with_voxels(labels_of(noisy_image)), tmp_path / "seg_1ABA001.mha")
    assert case_files(f"precomputed:{tmp_path}", "1ABA001") == [path]
    assert case_files(f"precomputed:{tmp_path}", "1ABA002") == []
    assert case_files("tissue", "1ABA001") == []
    assert case_files("totalsegmentator", "1ABA001") == []


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="absent: no such folder"):
        open_segmenter(f"precomputed:{tmp_path / 'absent'}")


def test_the_reference_needs_the_ground_truths_own_file(noisy_image: Volume, tmp_path: Path) -> None:
    given = write_volume(noisy_image.with_voxels(labels_of(noisy_image)), tmp_path / "given.mha")
    segmenter = PrecomputedSegmenter(tmp_path)
    labels = segmenter.segment_reference(noisy_image, noisy_image.voxels, given, case="1ABA001")
    np.testing.assert_array_equal(labels, labels_of(noisy_image))
    with pytest.raises(InputError, match=r"case 1ABA001 has no segmentation .*expected segmentation/1ABA001\.mha"):
        segmenter.segment_reference(noisy_image, noisy_image.voxels, None, case="1ABA001")


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.uint16, np.float32, np.float64])
@pytest.mark.parametrize("suffix", [".mha", ".nii.gz"])
def test_whole_numbers_of_any_type_are_labels(dtype: Any, suffix: str, noisy_image: Volume, tmp_path: Path) -> None:
    path = write_volume(noisy_image.with_voxels(labels_of(noisy_image, dtype)), tmp_path / f"labels{suffix}")
    labels = read_label_map(path, noisy_image)
    assert labels.dtype == np.uint8
    np.testing.assert_array_equal(labels, labels_of(noisy_image))


@pytest.mark.parametrize(
    ("dtype", "value", "reason"),
    [
        (np.int16, 256, "holds labels from 0 to 256; expected 0 to 255"),
        (np.int16, -1, "holds labels from -1 to 117"),
        (np.float32, 2.5, "holds fractions or NaN"),
        (np.float32, np.nan, "holds fractions or NaN"),
        (np.float32, np.inf, "holds labels from 0 to inf"),
    ],
)
def test_what_is_no_label_map(dtype: Any, value: float, reason: str, noisy_image: Volume, tmp_path: Path) -> None:
    wrong = labels_of(noisy_image, dtype)
    wrong[0, 0, 0] = value
    path = write_volume(noisy_image.with_voxels(wrong), tmp_path / "labels.mha")
    with pytest.raises(InputError, match=rf"labels\.mha: {reason}"):
        read_label_map(path, noisy_image)


def test_another_grid_is_refused(noisy_image: Volume, tmp_path: Path) -> None:
    moved = replace(noisy_image.geometry, origin=(0.0, 0.0, 0.0))
    path = write_volume(Volume(labels_of(noisy_image), moved), tmp_path / "1ABA001.mha")
    with pytest.raises(GeometryError, match=r"1ABA001\.mha: lies on another grid .*origin"):
        PrecomputedSegmenter(tmp_path).segment_reference(noisy_image, noisy_image.voxels, path, case="1ABA001")
    of_the_sct = PrecomputedSegmenter(tmp_path).segment(noisy_image, noisy_image.voxels, case="1ABA001")
    assert np.array_equal(of_the_sct, labels_of(noisy_image))
    cut = replace(moved, size=(5, 5, 5))
    write_volume(Volume(np.zeros((5, 5, 5), np.uint8), cut), path)
    with pytest.raises(GeometryError, match=r"1ABA001\.mha: has size"):
        read_label_map(path, noisy_image)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(HeaderError, match=r"1ABA001\.mha"):
        read_label_map(path, noisy_image)
