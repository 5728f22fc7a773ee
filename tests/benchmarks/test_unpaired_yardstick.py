"""Histogram matching without pairs: ranks by hand, whose CTs it is told, the commands."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from builders import make_volume

from algorithms.unpaired import reference_patients
from benchmarks.unpaired import RANKS, TEST, app, halves, match_histogram, reference_quantiles
from synthct.anatomy import Region, Task
from synthct.dataset import Case, find_cases, load_case
from synthct.errors import InputError
from synthct.features.folder import open_extractor
from synthct.outline import body_inside
from synthct.phantom import make_phantom
from synthct.volume import write_volume


def line_case(image: list[int], mask: list[int], ct: list[int] | None = None) -> Case:
    """A case of one row of voxels."""
    volumes = [make_volume(np.array([[row]], np.int16)) for row in (image, mask, ct or image)]
    return Case("1EXA001", Task.MRI, Region.EXTREMITY, volumes[0], volumes[1], volumes[2] if ct else None)


def test_quantiles_by_hand() -> None:
    """0 to 40 inside the mask, then with 100 to 140 the mean of both; 999 lies outside."""
    first = line_case([1] * 6, [1, 1, 1, 1, 1, 0], [20, 0, 10, 40, 30, 999])
    found = reference_quantiles([first])
    assert found[[0, 1000, 2000, 4000]].tolist() == [0.0, 10.0, 20.0, 40.0]
    other = line_case([1] * 3, [1, 1, 1], [100, 140, 120])
    assert reference_quantiles([first, other])[[0, 2000, 4000]].tolist() == [50.0, 70.0, 90.0]


def test_each_value_takes_the_ct_value_of_its_rank() -> None:
    """Five values lie in the middle of fifths; two that are equal share the middle of both."""
    quantiles = RANKS * 1000.0
    case = line_case([7, 300, 20, 1000, 50, 5], [1, 1, 1, 1, 1, 0])
    assert match_histogram(case, quantiles).ravel().tolist() == [100, 700, 300, 900, 500, -1000]
    tied = line_case([7, 7, 20, 1000], [1, 1, 1, 1])
    assert match_histogram(tied, quantiles).ravel().tolist() == [250, 250, 625, 875]


def test_a_scaling_of_the_mr_changes_nothing() -> None:
    rng = np.random.default_rng(0)
    case = line_case(rng.integers(0, 2000, 200).tolist(), [1] * 200)
    bright = replace(case, image=make_volume((case.image.voxels * 3 + 50).astype(np.int16)))
    quantiles = np.sort(rng.normal(0, 300, len(RANKS)))
    assert np.array_equal(match_histogram(case, quantiles), match_histogram(bright, quantiles))


def test_what_gives_no_histogram_is_refused() -> None:
    for case in (line_case([1, 2], [1, 1]), line_case([1, 2], [0, 0], [3, 4])):
        with pytest.raises(InputError, match="1EXA001: has no CT or an empty mask"):
            reference_quantiles([case])
    with pytest.raises(InputError, match="no case to take a histogram of"):
        reference_quantiles([])


def save(folder: Path, seed: int, *, shift: int = 0) -> None:
    folder.mkdir(parents=True)
    phantom = make_phantom("limb", seed=seed, size=(40, 40, 12), spacing=(3.0, 3.0, 5.0))
    write_volume(phantom.image, folder / "mr.mha")
    write_volume(phantom.mask, folder / "mask.mha")
    write_volume(phantom.reference.with_voxels(phantom.reference.voxels + np.int16(shift)), folder / "ct.mha")


def test_the_command_is_told_the_cts_of_the_half_that_training_draws(tmp_path: Path) -> None:
    names = ("1EXA001", "1EXA002", "1EXA003", "1EXA004")
    chosen = reference_patients(names)
    assert len(chosen) == 2
    for number, name in enumerate((*names, TEST[0])):  # what is not to be told would show as 1000 HU and more
        save(tmp_path / "data" / name, number, shift=0 if name[1:] in chosen else 1500)
    save(tmp_path / "cases" / "1EXA010", 9)
    app(["histogram", *map(str, (tmp_path / "data", tmp_path / "cases", tmp_path / "out"))], standalone_mode=False)
    made = sitk.ReadImage(str(tmp_path / "out" / "1EXA010.mha"))
    case = load_case(find_cases(tmp_path / "cases")[0])
    inside = case.mask.voxels > 0
    told = [load_case(each) for each in find_cases(tmp_path / "data") if each.id[1:] in chosen]
    wanted = reference_quantiles(told)
    hu = sitk.GetArrayFromImage(made)
    assert made.GetSpacing() == case.image.geometry.spacing
    assert (hu[~inside] == -1000).all()
    assert np.median(hu[inside]) == pytest.approx(np.interp(0.5, RANKS, wanted), abs=2)
    assert hu.max() <= wanted.max() + 1


def test_ranks_are_those_that_a_generator_starts_with(tmp_path: Path) -> None:
    """MR of one half and CT of the other, reversed: dense where it is dark, air where the mask lets it in."""
    names = ("1EXA001", "1EXA002", "1EXA003", "1EXA004")
    chosen = reference_patients(names)
    for number, name in enumerate((*names, TEST[0])):  # the other CTs would show as 1500 HU and more
        save(tmp_path / "data" / name, number, shift=0 if name[1:] in chosen else 1500)
    known, wanted = halves(tmp_path / "data")
    assert {files.id[1:] for files in wanted} == chosen
    assert {files.id for files in (*known, *wanted)} == set(names)
    save(tmp_path / "cases" / "1EXA010", 9)
    app(["ranks", *map(str, (tmp_path / "data", tmp_path / "cases", tmp_path / "out"))], standalone_mode=False)
    case = load_case(find_cases(tmp_path / "cases")[0])
    hu = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "out" / "1EXA010.mha"))).astype(int)
    body = body_inside(case.image, case.mask)
    assert (hu[~body] == -1000).all()
    assert (~body & (case.mask.voxels > 0)).any()
    order = np.argsort(case.image.voxels[body], kind="stable")
    assert (np.diff(hu[body][order]) <= 0).all()
    most = max(int(load_case(files).reference.voxels.max()) for files in wanted if files.reference)  # type: ignore[union-attr]
    assert -250 <= hu[body].min() < 0 < 300 < hu[body].max() <= most


def test_the_extractor_says_that_nobody_trained_it(tmp_path: Path) -> None:
    app(["extractor", str(tmp_path / "convnext"), "--size", "32", "--slice-step", "4"], standalone_mode=False)
    made = open_extractor(tmp_path / "convnext")
    assert made.random
    assert "RANDOM" in made.name
    with torch.inference_mode():
        maps = made(torch.full((1, 1, 8, 20, 20), 40.0))
    assert [tuple(each.shape) for each in maps] == [
        (1, 96, 2, 8, 8),
        (1, 192, 2, 4, 4),
        (1, 384, 2, 2, 2),
        (1, 768, 2, 1, 1),
    ]
