"""Predicting cases one after another: weights chosen per case, each model loaded once, a manifest of what was done."""

from __future__ import annotations

import resource
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from algorithms.interface import About, Advance, Prediction, Predictor, load_predictor
from synthct.anatomy import Region, Task
from synthct.dataset import Case, CaseFiles
from synthct.errors import WeightsError
from synthct.inference.engine import Engine
from synthct.model_source import ModelSource, find_source
from synthct.weights import ModelFolder

__all__ = ["Runtime"]


@dataclass(eq=False)
class Runtime:
    """One or several algorithms, the user's choice of weights and an engine.

    Attributes:
        abouts: the algorithms; the card of a case's model tells which of them predicts.
        model: folder that the user named, or None.
        use_starter: starter weights were asked for by --starter.
        force: run cases that the model was not trained for.
        engine: sweeps networks, on its device.
        adapt: what is done to a model folder before it is loaded, such as setting options for this run.
    """

    abouts: Sequence[About]
    model: Path | None
    use_starter: bool
    force: bool
    engine: Engine
    adapt: Callable[[ModelFolder], ModelFolder] | None = None
    _source: ModelSource | None = None
    _chosen: dict[tuple[Task, Region | None], ModelFolder] = field(default_factory=dict)
    _loaded: dict[Path, Predictor] = field(default_factory=dict)
    _rows: list[dict[str, Any]] = field(default_factory=list)
    _models: dict[str, dict[str, Any]] = field(default_factory=dict)

    def prepare(self) -> None:
        """Prove and load every model that a case could get, so that `predict` has to load none.

        Raises:
            WeightsError: a model is missing or damaged, or none is of these algorithms.
        """
        for folder in self._find_source().open_all():
            self._load(self._adapted(folder))

    def choose(self, files: CaseFiles) -> ModelFolder:
        """Find and prove the model for a case, once per task and region; nothing is loaded.

        Raises:
            WeightsError: there is none, it is damaged, or the case lies outside it.
        """
        key = (files.task, files.region)
        if key in self._chosen:
            return self._chosen[key]
        folder = self._find_source().open(files.task, files.region)
        folder.require(files.task, files.region, force=self.force)
        if not folder.card.covers(files.task, files.region):
            warnings.warn(
                f"--force: {files.task}, {files.region or 'unknown region'} lies outside what {folder.path} was "
                "trained for; its sCT has no meaning",
                stacklevel=2,
            )
        folder = self._chosen[key] = self._adapted(folder)
        return folder

    def check(self, cases: Iterable[CaseFiles]) -> None:
        """Choose a model for every case before the first is predicted, so that nothing fails half-way for weights."""
        for files in cases:
            self.choose(files)

    def predict(self, case: Case, files: CaseFiles, *, advance: Advance | None = None) -> Prediction:
        """Predict one case and note it for the manifest."""
        folder = self.choose(files)
        predictor = self._load(folder)
        self._models[str(folder.path)] = {
            "sha256": folder.card.sha256,
            "starter": folder.card.starter,
            "trained_on": folder.card.trained_on,
            "extractors": list(folder.card.extractors),
            "random_features": folder.card.random_features,
            "demonstration_only": folder.card.demonstration_only,
        }
        began = time.monotonic()
        prediction = predictor.predict(case, advance=advance)
        difference = prediction.volume.geometry.difference(case.image.geometry)
        if difference is not None:
            raise WeightsError(f"{case.id}: {folder.card.algorithm} returned another grid than its input: {difference}")
        self._rows.append(
            {
                "case": case.id,
                "task": case.task.value,
                "region": case.region.value if case.region is not None else None,
                "algorithm": folder.card.algorithm,
                "model": str(folder.path),
                "seconds": round(time.monotonic() - began, 3),
                "forced": not folder.card.covers(files.task, files.region),
                **prediction.notes,
            }
        )
        return prediction

    def note(self, files: CaseFiles, **more: Any) -> None:  # noqa: ANN401
        """Add to what the manifest says of the case that was predicted last."""
        if self._rows and self._rows[-1]["case"] == files.id:
            self._rows[-1].update(more)

    def forget_cases(self) -> None:
        """Start the manifest anew; the models stay loaded."""
        self._rows.clear()
        self._models.clear()
        self._chosen.clear()  # an unknown region's fallback warns in each run anew

    def manifest(self, **more: Any) -> dict[str, Any]:  # noqa: ANN401
        """What was run, with what, on what; peak memory is that of this process in MB."""
        return {
            "synthct": version("synthct"),
            "torch": torch.__version__,
            "algorithm": ", ".join(about.name for about in self.abouts),
            "device": str(self.engine.device),
            "models": self._models,
            "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
            "cases": self._rows,
            **more,
        }

    def _find_source(self) -> ModelSource:
        if self._source is None:
            starters = {about.name: about.starter for about in self.abouts}
            self._source = find_source(self.model, starters, use_starter=self.use_starter)
        return self._source

    def _adapted(self, folder: ModelFolder) -> ModelFolder:
        return folder if self.adapt is None else self.adapt(folder)

    def _load(self, folder: ModelFolder) -> Predictor:
        if folder.path not in self._loaded:
            about = next(about for about in self.abouts if about.name == folder.card.algorithm)
            self._loaded[folder.path] = load_predictor(about, folder, self.engine)
        return self._loaded[folder.path]
