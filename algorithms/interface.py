"""What a container needs from an algorithm: find it, load it, predict with it. No algorithm is named here."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import algorithms
from synthct.anatomy import Region, Task
from synthct.errors import UsageError

if TYPE_CHECKING:
    from synthct.dataset import Case
    from synthct.inference.engine import Engine
    from synthct.volume import Volume
    from synthct.weights import ModelFolder

__all__ = ["About", "Advance", "Prediction", "Predictor", "all_algorithms", "find_algorithm", "load_predictor"]

Advance = Callable[[int, int], None]
"""Progress of one case: called with (steps done, steps in all)."""


@dataclass(frozen=True)
class About:
    """What an algorithm's about.py says of it; importing it must not import torch.

    Attributes:
        name: as users type it, such as pix2pix-pelvis.
        summary: one line.
        tasks: tasks that the method is made for.
        regions: regions that the method is made for.
        presets: names of the training presets, the paper's first.
        source: paper and section.
        folder: the algorithm's folder.
        stages: of training, in their order; none where there is but one.
        options: settings of a model that can be set for one run (synthct predict --set), dotted.
    """

    name: str
    summary: str
    tasks: tuple[Task, ...]
    regions: tuple[Region, ...]
    presets: tuple[str, ...]
    source: str
    folder: Path
    stages: tuple[str, ...] = ()
    options: tuple[str, ...] = ()

    @property
    def module(self) -> str:
        """Dotted name of the algorithm's package."""
        return f"algorithms.{self.folder.name}"

    @property
    def starter(self) -> Path:
        """Folder of the starter weights; it may be missing."""
        return self.folder / "starter"


@dataclass(frozen=True, eq=False)
class Prediction:
    """One sCT.

    Attributes:
        volume: HU as int16 on the input's grid, after the HU finish.
        spread: per-voxel standard deviation in HU, where the algorithm gives one.
        notes: what the manifest should say of this case.
    """

    volume: Volume
    spread: Volume | None = None
    notes: Mapping[str, Any] = field(default_factory=dict)


class Predictor(Protocol):
    """A loaded model."""

    def predict(self, case: Case, *, advance: Advance | None = None) -> Prediction:
        """Translate one case; voxels of the result lie on the grid of `case.image`."""
        ...


@cache
def all_algorithms() -> tuple[About, ...]:
    """Find every algorithm's about.py by pkgutil, sorted by name."""
    found = []
    for module in pkgutil.iter_modules(algorithms.__path__):
        if module.ispkg and importlib.util.find_spec(f"algorithms.{module.name}.about") is not None:
            about: About = importlib.import_module(f"algorithms.{module.name}.about").ABOUT
            found.append(about)
    return tuple(sorted(found, key=lambda about: about.name))


def find_algorithm(name: str) -> About:
    """Return the algorithm of that name.

    Raises:
        UsageError: there is none; the message lists those there are.
    """
    for about in all_algorithms():
        if about.name == name:
            return about
    known = ", ".join(about.name for about in all_algorithms())
    raise UsageError(f"algorithm '{name}' is unknown; expected one of {known}")


def load_predictor(about: About, model: ModelFolder, engine: Engine) -> Predictor:
    """Load an algorithm's predictor from a model folder onto an engine's device."""
    load: Callable[[ModelFolder, Engine], Predictor] = importlib.import_module(f"{about.module}.predictor").load
    return load(model, engine)
