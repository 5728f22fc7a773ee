"""What a training recipe is handed."""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pydantic import BaseModel
from rich.progress import Progress
from torch import Tensor

from algorithms.interface import About
from algorithms.presets import parse_settings
from synthct.anatomy import Region, Task
from synthct.dataset import CaseFiles
from synthct.errors import UsageError
from synthct.weights import ModelFolder, load_tensors, open_model, save_model

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from synthct.features.backbones import ExtractorKind
    from synthct.features.interface import FeatureExtractor
    from synthct.inference.engine import Precision
    from synthct.training.cache import CachedCase

__all__ = ["Launcher", "TrainingData", "TrainingRun", "check_settings", "load_recipe"]

RANDOM_SEED = 0
"""Of random extractors' weights."""


class TrainingData(Protocol):
    """The prepared cases of a run, paired or not."""

    @property
    def training(self) -> tuple[CachedCase, ...]:
        """Cases to train on, each once."""
        ...

    @property
    def validation(self) -> tuple[CachedCase, ...]:
        """Cases that are held out."""
        ...

    @property
    def task(self) -> Task:
        """Of all cases."""
        ...

    @property
    def regions(self) -> tuple[Region, ...]:
        """Of all cases, each once."""
        ...


@dataclass(eq=False)
class Launcher:
    """Starts the processes of a run, once, however many folds it has.

    Attributes:
        device: auto, cpu or cuda.
        devices: processes, one a device.
    """

    device: str = "auto"
    devices: int = 1
    _fabric: Fabric | None = None

    def fabric(self, precision: str) -> Fabric:
        """Launch, or return what was launched."""
        from synthct.training.launch import make_fabric

        if self._fabric is None:
            self._fabric = make_fabric(self.device, self.devices, precision)
        return self._fabric


