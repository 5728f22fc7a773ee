"""Which cases give images and which CTs, and what a recipe without pairs may be handed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.progress import Progress

from algorithms.pairs import PairedData, require_references, resampled_case
from algorithms.training import TrainingRun
from algorithms.unpaired import UnpairedData
from synthct.anatomy import Region, Task
from synthct.dataset import find_cases, load_case
from synthct.errors import InputError
from synthct.intensity import LinearScale
from synthct.phantom import make_phantom
from synthct.training.cache import CachedCase, PreparedCase, hold_case
from synthct.training.folds import patient_of
from synthct.training.launch import make_fabric
from synthct.volume import write_volume

SCALE = LinearScale(low=-1000.0, high=3000.0, scale=1000.0)


def cached(case_id: str, *, ct: bool = True) -> CachedCase:
    image = np.full((2, 3, 4), 1.0, np.float32)
    return hold_case(case_id, "P", PreparedCase(image=image, reference=image if ct else None, weight=image))


def paired(*cases: CachedCase) -> PairedData:
    return PairedData(cases, (cached("1PA099"),), Task.MRI, (Region.PELVIS,))


def ids(cases: tuple[CachedCase, ...]) -> set[str]:
    return {case.id for case in cases}


CASES = tuple(cached(f"1PA00{number}") for number in range(1, 8))


def test_all_give_both_where_halves_are_not_asked_for() -> None:
    data = UnpairedData.split(paired(*CASES), disjoint=False)
    assert ids(data.images) == ids(data.references) == ids(CASES)
    assert data.training == CASES
    assert ids(data.validation) == {"1PA099"}
    assert data.describe() == "images of 7 cases, CTs of 7, 7 of them the same"


def test_halves_share_no_patient_and_drop_the_cts_of_the_images() -> None:
    data = UnpairedData.split(paired(*CASES), disjoint=True)
    assert (len(data.images), len(data.references)) == (4, 3)
    assert ids(data.images) | ids(data.references) == ids(CASES)
    assert not ids(data.images) & ids(data.references)
    assert all(case.reference is None for case in data.images)
    assert all(case.reference is not None for case in data.references)
    assert len(data.training) == 7
    assert data.describe() == "images of 4 cases, CTs of 3, no patient in both"
    again = UnpairedData.split(paired(*reversed(CASES)), disjoint=True)
    assert ids(again.images) == ids(data.images)  # whatever the order in which cases are found


def test_two_cases_of_one_patient_stay_together() -> None:
    cases = [cached(f"{task}ABA00{number}") for number in range(1, 5) for task in (1, 2)]
    patients = {patient_of(case.id) for case in cases}
    data = UnpairedData.split(paired(*cases), disjoint=True)
    ours, theirs = ({patient_of(case.id) for case in part} for part in (data.images, data.references))
    assert ours | theirs == patients
    assert not ours & theirs


def test_a_patient_without_ct_gives_images() -> None:
    lone = cached("1PA008", ct=False)
    data = UnpairedData.split(paired(lone, *CASES[:2]), disjoint=True)
    assert lone.id in ids(data.images)
    assert len(data.references) == 1
    both = UnpairedData.split(paired(lone, *CASES[:2]), disjoint=False)
    assert ids(both.images) == {lone.id, *ids(CASES[:2])}
    assert ids(both.references) == ids(CASES[:2])


def test_too_few_cases_are_refused() -> None:
    with pytest.raises(InputError, match="1 cases to train on leave 1 for images and 0 for CTs; expected at least one"):
        UnpairedData.split(paired(cached("1PA001", ct=False)), disjoint=False)
    with pytest.raises(InputError, match="leave 1 for images and 0 for CTs; expected at least one each of different"):
        UnpairedData.split(paired(CASES[0]), disjoint=True)


@pytest.fixture
def limbs(tmp_path: Path) -> Path:
    for number in range(3):
        folder = tmp_path / "data" / f"1EXA00{number}"
        folder.mkdir(parents=True)
        phantom = make_phantom("limb", seed=number, size=(40, 40, 12), spacing=(3.0, 3.0, 5.0))
        for volume, name in ((phantom.image, "mr"), (phantom.mask, "mask"), (phantom.reference, "ct")):
            write_volume(volume, folder / f"{name}.mha")
    return tmp_path / "data"


def test_cases_to_train_on_may_lack_their_ct_and_held_out_ones_may_not(limbs: Path, tmp_path: Path) -> None:
    first, second, third = find_cases(limbs)
    assert first.reference is not None
    first.reference.unlink()
    cases = tuple(find_cases(limbs))
    run = TrainingRun(cases, tmp_path / "run", {}, Progress(disable=True), cache=tmp_path / "cache")
    options: dict[str, Any] = {"image": SCALE.apply, "reference": SCALE.apply, "key": "k", "excluded": ()}
    fabric = make_fabric("cpu", 1, "fp32")
    data = PairedData.prepare(run, fabric, validation=(third.id,), lone_images=True, **options)
    assert [case.reference is None for case in data.training] == [True, False]
    assert ids(data.validation) == {third.id}
    for lone, held_out in ((True, first.id), (False, second.id)):
        with pytest.raises(InputError, match=f"case {first.id} has no CT; expected ct.mha to train on"):
            PairedData.prepare(run, fabric, validation=(held_out,), lone_images=lone, **options)
    assert require_references(cases, lone={first.id}) == cases


def test_resampling_brings_all_three_onto_one_grid(limbs: Path) -> None:
    case = load_case(find_cases(limbs)[0])
    assert resampled_case(case, None) is case
    found = resampled_case(case, (4.0, 3.0, 3.0))
    assert found.reference is not None
    assert found.image.geometry == found.mask.geometry == found.reference.geometry
    assert found.image.spacing_zyx == pytest.approx((4.0, 3.0, 3.0), rel=0.05)
    assert set(np.unique(found.mask.voxels)) == {0, 1}
    before, after = (np.array(each.image.voxels.shape) * each.image.spacing_zyx for each in (case, found))
    assert after == pytest.approx(before)


def test_the_halves_are_the_same_in_each_fold() -> None:
    whole = UnpairedData.split(PairedData(CASES, (), Task.MRI, (Region.PELVIS,)), disjoint=True)
    for held_out in CASES:
        training = tuple(case for case in CASES if case is not held_out)
        fold = UnpairedData.split(PairedData(training, (held_out,), Task.MRI, (Region.PELVIS,)), disjoint=True)
        assert ids(fold.images) == ids(whole.images) - {held_out.id}
        assert ids(fold.references) == ids(whole.references) - {held_out.id}
