"""Which weights a case gets: the user's folder before the platform's before starters, and routes within a folder."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from synthct.anatomy import Region, Task
from synthct.errors import WeightsError
from synthct.routes import CARD_NAME, PLATFORM_FOLDERS, Routes, find_folder, read_routes, starter_folders
from synthct.weights import ModelFolder, open_model, read_card

__all__ = ["ModelSource", "StarterWarning", "find_source", "starter_allowed"]

STARTER_VARIABLE = "SYNTHCT_STARTER"


class StarterWarning(UserWarning):
    """Starter weights are in use: they show that the software works, not how good the method is."""


@dataclass(eq=False)
class ModelSource:
    """Where the weights of a run come from. Each model is proven once, when it is first opened.

    Attributes:
        names: the algorithms that may predict; a model's card must name one of them.
        folders: the models in reach: one model folder, or starter folders, the first that covers a case being its own.
        routes: routes.json of the folder, which leads to its models then.
        from_starter: True where `folders` are starters.
    """

    names: tuple[str, ...]
    folders: Sequence[Path]
    routes: Routes | None = None
    from_starter: bool = False
    _opened: dict[Path, ModelFolder] = field(default_factory=dict)

    def open(self, task: Task | None = None, region: Region | None = None) -> ModelFolder:
        """Open the model of a task and region; whether it covers them is for ModelFolder.require to say.

        Raises:
            WeightsError: there is none, it is damaged, or its card names an algorithm that is not among `names`.
        """
        path = self._lead(task, region)
        if path not in self._opened:
            card = read_card(path)
            if card.algorithm not in self.names:
                place = path / CARD_NAME if (path / CARD_NAME).is_file() else path
                raise WeightsError(
                    f"{place}: holds a model of {card.algorithm}; expected one of {', '.join(self.names)}"
                )
            self._open(path)
        return self._opened[path]

    def open_all(self) -> list[ModelFolder]:
        """Open every model that a case could get; those of other algorithms are proven and left out.

        Raises:
            WeightsError: a model is missing or damaged, or none is of the algorithms in `names`.
        """
        opened, others = [], []
        for path in self.folders if self.routes is None else self.routes.folders():
            card = read_card(path)
            if card.algorithm in self.names:
                opened.append(self._open(path))
                continue
            others.append(card.algorithm)
            open_model(path)
        if not opened:
            found = ", ".join(sorted(set(others)))
            raise WeightsError(
                f"{self.folders[0]}: holds models of {found} alone; expected one of {', '.join(self.names)}"
            )
        return opened

    def _open(self, path: Path) -> ModelFolder:
        folder = self._opened.setdefault(path, open_model(path))
        if self.from_starter or folder.card.starter:  # a starter that was copied to a model folder is not silent either
            warnings.warn(
                f"{folder.card.algorithm} runs on STARTER weights ({folder.card.trained_on or folder.path}); they "
                "show that the software works, not how good the method is",
                StarterWarning,
                stacklevel=3,
            )
        return folder

    def _lead(self, task: Task | None, region: Region | None) -> Path:
        if self.routes is not None:
            return self.routes.lead(task, region)
        if len(self.folders) == 1 or task is None:
            return self.folders[0]
        cards = {path: read_card(path) for path in self.folders}
        for path, card in cards.items():
            if card.covers(task, region):
                return path
        of_task = next((path for path, card in cards.items() if task in card.tasks), None)
        if of_task is not None and len(self.names) == 1:
            return of_task  # whose card refuses the region, or is overruled
        raise WeightsError(
            f"no starter weights of {', '.join(self.names)} are for {task}, {region or 'unknown region'}; expected a "
            f"model in {PLATFORM_FOLDERS[0]}"
        )


def find_source(model: Path | None, starters: Mapping[str, Path], *, use_starter: bool) -> ModelSource:
    """Find the weights: `--model`, $MODEL_DIR, the platform's folders; starters only when asked for.

    SYNTHCT_STARTER=1, as containers set it, asks for starters too, but only where no other weights are found: an
    uploaded model outranks it.

    Args:
        model: folder that the user named, or None.
        starters: the starter folder of each algorithm that may predict, by name; it may hold a model per task.
        use_starter: the user asked for starter weights by --starter.

    Raises:
        WeightsError: nothing was found.
    """
    names = tuple(starters)
    words = ", ".join(names)
    found = None if use_starter and model is None else find_folder(model)
    if found is not None:
        return ModelSource(names, [found], read_routes(found))
    if not (use_starter or starter_allowed()):
        raise WeightsError(
            f"no weights for {words}: no --model DIR was given and {PLATFORM_FOLDERS[0]} holds none; expected a model "
            f"folder at {PLATFORM_FOLDERS[0]}, or --model DIR ({STARTER_VARIABLE}=1, or --starter, runs the starter "
            "weights)"
        )
    folders = [folder for path in starters.values() for folder in starter_folders(path)]
    if not folders:
        first = next(iter(starters.values()))
        raise WeightsError(f"{first}: {words} has no starter weights; expected --model DIR")
    return ModelSource(names, folders, from_starter=True)


def starter_allowed() -> bool:
    """Tell whether the environment asks for starter weights, as containers do (SYNTHCT_STARTER=1)."""
    return os.environ.get(STARTER_VARIABLE, "").strip() == "1"
