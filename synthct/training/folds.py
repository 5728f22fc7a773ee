"""Cross-validation: which cases train and which validate in each fold, kept in splits.json."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, model_validator

from synthct.anatomy import CaseId
from synthct.dataset import CaseFiles
from synthct.errors import InputError, UsageError
from synthct.files import write_text

__all__ = ["SPLITS_NAME", "Fold", "Splits", "make_splits", "patient_of", "resolve_fold"]

SPLITS_NAME = "splits.json"

_FILE_LIMIT = 64 << 20


class Fold(BaseModel):
    """Case ids of one fold.

    Attributes:
        train: cases to train on.
        val: cases to validate on; none of them is in `train`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    train: tuple[str, ...] = Field(min_length=1)
    val: tuple[str, ...]


class Splits(BaseModel):
    """All folds of a data set. A case validates in one fold at most.

    Attributes:
        folds: fold 0 first.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    folds: tuple[Fold, ...] = Field(min_length=1)
    _origin: str = PrivateAttr(default=SPLITS_NAME)

    @model_validator(mode="after")
    def _each_case_once(self) -> Splits:
        seen: dict[str, int] = {}
        for number, fold in enumerate(self.folds):
            both = sorted(set(fold.train) & set(fold.val))
            if both:
                raise ValueError(f"fold {number}: {both[0]} stands in train and in val; expected it in one of them")
            for name in fold.val:
                if seen.get(name) == number:
                    raise ValueError(f"{name} stands in val of fold {number} twice; expected it once")
                if name in seen:
                    raise ValueError(f"{name} stands in val of fold {seen[name]} and of fold {number}; expected one")
                seen[name] = number
        return self

    @classmethod
    def read(cls, path: Path) -> Splits:
        """Read splits.json: a list of {"train": [...], "val": [...]}, as nnU-Net's splits_final.json is.

        An object with that list as its `folds` is read too.

        Raises:
            InputError: the file cannot be read as splits, or a case stands in val of two folds or in train and val of
                one.
        """
        try:
            with path.open("rb") as stream:
                content = json.loads(stream.read(_FILE_LIMIT))
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror}); expected the folds of a data set") from error
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path}: cannot be read as JSON ({error}); expected a list of folds") from error
        try:
            splits = cls.model_validate({"folds": content} if isinstance(content, list) else content)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            text = first["msg"].removeprefix("Value error, ")
            raise InputError(f"{path}: {where + ': ' if where else ''}{text}") from error
        splits._origin = str(path)
        return splits

    def write(self, path: Path) -> Path:
        """Write splits.json in nnU-Net's form, so that it may serve as splits_final.json.

        Raises:
            OutputError: the file cannot be written.
        """
        folds = [{"train": list(fold.train), "val": list(fold.val)} for fold in self.folds]
        return write_text(path, json.dumps(folds, indent=2) + "\n")

    def fold(self, number: int, known: Iterable[str] | None = None) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the ids to train on and the ids to validate on.

        Args:
            number: of the fold, from 0.
            known: ids of the data set's cases; with them, a fold that names another is refused. Those that the fold
                does not name are left out.

        Raises:
            UsageError: there is no fold of that number.
            InputError: the fold names a case that is not among `known`; the message names the first.
        """
        if not 0 <= number < len(self.folds):
            raise UsageError(f"{self._origin}: has no fold {number}; expected {_range(len(self.folds))}")
        chosen = self.folds[number]
        if known is not None:
            present = set(known)
            for name in (*chosen.train, *chosen.val):
                if name not in present:
                    raise InputError(
                        f"{self._origin}: fold {number} names {name}, which is none of the data set's {len(present)} "
                        "cases; expected cases that are there"
                    )
        return chosen.train, chosen.val


def make_splits(
    cases: Sequence[CaseFiles], *, folds: int = 5, seed: int = 12345, lone: Sequence[CaseFiles] = ()
) -> Splits:
    """Deal cases into folds, patient by patient, stratified by region and centre.

    The patients of a region and centre are shuffled, and all strata, one after another, dealt to the folds in turn. So
    the numbers of patients that two folds validate on differ by one at most: in all, and within each stratum (and,
    where MR and CBCT are mixed, within each stratum's patients with the one, the other or both). The result depends on
    the ids and the seed, not on the cases' order.

    Args:
        cases: of one data set.
        folds: number of folds, 2 or more.
        seed: of the shuffling; 12345 is nnU-Net's.
        lone: cases that cannot judge, having no CT: to train on in every fold but that which holds their patient out.

    Raises:
        UsageError: `folds` is below 2, or there are fewer patients than folds.
    """
    if folds < 2:
        raise UsageError(f"{folds} folds cannot be made; expected 2 or more")
    patients: dict[str, list[CaseFiles]] = defaultdict(list)
    for case in sorted(cases, key=lambda case: case.id):
        patients[patient_of(case.id)].append(case)
    if len(patients) < folds:
        raise UsageError(
            f"{len(cases)} cases of {len(patients)} patients cannot be dealt into {folds} folds; expected at least "
            "one patient per fold"
        )
    strata: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for patient, own in patients.items():
        strata[_stratum(own)].append(patient)
    random = np.random.default_rng(seed)
    dealt: dict[str, int] = {}
    for stratum in sorted(strata):
        members = strata[stratum]
        for place in random.permutation(len(members)):
            dealt[members[place]] = len(dealt) % folds
    names = {case.id: dealt[patient] for patient, own in patients.items() for case in own}
    places = names | {case.id: dealt.get(patient_of(case.id)) for case in lone}
    return Splits(
        folds=tuple(
            Fold(
                train=tuple(sorted(name for name, fold in places.items() if fold != number)),
                val=tuple(sorted(name for name, fold in names.items() if fold == number)),
            )
            for number in range(folds)
        )
    )


def patient_of(case_id: str) -> str:
    """Name the patient of a case: the id without its task digit, ABA001 of 1ABA001.

    SynthRAD numbers cases per task, region and centre and does not say whether number 001 of both tasks is one patient
    (CONTRACT 1.10); the two are kept together, which is right in either case. An id of another form is a patient of
    its own.
    """
    try:
        return CaseId.parse(case_id).text[1:]
    except InputError:
        return case_id


def resolve_fold(text: str, folds: int) -> list[int]:
    """Read --fold: a fold's number, or `all` for each of them in turn.

    Raises:
        UsageError: the text is neither, or the number is out of range.
    """
    words = text.strip().casefold()
    if words == "all":
        return list(range(folds))
    if not (words.isascii() and words.isdecimal() and len(words) < 10 and int(words) < folds):
        raise UsageError(f"--fold {text[:20]!r} is no fold; expected {_range(folds)} or all")
    return [int(words)]


def _stratum(cases: Sequence[CaseFiles]) -> tuple[str, ...]:
    """Region, centre and tasks of one patient's cases."""
    try:
        known = CaseId.parse(cases[0].id)
    except InputError:
        region = cases[0].region
        return (region.value if region is not None else "", "", cases[0].task.value)
    return (known.region.value, known.centre, *sorted(case.task.value for case in cases))


def _range(folds: int) -> str:
    return f"0 to {folds - 1}"
