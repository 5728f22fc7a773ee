"""What a training recipe is handed, and what it must find before it starts."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.progress import Progress

from algorithms.interface import About
from synthct.anatomy import Region
from synthct.dataset import CaseFiles
from synthct.errors import InputError
from synthct.weights import ModelFolder

__all__ = ["TrainingRun", "load_recipe", "require_references"]


@dataclass(frozen=True, eq=False)
class TrainingRun:
    """One call of `synthct train`.

    Attributes:
        cases: cases of the data set, test cases already left out.
        run_dir: model folder to be; checkpoints and logs lie in it too.
        config: the preset's settings, validated by the recipe.
        device: where to train.
        progress: for bars.
        starter: the result is to be marked as starter weights.
        trained_on: what the user wants the model card to say of the data.
        simulated: some of the data are, by their note.
    """

    cases: tuple[CaseFiles, ...]
    run_dir: Path
    config: dict[str, Any]
    device: torch.device
    progress: Progress
    starter: bool = False
    trained_on: str = ""
    simulated: bool = False

    def origin(self, used: int) -> str:
        """What model.json says of the data: the user's words or the number of cases used, and whether simulated."""
        words = self.trained_on or f"{used} case{'' if used == 1 else 's'}"
        return f"{words} (simulated)" if self.simulated else words

    @property
    def regions(self) -> tuple[Region, ...]:
        """Regions of the cases, each once."""
        return tuple(sorted({files.region for files in self.cases if files.region is not None}))


def require_references(cases: tuple[CaseFiles, ...]) -> tuple[CaseFiles, ...]:
    """Return the cases, all of one task and each with its CT.

    Raises:
        InputError: a case has no CT, or the tasks are mixed.
    """
    for files in cases:
        if files.reference is None:
            raise InputError(f"{files.image.parent}: case {files.id} has no CT; expected ct.mha to train on")
    tasks = sorted({str(files.task) for files in cases})
    if len(tasks) != 1:
        raise InputError(f"the training cases mix tasks {', '.join(tasks) or '(none)'}; expected one (--task)")
    return cases


def load_recipe(about: About) -> Callable[[TrainingRun], ModelFolder]:
    """Return the recipe of an algorithm."""
    recipe: Callable[[TrainingRun], ModelFolder] = importlib.import_module(f"{about.module}.recipe").train
    return recipe
