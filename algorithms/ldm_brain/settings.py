"""What a preset of ldm-brain says, and what a stage notes for the next; evidence stands in configs/*.yaml."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from algorithms.ldm_brain.layout import Layout
from algorithms.ldm_brain.networks import LdmConfig
from algorithms.ldm_brain.noise import NoiseConfig
from algorithms.ldm_brain.sampling import SamplingConfig
from synthct.inference.finish import HU_MAX, HU_MIN
from synthct.intensity import CasePercentile, LinearScale
from synthct.losses.anatomical import Reduction
from synthct.training.patches import SamplingSettings
from synthct.training.settings import LoopSettings

__all__ = ["CT_SCALE", "STAGES", "DiscriminatorConfig", "RecipeConfig", "Stage", "StageNote", "StageSettings"]

Stage = Literal["autoencoder", "diffusion", "controlnet"]
STAGES: tuple[Stage, ...] = ("autoencoder", "diffusion", "controlnet")

CT_SCALE = LinearScale(low=HU_MIN, high=HU_MAX, offset=(HU_MIN + HU_MAX) / 2, scale=(HU_MAX - HU_MIN) / 2)
"""The whole range of HU becomes [-1, 1]."""

Millimetres = Annotated[float, Field(gt=0)]
Spacing = tuple[Millimetres, Millimetres, Millimetres]

_WHOLE_HEAD = SamplingSettings(patch=(192, 192, 192), foreground=0.0)
_PLAN = LoopSettings(iterations_per_epoch=180, epochs=100, schedule="fixed", clip_norm=None)
"""Epochs of the 180 brains of SynthRAD2023; their number is inference, paper 003 gives none."""


class StageSettings(BaseModel):
    """How one stage is trained.

    Attributes:
        batch: patches an iteration and process.
        learning_rate: Adam's, of every network of the stage.
        loop: length, schedule, precision, averaging.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    batch: int = Field(default=1, gt=0)
    learning_rate: float = Field(default=2.5e-5, gt=0)
    loop: LoopSettings = _PLAN


class DiscriminatorConfig(BaseModel):
    """Shape of the patch discriminator (MONAI's), which sees the CT alone.

    Attributes:
        channels: of its first layer.
        layers: convolutions of stride 2.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    channels: int = Field(default=32, gt=0, le=512)
    layers: int = Field(default=3, gt=0, le=6)


class RecipeConfig(BaseModel):
    """One preset.

    Attributes:
        networks: shape of autoencoder, UNet and ControlNet.
        noise: the process: diffusion (ddpm) or rectified flow.
        sampling: of prediction. With layout `fit` every case is shrunk to fit into a patch, in training too.
        patches: that all stages draw; prediction's tiles have their size.
        spacing: (z, y, x) in mm that cases are resampled to; with layout `fit` a coarser one of its shape where a head
            exceeds the patch.
        autoencoder: stage one.
        diffusion: stage two.
        controlnet: stage three.
        perceptual_weight: of the feature term of stage one; above 0 it needs an extractor.
        reduction: of the feature term over layers: mean or sum.
        adversarial_weight: of the least-squares term; with 0 no discriminator is trained.
        warm_up_epochs: of stage one, in which the discriminator neither learns nor judges.
        kl_weight: of the KL term, a sum over a latent's voxels and channels and a mean over the batch.
        discriminator: its shape.
        scale_patches: patches of the training cases whose latents give the scale factor, 1 / their deviation.
        validation_steps: sampler's steps in validations of stage three.
        ct: normalisation of the CT.
        image: normalisation of the MR.
        validation_cases: ids that are held out, unless the run was given a fold.
        excluded_cases: ids that are never read.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    networks: LdmConfig = LdmConfig()
    noise: NoiseConfig = NoiseConfig()
    sampling: SamplingConfig = SamplingConfig()
    patches: SamplingSettings = _WHOLE_HEAD
    spacing: Spacing = (1.0, 1.0, 1.0)
    autoencoder: StageSettings = StageSettings(learning_rate=1e-4)
    diffusion: StageSettings = StageSettings()
    controlnet: StageSettings = StageSettings()
    perceptual_weight: float = Field(default=1e-3, ge=0)
    reduction: Reduction = "mean"
    adversarial_weight: float = Field(default=1e-2, ge=0)
    warm_up_epochs: int = Field(default=5, ge=0)
    kl_weight: float = Field(default=1e-6, ge=0)
    discriminator: DiscriminatorConfig = DiscriminatorConfig()
    scale_patches: int = Field(default=8, gt=0)
    validation_steps: int = Field(default=10, gt=0)
    ct: LinearScale = CT_SCALE
    image: CasePercentile = CasePercentile()
    validation_cases: tuple[str, ...] = ()
    excluded_cases: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _patches_fit_the_networks(self) -> RecipeConfig:
        self.networks.require_multiple(self.patches.patch)
        return self

    @model_validator(mode="after")
    def _stages_go_together(self) -> RecipeConfig:
        precisions = {stage: self.stage(stage).loop.precision for stage in STAGES}
        if len(set(precisions.values())) > 1:
            told = ", ".join(f"{stage} {precision}" for stage, precision in precisions.items())
            raise ValueError(f"the stages' loops differ in precision ({told}); expected one for all")
        return self

    def stage(self, name: Stage) -> StageSettings:
        """How a stage is trained."""
        settings: StageSettings = getattr(self, name)
        return settings

    @property
    def layout(self) -> Layout:
        """How training lays cases: as `fit`, or as `tiles`; to it `whole` is the same."""
        return "fit" if self.sampling.layout == "fit" else "tiles"

    @property
    def warm_up_iterations(self) -> int:
        """Iterations of stage one without the discriminator."""
        return self.warm_up_epochs * self.autoencoder.loop.iterations_per_epoch


class StageNote(BaseModel):
    """What model.json of a stage's folder holds; such a folder predicts nothing.

    Attributes:
        stage: its name.
        networks: shape of all three networks.
        noise: the process; the autoencoder was trained without one.
        layout: `fit` where cases were shrunk to fit into a patch, else `tiles`.
        spacing: as in the preset.
        patch: (z, y, x) that it was trained on.
        ct: normalisation of the CT.
        image: normalisation of the MR.
        scale_factor: of the latents; None before stage two has found it.
        before: sha256 of the weights of the stages that it stands on, by stage.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    stage: Stage
    networks: LdmConfig
    noise: NoiseConfig
    layout: Layout
    spacing: Spacing
    patch: tuple[int, int, int]
    ct: LinearScale
    image: CasePercentile
    scale_factor: float | None = Field(default=None, gt=0)
    before: dict[Stage, str] = Field(default_factory=dict)
