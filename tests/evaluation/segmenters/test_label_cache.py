"""The cache: what makes a key, a hit runs nothing, damage is repaired."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from wave_images import make_image

from evaluation.segmenters.cache import cache_key, cached_labels
from evaluation.segmenters.interface import LabelArray
from synthct.errors import OutputError
from synthct.volume import Volume, read_volume


class Counter:
    """Computes labels and counts how often."""

    def __init__(self, image: Volume) -> None:
        self.labels = (image.voxels > 0).astype(np.uint8) * 7
        self.runs = 0

    def __call__(self) -> LabelArray:
        self.runs += 1
        return self.labels


def test_a_hit_gives_the_same_labels_and_runs_nothing(noisy_image: Volume, tmp_path: Path) -> None:
    compute = Counter(noisy_image)
    for _ in range(3):
        labels = cached_labels(tmp_path / "new" / "cache", noisy_image, compute, name="a", weights="b")
        np.testing.assert_array_equal(labels, compute.labels)
        assert labels.dtype == np.uint8
    assert compute.runs == 1
    (path,) = (tmp_path / "new" / "cache").iterdir()
    assert path.name == f"{cache_key(noisy_image, name='a', weights='b')}.mha"
    stored = read_volume(path)
    assert stored.voxels.dtype == np.uint8
    assert stored.geometry == noisy_image.geometry
    assert path.stat().st_size < noisy_image.voxels.size


def test_without_a_folder_nothing_is_kept(noisy_image: Volume) -> None:
    compute = Counter(noisy_image)
    for _ in range(2):
        cached_labels(None, noisy_image, compute, name="a", weights="b")
    assert compute.runs == 2


def test_everything_that_changes_the_labels_changes_the_key() -> None:
    image = make_image((4, 5, 6), (3.0, 2.0, 1.0))
    changed = image.voxels.copy()
    changed[1, 2, 3] += 1
    grid = image.geometry
    variants = [
        image,
        image.with_voxels(changed),
        image.with_voxels(image.voxels.astype(np.int32)),
        Volume(image.voxels, replace(grid, origin=(0.0, 0.0, 1e-9))),
        Volume(image.voxels, replace(grid, spacing=(1.0, 2.0, 3.0000001))),
        Volume(image.voxels, replace(grid, direction=(-1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0))),
        Volume(image.voxels.reshape(4, 6, 5), replace(grid, size=(5, 6, 4))),
    ]
    keys = [cache_key(variant, name="a", weights="b") for variant in variants]
    keys += [cache_key(image, name="c", weights="b"), cache_key(image, name="a", weights="d")]
    keys.append(cache_key(image, name="a", weights=None))
    assert len(set(keys)) == len(keys) == 10


def test_the_key_is_of_the_content_not_of_the_file_or_the_memory() -> None:
    image = make_image((4, 5, 6), (3.0, 2.0, 1.0))
    other = Volume(np.asfortranarray(image.voxels), image.geometry, Path("other.mha"))
    assert cache_key(other, name="a", weights="b") == cache_key(image, name="a", weights="b")


@pytest.mark.parametrize("keep", [0, 100, -10])
def test_a_damaged_file_is_computed_anew_with_a_warning(keep: int, noisy_image: Volume, tmp_path: Path) -> None:
    compute = Counter(noisy_image)
    cached_labels(tmp_path, noisy_image, compute, name="a", weights="b")
    (path,) = tmp_path.iterdir()
    sound = path.read_bytes()
    path.write_bytes(sound[:keep])
    with pytest.warns(UserWarning, match=f"damaged cache file, computed anew: .*{path.name}"):
        labels = cached_labels(tmp_path, noisy_image, compute, name="a", weights="b")
    np.testing.assert_array_equal(labels, compute.labels)
    assert compute.runs == 2
    assert hashlib.sha256(path.read_bytes()).hexdigest() == hashlib.sha256(sound).hexdigest()


def test_a_file_of_another_grid_is_damage(noisy_image: Volume, tmp_path: Path) -> None:
    compute = Counter(noisy_image)
    cached_labels(tmp_path, noisy_image, compute, name="a", weights="b")
    (path,) = tmp_path.iterdir()
    small = make_image((2, 2, 2), (1.0, 1.0, 1.0))
    cached_labels(tmp_path / "small", small, Counter(small), name="a", weights="b")
    next((tmp_path / "small").iterdir()).replace(path)
    with pytest.warns(UserWarning, match="damaged cache file"):
        labels = cached_labels(tmp_path, noisy_image, compute, name="a", weights="b")
    np.testing.assert_array_equal(labels, compute.labels)


def test_a_place_that_cannot_be_written_to_is_an_error(noisy_image: Volume, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="cannot be written"):
        cached_labels(tmp_path / "file", noisy_image, Counter(noisy_image), name="a", weights="b")
