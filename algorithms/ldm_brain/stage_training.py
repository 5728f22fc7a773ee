"""Training one stage after another: what each learns by, starts from, is judged on, and leaves."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from algorithms.intensities import air_units
from algorithms.ldm_brain.about import ABOUT
from algorithms.ldm_brain.autoencoding import AUTOENCODER, AutoencoderObjective, ReconstructionValidation
from algorithms.ldm_brain.diffusion import SCALE, UNET, DenoisingValidation, DiffusionObjective
from algorithms.ldm_brain.held_out import HeldOutPatches
from algorithms.ldm_brain.latents import frozen, scale_factor
from algorithms.ldm_brain.model import ModelConfig
from algorithms.ldm_brain.networks import build_autoencoder, build_unet
from algorithms.ldm_brain.settings import RecipeConfig, Stage
from algorithms.ldm_brain.stages import (
    FinishedStage,
    binding_settings,
    finished_stages,
    named,
    note_of,
    stage_run,
    unnamed,
    without_scale,
)
from algorithms.ldm_brain.steering import CONTROLNET, ControlNetObjective, SampledValidation
from algorithms.pairs import PairedData
from algorithms.training import TrainingRun
from synthct.files import prepare_output_folder
from synthct.inference.precision import choose_precision
from synthct.networks.state import fill_network
from synthct.training.loop import FitResult, fit
from synthct.training.patches import Fill, PairedSampler
from synthct.training.source import PatchSource
from synthct.weights import ModelFolder, load_tensors

if TYPE_CHECKING:
    from lightning_fabric import Fabric
    from torch import Tensor, nn

    from synthct.features.interface import FeatureExtractor
    from synthct.training.objective import Network, Objective, Validation

__all__ = ["StageTraining", "model_config"]

NETWORK: Mapping[Stage, str] = {"autoencoder": AUTOENCODER, "diffusion": UNET, "controlnet": CONTROLNET}
"""What each stage trains."""
HELD_OUT_PATCHES: Mapping[Stage, int] = {"diffusion": 8, "controlnet": 2}
"""Of each held-out case; to sample one takes many steps."""

log = logging.getLogger(__name__)


def model_config(config: RecipeConfig, scale: float = 1.0) -> ModelConfig:
    """Return what model.json will hold of a preset, with the scale factor that stage two found."""
    return ModelConfig(
        networks=config.networks,
        noise=config.noise,
        sampling=config.sampling,
        scale_factor=scale,
        spacing=config.spacing,
        patch=config.patches.patch,
        image=config.image,
        ct=config.ct,
    )


@dataclass(frozen=True, eq=False)
class StageTraining:
    """What all stages of a call share.

    Attributes:
        run: the call.
        config: its preset.
        fabric: its processes.
        data: normalised cases.
        extractor: of stage one's feature term; None where there is no such term.
    """

    run: TrainingRun
    config: RecipeConfig
    fabric: Fabric
    data: PairedData
    extractor: FeatureExtractor | None

    def finish(self, stage: Stage) -> FinishedStage:
        """Train one stage, or what is left of it, and save it."""
        return {"autoencoder": self._autoencoder, "diffusion": self._diffusion, "controlnet": self._controlnet}[stage]()

    def whole(self, last: FinishedStage) -> ModelFolder:
        """Join the networks of all stages into the run's own model."""
        parts = (*finished_stages(self.run, self.config, "controlnet"), last)
        tensors = {name: tensor for part in parts for name, tensor in load_tensors(part.folder).items()}
        scale = _scale_of(last)
        if self.run.fold is not None:
            tensors, scale = without_scale(tensors, scale), 1.0
        return self.run.save(
            self.fabric,
            tensors,
            self.data,
            algorithm=ABOUT.name,
            config=model_config(self.config, scale).model_dump(mode="json"),
            parts=[part.folder for part in parts],
        )

    def _autoencoder(self) -> FinishedStage:
        objective = AutoencoderObjective(self.config, self.extractor, self.fabric)
        validation = ReconstructionValidation(self.data.validation, self.config, self.fabric)
        result = self._fit("autoencoder", objective, validation, ())
        return self._saved("autoencoder", result, ())

    def _diffusion(self) -> FinishedStage:
        before = finished_stages(self.run, self.config, "diffusion")
        autoencoder = self._frozen(AUTOENCODER, before[0])
        scale = 1.0 if stage_run(self.run, "diffusion").resume else self._scale(autoencoder)
        objective = DiffusionObjective(self.config, autoencoder, scale)
        validation = DenoisingValidation(self._held_out("diffusion"), self.config, autoencoder, self.fabric)
        result = self._fit("diffusion", objective, validation, before)
        return self._saved("diffusion", result, before, float(result.best[SCALE]["value"]))

    def _controlnet(self) -> FinishedStage:
        before = finished_stages(self.run, self.config, "controlnet")
        autoencoder, unet = self._frozen(AUTOENCODER, before[0]), self._frozen(UNET, before[1])
        scale = _scale_of(before[1])
        validation = SampledValidation(
            self._held_out("controlnet"),
            self.config,
            autoencoder,
            unet,
            scale,
            choose_precision(self.run.validation_precision(self.config.controlnet.loop.precision), self.fabric.device),
        )
        objective = ControlNetObjective(self.config, autoencoder, unet, scale, self.fabric)
        result = self._fit("controlnet", objective, validation, before)
        return self._saved("controlnet", result, before, scale)

    def _fit(
        self, stage: Stage, objective: Objective, validation: Validation, before: tuple[FinishedStage, ...]
    ) -> FitResult:
        own, settings = stage_run(self.run, stage), self.config.stage(stage)
        if self.fabric.is_global_zero:
            prepare_output_folder(own.run_dir)
        extractor = self.extractor if stage == AUTOENCODER else None
        return fit(
            objective,
            PatchSource(self._sampler(stage), batch=settings.batch, workers=own.workers),
            validation,
            settings.loop.limited(own.max_steps),
            own.run_dir,
            self.fabric,
            progress=own.progress,
            fingerprint=own.fingerprint(binding_settings(self.config, stage, before), self.data, extractor),
            resume=own.resume,
            initial=self._initial(own, NETWORK[stage]),
        )

    def _saved(
        self, stage: Stage, result: FitResult, before: tuple[FinishedStage, ...], scale: float | None = None
    ) -> FinishedStage:
        """Save a stage's network as it is, in fp32: the next one stands on it."""
        note = note_of(self.config, stage, before, scale)
        folder = stage_run(self.run, stage).save(
            self.fabric,
            named(NETWORK[stage], result.best[NETWORK[stage]]),
            self.data,
            algorithm=ABOUT.name,
            config=note.model_dump(mode="json"),
            extractor=self.extractor if stage == AUTOENCODER else None,
            parts=[each.folder for each in before],
            half=False,
        )
        return FinishedStage(folder, note)

    def _sampler(self, stage: Stage) -> PairedSampler:
        return PairedSampler(self.data.training, self.config.patches, self._fill, self.config.stage(stage).loop.seed)

    @property
    def _fill(self) -> Fill:
        return Fill(image=0.0, reference=air_units(self.config.ct))

    def _initial(self, run: TrainingRun, network: str) -> dict[str, dict[str, Tensor]] | None:
        given = run.initial_weights(network, ABOUT.name)
        return given and {network: unnamed(network, given[network], str(run.init))}

    def _frozen(self, network: str, stage: FinishedStage) -> Network:
        tensors = unnamed(network, load_tensors(stage.folder), str(stage.folder.weights))
        built: nn.Module = (
            build_autoencoder(self.config.networks.autoencoder)
            if network == AUTOENCODER
            else build_unet(self.config.networks)
        )
        fill_network(built, tensors, str(stage.folder.weights))
        return frozen(built, self.fabric)

    def _held_out(self, stage: Stage) -> HeldOutPatches:
        return HeldOutPatches(
            self.data.validation,
            self.config.patches,
            self._fill,
            number=HELD_OUT_PATCHES[stage],
            device=self.fabric.device,
        )

    def _scale(self, autoencoder: Network) -> float:
        sampler = self._sampler("diffusion")
        patches = (sampler.patch(number).reference for number in range(self.config.scale_patches))
        found = scale_factor(
            autoencoder, (torch.from_numpy(patch)[None, None].to(self.fabric.device) for patch in patches)
        )
        if self.fabric.is_global_zero:
            log.info("scale factor of the latents: %.4f", found)
        return found


def _scale_of(stage: FinishedStage) -> float:
    if stage.note.scale_factor is None:
        raise ValueError(f"{stage.folder.path}: has no scale factor")
    return stage.note.scale_factor
