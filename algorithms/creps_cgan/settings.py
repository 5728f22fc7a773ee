"""What a preset of CREPs cGAN says; each value's evidence stands in configs/*.yaml."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from algorithms.creps_cgan.discriminator import DiscriminatorConfig
from algorithms.creps_cgan.network import GeneratorConfig
from synthct.inference.settings import SweepSettings
from synthct.losses.style import GramReduction
from synthct.training.patches import SamplingSettings
from synthct.training.settings import LoopSettings

__all__ = ["RecipeConfig"]

EPOCHS = LoopSettings(epochs=200, schedule="fixed", clip_norm=None)
"""The paper's 200 epochs at a fixed rate; what an epoch is, it does not say: 250 iterations [I]."""

_Beta = Annotated[float, Field(ge=0, lt=1)]
_Millimetres = Annotated[float, Field(gt=0)]


class RecipeConfig(BaseModel):
    """One preset; the defaults are the pelvis of paper 001 but for the spacing.

    Attributes:
        network: generator.
        discriminator: discriminator.
        sampling: patches that training draws; MR and CT are drawn apart.
        loop: length, schedule, precision, averaging.
        sweep: windows of prediction and validation; without it training patches, half of them apart at a fixed stride,
            upper median.
        batch: patches an iteration and process.
        learning_rate: AdamW's.
        discriminator_rate: the discriminator's own; None is the same.
        weight_decay: AdamW's, of both networks.
        betas: AdamW's, of both networks.
        style_weight: of the style loss (paper 001, equation 4); above 0 the run needs an extractor.
        style_reduction: over the entries of a Gram matrix: sum (the paper's 1-norm) or mean.
        adversarial_weight: of the adversarial term; 0 trains no discriminator.
        consistency_weight: of gradient consistency, an extension of ours against drift; 0 is the paper.
        rank_weight: of the L1 distance to what ranks alone give (RankTable), an extension of ours against swapped
            tissues; needs mark_outside. 0 is the paper.
        discriminator_steps: turns of the discriminator an iteration, all on the same patches.
        spacing: (z, y, x) in mm that cases are resampled to; None keeps each case's own.
        mark_outside: outside the body the generator is given -1, which no MR value is, and outside the mask CTs are
            air; an extension of ours: air and cortical bone are dark in MR alike. The body is the mask less the air
            that it lets in (body_inside). False is the paper.
        disjoint: MR from one half of the training patients and CT from the other, so that no patient gives both.
        image_scale: MR value that becomes 1.
        image_high: MR value that higher ones are clipped to; lower ones than 0 are clipped to 0.
        ct_scale: HU that become 1.
        ct_low: HU that lower ones are clipped to.
        ct_high: HU that higher ones are clipped to.
        validation_cases: ids that are held out, unless the run was given a fold.
        excluded_cases: ids that are never read.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    network: GeneratorConfig = GeneratorConfig()
    discriminator: DiscriminatorConfig = DiscriminatorConfig()
    sampling: SamplingSettings = SamplingSettings(patch=(32, 224, 224), foreground=0.0)
    loop: LoopSettings = EPOCHS
    sweep: SweepSettings | None = None
    batch: int = Field(default=8, gt=0)
    learning_rate: float = Field(default=1e-4, gt=0)
    discriminator_rate: float | None = Field(default=None, gt=0)
    weight_decay: float = Field(default=1e-3, ge=0)
    betas: tuple[_Beta, _Beta] = (0.9, 0.999)
    style_weight: float = Field(default=20.0, ge=0)
    style_reduction: GramReduction = "sum"
    adversarial_weight: float = Field(default=1.0, ge=0)
    consistency_weight: float = Field(default=0.0, ge=0)
    rank_weight: float = Field(default=0.0, ge=0)
    discriminator_steps: int = Field(default=1, gt=0)
    spacing: tuple[_Millimetres, _Millimetres, _Millimetres] | None = None
    mark_outside: bool = False
    disjoint: bool = False
    image_scale: float = Field(default=1000.0, gt=0)
    image_high: float = Field(default=2000.0, gt=0)
    ct_scale: float = Field(default=1000.0, gt=0)
    ct_low: float = -1000.0
    ct_high: float = 3000.0
    validation_cases: tuple[str, ...] = ()
    excluded_cases: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _patches_fit_the_networks(self) -> RecipeConfig:
        self.network.require_multiple(self.sampling.patch)
        self.network.require_multiple(self.windows.patch)
        if self.adversarial_weight > 0:
            self.discriminator.logit_map(self.sampling.patch)
        return self

    @model_validator(mode="after")
    def _values_go_together(self) -> RecipeConfig:
        if self.ct_low >= self.ct_high:
            raise ValueError(f"ct_low {self.ct_low:g} is not below ct_high {self.ct_high:g}")
        if not (self.style_weight or self.adversarial_weight or self.consistency_weight or self.rank_weight):
            raise ValueError("the weights of style, adversarial, consistency and rank are 0; expected one above 0")
        if self.needs_ranks and not self.mark_outside:
            raise ValueError("ranks (rank_weight, network.rank_start) without mark_outside; air would count as bone")
        return self

    @property
    def needs_ranks(self) -> bool:
        """Whether the quantiles of images and CTs are to be taken."""
        return self.rank_weight > 0 or self.network.rank_start

    @property
    def windows(self) -> SweepSettings:
        """Windows of prediction and validation."""
        return self.sweep or SweepSettings(
            patch=self.sampling.patch, step=0.5, rule="monai", merging="median-upper", whole_patches=True
        )
