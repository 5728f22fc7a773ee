"""Folds: every patient validates once, strata are spread evenly, and splits.json is read back or refused."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthct.anatomy import CaseId, Region, Task
from synthct.dataset import CaseFiles, find_cases
from synthct.errors import InputError, UsageError
from synthct.training.folds import Fold, Splits, make_splits, patient_of, resolve_fold


def case(name: str) -> CaseFiles:
    known = CaseId.parse(name)
    return CaseFiles(name, known.task, known.region, Path(name) / "mr.mha")


def cases(*names: str) -> list[CaseFiles]:
    return [case(name) for name in names]


TEN = [f"1ABA{number:03}" for number in range(1, 6)] + [f"1THB{number:03}" for number in range(1, 6)]

ids = st.builds(
    "{}{}{}{:03}".format,
    st.sampled_from("12"),
    st.sampled_from(["AB", "HN", "TH", "EX"]),
    st.sampled_from("ABCDE"),
    st.integers(1, 30),
)


def test_two_strata_of_five_give_each_fold_one_of_each() -> None:
    splits = make_splits(cases(*TEN))
    assert len(splits.folds) == 5
    for number in range(5):
        train, val = splits.fold(number)
        assert sorted(name[:4] for name in val) == ["1ABA", "1THB"]
        assert sorted((*train, *val)) == TEN


def test_result_depends_on_ids_and_seed_alone() -> None:
    first = make_splits(cases(*TEN))
    assert make_splits(cases(*reversed(TEN))) == first
    assert any(make_splits(cases(*TEN), seed=seed) != first for seed in range(5))


@given(st.sets(ids, min_size=5, max_size=120), st.integers(2, 5), st.integers(0, 99))
def test_folds_of_any_data_set(names: set[str], folds: int, seed: int) -> None:
    patients = {name[1:] for name in names}
    if len(patients) < folds:
        with pytest.raises(UsageError, match=f"{len(names)} cases of {len(patients)} patients cannot be dealt into"):
            make_splits(cases(*names), folds=folds, seed=seed)
        return
    splits = make_splits(cases(*names), folds=folds, seed=seed)
    held_out = [splits.fold(number)[1] for number in range(folds)]
    assert sorted(name for val in held_out for name in val) == sorted(names)  # each case validates exactly once
    per_fold = [{name[1:] for name in val} for val in held_out]
    for number, mine in enumerate(per_fold):
        train = splits.fold(number)[0]
        assert set(train) == names - set(held_out[number])
        assert not mine & {name[1:] for name in train}  # no patient on both sides
    assert spread(len(mine) for mine in per_fold) <= 1
    for stratum in {patient[:-3] for patient in patients}:
        assert spread(sum(patient[:-3] == stratum for patient in mine) for mine in per_fold) <= 1


def spread(counts: Any) -> int:
    values = list(counts)
    return int(max(values) - min(values))


def test_both_tasks_of_one_number_stay_together() -> None:
    names = [f"{task}ABA{number:03}" for task in "12" for number in range(1, 11)]
    for fold in make_splits(cases(*names)).folds:
        assert Counter(name[1:] for name in fold.val) == dict.fromkeys({name[1:] for name in fold.val}, 2)


def test_patients_with_both_tasks_are_spread_too() -> None:
    """Five patients with MR and CBCT, five with MR alone: each fold holds out three cases."""
    names = [f"1ABA{number:03}" for number in range(1, 11)] + [f"2ABA{number:03}" for number in range(1, 10, 2)]
    assert [len(fold.val) for fold in make_splits(cases(*names)).folds] == [3] * 5


def test_real_cases(data_root: Path) -> None:
    """21 limbs of one centre: folds of 5, 4, 4, 4, 4."""
    found = find_cases(data_root / "sts" / "Task1")
    assert sorted(len(fold.val) for fold in make_splits(found).folds) == [4, 4, 4, 4, 5]


@pytest.mark.parametrize(
    ("name", "patient"),
    [("1ABA001", "ABA001"), ("2aba001", "ABA001"), ("1BA001", "BA001"), ("subject 7", "subject 7"), ("", "")],
)
def test_patient_of_a_case(name: str, patient: str) -> None:
    assert patient_of(name) == patient


def test_ids_of_another_form_are_patients_of_their_own() -> None:
    others = [CaseFiles(name, Task.MRI, Region.BRAIN, Path("mr.mha")) for name in "abcd"]
    assert sorted(name for fold in make_splits(others, folds=4).folds for name in fold.val) == list("abcd")


@pytest.mark.parametrize(
    ("names", "folds", "words"),
    [
        (TEN[:4], 5, "4 cases of 4 patients cannot be dealt into 5 folds; expected at least one patient per fold"),
        (["1ABA001", "2ABA001"], 2, "2 cases of 1 patients cannot be dealt into 2 folds"),
        ([], 2, "0 cases of 0 patients"),
        (TEN, 1, "1 folds cannot be made; expected 2 or more"),
        (TEN, -3, "-3 folds cannot be made"),
    ],
)
def test_folds_that_cannot_be_made(names: list[str], folds: int, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        make_splits(cases(*names), folds=folds)
    assert str(caught.value).startswith(words)


def test_written_splits_are_nnunets_list_and_come_back(tmp_path: Path) -> None:
    splits = make_splits(cases(*TEN))
    path = splits.write(tmp_path / "splits.json")
    content = json.loads(path.read_text())
    assert [sorted(fold) for fold in content] == [["train", "val"]] * 5
    assert content[2]["val"] == list(splits.fold(2)[1])
    assert Splits.read(path).folds == splits.folds


def test_an_object_with_folds_is_read_too(tmp_path: Path) -> None:
    splits = make_splits(cases(*TEN), folds=2)
    (tmp_path / "splits.json").write_text(splits.model_dump_json())
    assert Splits.read(tmp_path / "splits.json").folds == splits.folds


def test_cases_that_no_fold_names_are_left_out() -> None:
    splits = Splits(folds=(Fold(train=("1ABA001",), val=("1ABA002",)),))
    assert splits.fold(0, ["1ABA001", "1ABA002", "1ABA003"]) == (("1ABA001",), ("1ABA002",))


def test_a_fold_that_names_a_case_which_is_not_there(tmp_path: Path) -> None:
    path = Splits(folds=(Fold(train=("1ABA009", "1ABA008"), val=()),)).write(tmp_path / "splits.json")
    with pytest.raises(InputError) as caught:
        Splits.read(path).fold(0, ["1ABA009"])
    assert str(caught.value) == (
        f"{path}: fold 0 names 1ABA008, which is none of the data set's 1 cases; expected cases that are there"
    )


@pytest.mark.parametrize("number", [-1, 5])
def test_a_fold_that_does_not_exist(number: int) -> None:
    with pytest.raises(UsageError, match=rf"splits\.json: has no fold {number}; expected 0 to 4"):
        make_splits(cases(*TEN)).fold(number)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "cannot be read as JSON"),
        ("[" * 100_000, "cannot be read as JSON"),
        ("[]", "folds: Tuple should have at least 1 item"),
        ("7", "Input should be a valid dictionary"),
        ('[{"train": ["a"]}]', "folds.0.val: Field required"),
        ('[{"train": [], "val": ["a"]}]', "folds.0.train: Tuple should have at least 1 item"),
        ('[{"train": ["a"], "val": [7]}]', "folds.0.val.0: Input should be a valid string"),
        ('[{"train": ["a"], "val": ["b"], "test": []}]', "folds.0.test: Extra inputs are not permitted"),
        ('[{"train": ["a", "b"], "val": ["b"]}]', "fold 0: b stands in train and in val; expected it in one of them"),
        (
            '[{"train": ["a"], "val": ["b"]}, {"train": ["c"], "val": ["d", "b"]}]',
            "b stands in val of fold 0 and of fold 1; expected one",
        ),
        ('[{"train": ["a"], "val": ["b", "b"]}]', "b stands in val of fold 0 twice; expected it once"),
    ],
)
def test_files_that_are_no_splits(tmp_path: Path, content: str, words: str) -> None:
    path = tmp_path / "splits.json"
    path.write_text(content)
    with pytest.raises(InputError) as caught:
        Splits.read(path)
    assert str(caught.value).startswith(f"{path}: {words}")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"splits\.json: cannot be read \(No such file or directory\)"):
        Splits.read(tmp_path / "splits.json")


@pytest.mark.parametrize(
    ("text", "folds", "numbers"),
    [("all", 3, [0, 1, 2]), (" ALL ", 2, [0, 1]), ("0", 5, [0]), ("4", 5, [4]), ("04", 5, [4])],
)
def test_fold_option(text: str, folds: int, numbers: list[int]) -> None:
    assert resolve_fold(text, folds) == numbers


@pytest.mark.parametrize("text", ["5", "-1", "", "one", "1.0", "0,1", "²", "٣", "9" * 5000])
def test_fold_option_that_is_no_fold(text: str) -> None:
    with pytest.raises(UsageError, match=r"is no fold; expected 0 to 4 or all"):
        resolve_fold(text, 5)


def test_cases_without_a_ct_are_trained_on_but_never_judge() -> None:
    """1ABA009 is a patient of its own; 2ABA001 is ABA001's, and left out of the fold that holds that patient out."""
    splits = make_splits(cases(*TEN), lone=cases("1ABA009", "2ABA001"))
    without = make_splits(cases(*TEN))
    for number in range(5):
        train, val = splits.fold(number)
        assert val == without.fold(number)[1]
        extra = {"1ABA009"} if "1ABA001" in val else {"1ABA009", "2ABA001"}
        assert set(train) == set(without.fold(number)[0]) | extra
