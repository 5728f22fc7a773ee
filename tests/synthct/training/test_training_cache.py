"""The cache of normalised volumes: what it maps, when it builds, and that no half of an entry is ever used."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from builders import Array, save_case, save_image

from synthct.dataset import Case, CaseFiles, find_cases, load_case
from synthct.errors import GeometryError, InputError, OutputError
from synthct.training.cache import FOREGROUND_LIMIT, CachedCase, PreparedCase, VolumeCache, hold_case

MASK = np.zeros((3, 4, 5), np.uint8)
MASK[1, 1:3, 2:5] = 1


def prepare(case: Case) -> PreparedCase:
    """Halves the image, takes thousands of HU."""
    reference = None if case.reference is None else case.reference.voxels / 1000
    return PreparedCase(case.image.voxels / 2, reference, case.mask.voxels)


def refuse(case: Case) -> PreparedCase:
    pytest.fail(f"{case.id} was prepared again")


@pytest.fixture
def files(tmp_path: Path) -> CaseFiles:
    save_case(tmp_path / "data" / "1EXA001", mask=MASK)
    (found,) = find_cases(tmp_path / "data")
    return found


def entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def test_an_entry_holds_what_was_prepared(files: CaseFiles, tmp_path: Path) -> None:
    case = VolumeCache(tmp_path / "cache", "k").case(files, prepare)
    expected = np.arange(60, dtype=np.float32).reshape(3, 4, 5)
    assert (case.id, case.region, case.inside) == ("1EXA001", "EX", 6)
    assert case.reference is not None
    for array, wanted in ((case.image, expected / 2), (case.reference, (expected * 10 - 300) / 1000)):
        assert array.dtype == np.float32
        assert np.array_equal(array, wanted.astype(np.float32))
    assert case.weight.dtype == np.uint8
    assert np.array_equal(case.weight, MASK)
    assert case.foreground.dtype == np.int32
    assert case.foreground.tolist() == [[1, 1, 2], [1, 1, 3], [1, 1, 4], [1, 2, 2], [1, 2, 3], [1, 2, 4]]


def test_arrays_are_maps_that_nobody_can_write_to(files: CaseFiles, tmp_path: Path) -> None:
    case = VolumeCache(tmp_path / "cache", "k").case(files, prepare)
    assert case.reference is not None
    for array in (case.image, case.reference, case.weight, case.foreground):
        assert isinstance(array, np.memmap)
        assert not array.flags.writeable
    assert [path.name[:8] for path in entries(tmp_path / "cache")] == ["1EXA001-"]


def test_an_entry_is_built_once(files: CaseFiles, tmp_path: Path) -> None:
    first = VolumeCache(tmp_path / "cache", "k").case(files, prepare)
    again = VolumeCache(tmp_path / "cache", "k").case(files, refuse)
    assert np.array_equal(first.image, again.image)
    assert (again.inside, again.region) == (6, "EX")


def touch(files: CaseFiles) -> CaseFiles:
    os.utime(files.image, ns=(0, files.image.stat().st_mtime_ns + 1))
    return files


def without_reference(files: CaseFiles) -> CaseFiles:
    return replace(files, reference=None)


def another_mask(files: CaseFiles) -> CaseFiles:
    assert files.mask is not None
    shutil.copyfile(files.image, files.mask)
    return files


@pytest.mark.parametrize("change", [touch, without_reference, another_mask])
def test_a_changed_file_is_prepared_anew(
    files: CaseFiles, tmp_path: Path, change: Callable[[CaseFiles], CaseFiles]
) -> None:
    cache = VolumeCache(tmp_path / "cache", "k")
    cache.case(files, prepare)
    changed = change(files)
    prepared = cache.case(changed, prepare)
    assert len(entries(tmp_path / "cache")) == 2
    assert (prepared.reference is None) == (changed.reference is None)
    assert prepared.inside == np.count_nonzero(load_case(changed).mask.voxels)


def test_another_key_is_another_entry(files: CaseFiles, tmp_path: Path) -> None:
    VolumeCache(tmp_path / "cache", "k").case(files, prepare)
    other = VolumeCache(tmp_path / "cache", "k2").case(files, lambda case: replace(prepare(case), image=MASK))
    assert np.array_equal(other.image, MASK)
    assert len(entries(tmp_path / "cache")) == 2


def test_a_moved_data_set_keeps_its_entries(files: CaseFiles, tmp_path: Path) -> None:
    cache = VolumeCache(tmp_path / "cache", "k")
    cache.case(files, prepare)
    (tmp_path / "data").rename(tmp_path / "elsewhere")
    (moved,) = find_cases(tmp_path / "elsewhere")
    assert cache.case(moved, refuse).inside == 6


def test_voxels_beside_an_mhd_header_count(tmp_path: Path) -> None:
    """The header of a detached file stays as it is when the voxels change."""
    folder = tmp_path / "data" / "1EXA001"
    save_case(folder, reference=False)
    (folder / "mr.mha").unlink()
    save_image(folder / "mr.mhd", np.full((3, 4, 5), 8, np.int16))
    (found,) = find_cases(tmp_path / "data")
    cache = VolumeCache(tmp_path / "cache", "k")
    assert float(cache.case(found, prepare).image.max()) == 4.0
    note = found.image.stat()
    save_image(folder / "mr.mhd", np.full((3, 4, 5), 6, np.int16))
    os.utime(found.image, ns=(note.st_atime_ns, note.st_mtime_ns))
    assert float(cache.case(found, prepare).image.max()) == 3.0


def cut(entry: Path) -> None:
    with (entry / "image.npy").open("r+b") as stream:
        stream.truncate((entry / "image.npy").stat().st_size - 1)


def lose(entry: Path) -> None:
    (entry / "weight.npy").unlink()


def spoil_header(entry: Path) -> None:
    content = (entry / "reference.npy").read_bytes()
    (entry / "reference.npy").write_bytes(b"x" * 16 + content[16:])


def spoil_note(entry: Path) -> None:
    (entry / "entry.json").write_text("[1")


def note_of_another_kind(entry: Path) -> None:
    (entry / "entry.json").write_text(json.dumps({"sizes": {"image": None}}))


def empty(entry: Path) -> None:
    shutil.rmtree(entry)
    entry.mkdir()


def replace_by_a_file(entry: Path) -> None:
    shutil.rmtree(entry)
    entry.write_text("no folder")


@pytest.mark.parametrize(
    "damage", [cut, lose, spoil_header, spoil_note, note_of_another_kind, empty, replace_by_a_file]
)
def test_a_damaged_entry_is_replaced(files: CaseFiles, tmp_path: Path, damage: Callable[[Path], None]) -> None:
    cache = VolumeCache(tmp_path / "cache", "k")
    whole = np.array(cache.case(files, prepare).image)
    (entry,) = entries(tmp_path / "cache")
    damage(entry)
    assert np.array_equal(cache.case(files, prepare).image, whole)
    assert entries(tmp_path / "cache") == [entry]
    assert np.array_equal(cache.case(files, refuse).image, whole)


def test_a_case_without_a_reference(tmp_path: Path) -> None:
    save_case(tmp_path / "1ABA001", reference=False)
    (found,) = find_cases(tmp_path)
    assert VolumeCache(tmp_path / "cache", "k").case(found, prepare).reference is None


def test_an_empty_weight_is_kept(files: CaseFiles, tmp_path: Path) -> None:
    case = VolumeCache(tmp_path / "cache", "k").case(files, lambda case: replace(prepare(case), weight=MASK * 0))
    assert (case.inside, case.foreground.shape) == (0, (0, 3))


def test_large_masks_are_sampled() -> None:
    """Of 3 x 64 x 1024 voxels, 131,072 lie inside; the places drawn are inside, distinct and spread evenly."""
    weight = np.zeros((3, 64, 1024), np.uint8)
    weight[:2] = 1
    prepared = PreparedCase(weight, None, weight)
    case = hold_case("1EXA001", None, prepared)
    assert (case.inside, case.foreground.shape) == (131_072, (FOREGROUND_LIMIT, 3))
    assert len(np.unique(case.foreground, axis=0)) == FOREGROUND_LIMIT
    assert weight[tuple(case.foreground.T)].all()
    halves = np.bincount(case.foreground[:, 0], minlength=3)
    assert abs(halves[0] - FOREGROUND_LIMIT / 2) < 5 * np.sqrt(FOREGROUND_LIMIT / 4)
    assert np.array_equal(case.foreground, hold_case("other", None, prepared).foreground)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"reference": np.zeros((3, 4, 6))}, r"1X: prepared reference has shape \(3, 4, 6\); expected \(3, 4, 5\)"),
        ({"weight": np.zeros((4, 5))}, r"prepared weight has shape \(4, 5\)"),
        ({"image": np.zeros(3)}, r"prepared image has shape \(3,\)"),
        ({"image": np.full((3, 4, 5), np.nan)}, "1X: prepared image holds NaN or infinity"),
        ({"reference": np.full((3, 4, 5), 1e300)}, "prepared reference holds NaN or infinity"),
    ],
)
def test_arrays_that_cannot_be_trained_on(changes: dict[str, Array], words: str) -> None:
    whole = PreparedCase(np.zeros((3, 4, 5)), np.zeros((3, 4, 5)), MASK)
    with pytest.raises(InputError, match=words):
        hold_case("1X", None, replace(whole, **changes))


def test_files_that_cannot_be_used(files: CaseFiles, tmp_path: Path) -> None:
    cache = VolumeCache(tmp_path / "cache", "k")
    with pytest.raises(InputError, match=r"gone\.mha: cannot be read \(No such file.*\); expected a file of 1EXA001"):
        cache.case(replace(files, image=files.image.with_name("gone.mha")), prepare)
    save_image(files.image, np.ones((3, 4, 6), np.int16))
    with pytest.raises(GeometryError):
        cache.case(files, prepare)
    assert not (tmp_path / "cache").exists()


def test_a_cache_that_cannot_be_written(files: CaseFiles, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(OutputError, match=r"cache/1EXA001-[0-9a-f]{16}: cannot be written"):
        VolumeCache(tmp_path / "cache", "k").case(files, prepare)


def test_a_case_is_told_by_its_voxels(files: CaseFiles, tmp_path: Path) -> None:
    """Neither by its id nor by its files' times; an entry that is mapped again tells the same."""
    first = VolumeCache(tmp_path / "cache", "k").case(files, prepare)
    again = VolumeCache(tmp_path / "cache", "k").case(touch(files), prepare)
    assert first.digest == again.digest == VolumeCache(tmp_path / "cache", "k").case(files, refuse).digest
    assert len(first.digest) == 64
    prepared = prepare(load_case(files))
    for changed in (
        replace(prepared, image=prepared.image + 1),
        replace(prepared, reference=None),
        replace(prepared, weight=1 - prepared.weight),
        replace(prepared, image=prepared.reference, reference=prepared.image),
    ):
        assert hold_case("1EXA001", "EX", changed).digest != first.digest


def test_leavings_of_a_killed_process_are_removed_once_they_are_old(tmp_path: Path) -> None:
    for name in ("old", "new"):
        (tmp_path / ".partial" / name / "entry").mkdir(parents=True)
    an_hour_ago = time.time() - 3601
    os.utime(tmp_path / ".partial" / "old", (an_hour_ago, an_hour_ago))
    VolumeCache(tmp_path, "k")
    assert entries(tmp_path / ".partial") == [tmp_path / ".partial" / "new"]


def test_a_real_case_comes_back_bit_for_bit(data_root: Path, tmp_path: Path) -> None:
    (found,) = find_cases(data_root / "sts" / "Task1" / "EX" / "1EXA002")
    case = load_case(found)
    assert case.reference is not None
    cached: CachedCase = VolumeCache(tmp_path, "k").case(found, prepare)
    assert cached.reference is not None
    assert np.array_equal(cached.image, (case.image.voxels / 2).astype(np.float32))
    assert np.array_equal(cached.reference, (case.reference.voxels / 1000).astype(np.float32))
    assert np.array_equal(cached.weight, case.mask.voxels)
    assert cached.inside == int(case.mask.voxels.sum())
    assert case.mask.voxels[tuple(cached.foreground.T)].all()