@dataclass(frozen=True, eq=False)
class TrainingRun:
    """One call of `synthct train`, or one fold of it.

    Attributes:
        cases: cases of the data set.
        run_dir: model folder to be; checkpoints and logs lie in it too.
        config: the preset's settings, validated by the recipe.
        progress: for bars.
        launcher: starts the processes.
        fold: its number; None where the run is none of several.
        validation: ids that the fold holds out; None leaves it to the preset.
        cache: folder of normalised volumes; None is `run_dir/cache`.
        workers: threads that cut patches.
        max_steps: stop after so many iterations, the schedule staying as planned.
        resume: go on from the checkpoint.
        init: model folder to start from.
        starter: the result is to be marked as starter weights.
        trained_on: what the user wants the model card to say of the data.
        simulated: some of the data are, by their note.
        extractor: folder of the feature extractor that the loss compares by (synthct.features).
        random_extractor: random weights for it, or for the usual one; every card and log says so.
        plan: file of the plan to train by, for recipes that plan.
        stage: the only one to train, for algorithms with stages; None trains all.
    """

    cases: tuple[CaseFiles, ...]
    run_dir: Path
    config: dict[str, Any]
    progress: Progress
    launcher: Launcher = field(default_factory=Launcher)
    fold: int | None = None
    validation: tuple[str, ...] | None = None
    cache: Path | None = None
    workers: int = 0
    max_steps: int | None = None
    resume: bool = False
    init: Path | None = None
    starter: bool = False
    trained_on: str = ""
    simulated: bool = False
    extractor: Path | None = None
    random_extractor: bool = False
    plan: Path | None = None
    stage: str | None = None

    def fabric(self, precision: str) -> Fabric:
        """Start the run's processes; from here on, this code runs in each of them."""
        return self.launcher.fabric(precision)

    def origin(self, used: int, extractor: FeatureExtractor | None = None, parts: Sequence[ModelFolder] = ()) -> str:
        """What model.json says of the data: the user's words or the number of cases, and what must be told of them.

        What had to be told of the models that this one is made of is told again.
        """
        words = self.trained_on or f"{used} case{'' if used == 1 else 's'}"
        labels = {
            "simulated": self.simulated,
            "RANDOM feature extractor": extractor is not None and extractor.random,
            "starter feature extractor": extractor is not None and extractor.starter,
        }
        earlier = " ".join(part.card.trained_on for part in parts)
        told = ", ".join(label for label, holds in labels.items() if holds or label in earlier)
        return f"{words} ({told})" if told else words

    @property
    def regions(self) -> tuple[Region, ...]:
        """Regions of the cases, each once."""
        return tuple(sorted({files.region for files in self.cases if files.region is not None}))

    def initial_weights(self, network: str, algorithm: str) -> dict[str, dict[str, Tensor]] | None:
        """Weights to start one network from; None where the run starts from scratch or from its checkpoint.

        Of an ensemble a fold takes its own member: every other has been trained on the cases that it holds out.

        Raises:
            WeightsError: the folder holds no model of the algorithm, or an ensemble without this fold.
        """
        if self.init is None or self.resume:
            return None
        model = open_model(self.init, algorithm=algorithm)
        own = [member for member in model.folds if member.path.name == f"fold_{self.fold}"]
        return {network: load_tensors(own[0] if own else model)}

    def feature_extractor(self, kind: ExtractorKind = "nnunet") -> FeatureExtractor:
        """Open the extractor that the call names, or draw random weights for one of its shape.

        Without a folder random weights are those of the kind's usual network; for nnunet the compact seven-class one
        (ALGORITHMS 1.3).

        Raises:
            UsageError: the call names none.
            WeightsError: the folder holds no extractor, or a damaged one.
        """
        from synthct.features.folder import extractor_folder, open_extractor, random_extractor, read_extractor_card

        if not self.random_extractor:
            if self.extractor is None:
                raise UsageError(
                    "the preset compares features, and no extractor is named; expected --extractor DIR (synthct "
                    "features convert makes one of trained weights), or --random-extractor for a trial"
                )
            return open_extractor(extractor_folder(self.extractor))
        if self.extractor is None:
            return random_extractor(kind, RANDOM_SEED)
        card = read_extractor_card(extractor_folder(self.extractor))
        return random_extractor(
            card.kind, RANDOM_SEED, network=card.network, normalisation=card.normalisation, layers=card.layers
        )

    def validation_precision(self, training: str) -> Precision:
        """Precision of validation sweeps: that of training, as the engine names it."""
        names: dict[str, Precision] = {"fp32": "fp32", "bf16-mixed": "bf16", "16-mixed": "fp16"}
        return names.get(training, "auto")

    def fingerprint(self, config: BaseModel, data: TrainingData, extractor: FeatureExtractor | None = None) -> str:
        """Hash of what a checkpoint must have in common with the run that takes it up: settings, voxels, extractor.

        The loop's settings are left out: the checkpoint knows itself which of those may differ.
        """
        cases = [[[case.id, case.digest] for case in part] for part in (data.training, data.validation)]
        content: list[Any] = [config.model_dump(mode="json", exclude={"loop"}), cases]
        if extractor is not None:
            content.append(extractor.describe())
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def save(
        self,
        fabric: Fabric,
        tensors: Mapping[str, Tensor],
        data: TrainingData,
        *,
        algorithm: str,
        config: dict[str, Any],
        extractor: FeatureExtractor | None = None,
        parts: Sequence[ModelFolder] = (),
        half: bool = True,
    ) -> ModelFolder:
        """Write the model folder, from the first process alone; every process gets it.

        The card names the extractors that the loss compared by, those of the model it started from and of the `parts`
        that it is made of included, and says so where the weights of one were random. `half` stores fp16.
        """
        before = (*(() if self.init is None else open_model(self.init).members), *parts)
        digests = [digest for model in before for digest in model.card.extractors]
        if extractor is not None:
            digests += [digest for digest in (extractor.sha256, extractor.origin_sha256) if digest]
        if fabric.is_global_zero:
            save_model(
                self.run_dir,
                dict(tensors),
                half=half,
                algorithm=algorithm,
                tasks=(data.task,),
                regions=data.regions,
                starter=self.starter,
                trained_on=self.origin(len(data.training), extractor, parts),
                config=config,
                extractors=tuple(dict.fromkeys(digests)),
                random_features=(extractor is not None and extractor.random)
                or any(model.card.random_features for model in before),
            )
        fabric.barrier()
        return open_model(self.run_dir)


def check_settings(about: About, settings: dict[str, Any]) -> BaseModel:
    """Return settings as an algorithm's recipe takes them, before anything is written.

    Raises:
        UsageError: a key is unknown, or a value does not fit.
    """
    schema: type[BaseModel] = importlib.import_module(f"{about.module}.recipe").SETTINGS
    return parse_settings(schema, settings)


def load_recipe(about: About) -> Callable[[TrainingRun], ModelFolder]:
    """Return the recipe of an algorithm."""
    recipe: Callable[[TrainingRun], ModelFolder] = importlib.import_module(f"{about.module}.recipe").train
    return recipe
