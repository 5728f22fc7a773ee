"""The cases of a run that learns from images and CTs of different patients."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from algorithms.pairs import PairedData
from synthct.anatomy import Region, Task
from synthct.errors import InputError
from synthct.training.cache import CachedCase
from synthct.training.folds import patient_of

__all__ = ["UnpairedData", "reference_patients"]

HALVES_SEED = 0


@dataclass(frozen=True, eq=False)
class UnpairedData:
    """Images to translate and CTs that they are to look like.

    Attributes:
        images: cases whose image is drawn; with `disjoint` their CT is not even kept.
        references: cases whose CT is drawn.
        validation: cases that are held out; they are pairs.
        task: of all of them.
        regions: of all of them, each once.
    """

    images: tuple[CachedCase, ...]
    references: tuple[CachedCase, ...]
    validation: tuple[CachedCase, ...]
    task: Task
    regions: tuple[Region, ...]

    @classmethod
    def split(cls, data: PairedData, *, disjoint: bool) -> UnpairedData:
        """Take images and CTs from the same cases, or each from its own half of the patients.

        Args:
            data: prepared cases; those to train on may lack their CT.
            disjoint: the halves are drawn with a fixed seed over all cases with a CT, those held out included, so that
                they are the same in each fold; the larger one gives images, and so does a patient without a CT.

        Raises:
            InputError: no case is left with a CT, or, with `disjoint`, for images.
        """
        with_ct = tuple(case for case in data.training if case.reference is not None)
        images = data.training
        if disjoint:
            kept = reference_patients(case.id for case in (*with_ct, *data.validation))
            with_ct = tuple(case for case in with_ct if patient_of(case.id) in kept)
            images = tuple(replace(case, reference=None) for case in images if patient_of(case.id) not in kept)
        if not with_ct or not images:
            raise InputError(
                f"{len(data.training)} cases to train on leave {len(images)} for images and {len(with_ct)} for CTs; "
                f"expected at least one each{' of different patients' if disjoint else ''}"
            )
        return cls(images, with_ct, data.validation, data.task, data.regions)

    @property
    def training(self) -> tuple[CachedCase, ...]:
        """Every case that an image or a CT is drawn from, each once."""
        images = {case.id for case in self.images}
        return (*self.images, *(case for case in self.references if case.id not in images))

    def describe(self) -> str:
        """Who gives what, in words, for logs."""
        both = {case.id for case in self.images} & {case.id for case in self.references}
        told = f"images of {len(self.images)} cases, CTs of {len(self.references)}"
        return f"{told}, {len(both)} of them the same" if both else f"{told}, no patient in both"


def reference_patients(case_ids: Iterable[str]) -> set[str]:
    """The half of the patients (`patient_of`) whose CT is drawn, the smaller one where they are odd in number."""
    patients = sorted({patient_of(case_id) for case_id in case_ids})
    drawn = np.random.default_rng(HALVES_SEED).permutation(len(patients))
    return {patients[index] for index in drawn[(len(patients) + 1) // 2 :]}
