"""What a preset of spade-afp says; each value's evidence stands in configs/*.yaml."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from algorithms.spade_afp.discriminator import DiscriminatorConfig
from algorithms.spade_afp.network import GeneratorConfig, SpadeConfig
from synthct.inference.finish import HU_MAX, HU_MIN
from synthct.inference.settings import SweepSettings
from synthct.intensity import CaseZScore, LinearScale
from synthct.losses.anatomical import Reduction
from synthct.planning.fingerprint import Bounds
from synthct.training.patches import SamplingSettings
from synthct.training.settings import LoopSettings

__all__ = ["CT_SCALE", "RecipeConfig"]

CT_SCALE = LinearScale(low=HU_MIN, high=HU_MAX, offset=(HU_MIN + HU_MAX) / 2, scale=(HU_MAX - HU_MIN) / 2)
"""The whole range of HU becomes [-1, 1], where tanh ends too."""

ITERATIONS = LoopSettings(iterations_per_epoch=180, epochs=200, schedule="linear-tail", clip_norm=None, keep="last")
"""200 epochs of the 180 pelves of paper 000; the rate is fixed for a half, then falls to 0, as in pix2pixHD."""

IN_PLANE_PYRAMID = DiscriminatorConfig(pool=(1, 2, 2))
"""32 slices pooled to 16 would leave the second scale no logit."""

MOST_OF_MR = 4.0
"""MR values beyond so many units of `image_scale` are clipped."""

_Beta = Annotated[float, Field(ge=0, lt=1)]
_Millimetres = Annotated[float, Field(gt=0)]


class RecipeConfig(BaseModel):
    """One preset.

    Attributes:
        generator: kind (spade or pix2pixhd) and shape.
        discriminator: its shape; in training alone.
        sampling: patches that training draws.
        loop: length, schedule, precision, averaging.
        sweep: windows of prediction and validation; without it training patches, half of them apart, lower median.
        batch: patches an iteration and process.
        learning_rate: Adam's.
        two_time_scale: the generator takes half of the rate and the discriminator twice, as SPADE does; False: both the
            rate itself.
        betas: Adam's.
        adversarial_weight: of the generator's hinge term.
        feature_matching_weight: of feature matching. With both weights 0 no discriminator is trained.
        l1_weight: of L1, in network units.
        afp_weight: of the AFP loss; above 0 the run needs an extractor.
        reduction: of the AFP loss over layers: mean (paper 000) or sum (the authors' code).
        image: MR by its own mean and deviation (z-score, paper 000), or by one absolute scale for all.
        image_scale: MR value that becomes 1 where image is scale; four times as much is clipped.
        ct: -1024 to 3071 HU become [-1, 1] (scale), or the data set's z-score (paper 000).
        bounds: HU that CT is clipped to where ct is z-score: percentile (0.5 and 99.5 of the voxels inside the masks,
            paper 000), fixed (-1024, 3071), or two numbers.
        spacing: (z, y, x) in mm that cases are resampled to; None keeps each case's own.
        validation_cases: ids that are held out, unless the run was given a fold.
        excluded_cases: ids that are never read.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    generator: GeneratorConfig = SpadeConfig()
    discriminator: DiscriminatorConfig = IN_PLANE_PYRAMID
    sampling: SamplingSettings = SamplingSettings(patch=(32, 160, 160), foreground=0.0)
    loop: LoopSettings = ITERATIONS
    sweep: SweepSettings | None = None
    batch: int = Field(default=1, gt=0)
    learning_rate: float = Field(default=2e-4, gt=0)
    two_time_scale: bool = True
    betas: tuple[_Beta, _Beta] = (0.0, 0.9)
    adversarial_weight: float = Field(default=1.0, ge=0)
    feature_matching_weight: float = Field(default=10.0, ge=0)
    l1_weight: float = Field(default=10.0, ge=0)
    afp_weight: float = Field(default=0.0, ge=0)
    reduction: Reduction = "mean"
    image: Literal["z-score", "scale"] = "z-score"
    image_scale: float = Field(default=1000.0, gt=0)
    ct: Literal["scale", "z-score"] = "scale"
    bounds: Bounds = "percentile"
    spacing: tuple[_Millimetres, _Millimetres, _Millimetres] | None = None
    validation_cases: tuple[str, ...] = ()
    excluded_cases: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _patches_fit_the_networks(self) -> RecipeConfig:
        self.generator.require_multiple(self.sampling.patch)
        self.generator.require_multiple(self.windows.patch)
        if self.trains_discriminator:
            self.discriminator.logit_maps(self.sampling.patch)
        return self

    @model_validator(mode="after")
    def _values_go_together(self) -> RecipeConfig:
        weights = ("adversarial_weight", "feature_matching_weight", "l1_weight", "afp_weight")
        if not any(getattr(self, name) for name in weights):
            raise ValueError(f"{', '.join(weights)} are all 0; expected one above 0")
        if self.generator.output == "tanh" and self.ct == "z-score":
            raise ValueError("generator.output tanh ends at 1, ct z-score does not; expected output linear or ct scale")
        if isinstance(self.bounds, tuple) and not self.bounds[0] < self.bounds[1]:
            raise ValueError(f"bounds {self.bounds[0]:g} and {self.bounds[1]:g}; expected the lower one first")
        return self

    @property
    def trains_discriminator(self) -> bool:
        """Some term of the loss asks it."""
        return self.adversarial_weight > 0 or self.feature_matching_weight > 0

    @property
    def windows(self) -> SweepSettings:
        """Windows of prediction and validation."""
        return self.sweep or SweepSettings(patch=self.sampling.patch, step=0.5, merging="median-lower")

    @property
    def mr(self) -> LinearScale | CaseZScore:
        """Normalisation of the MR."""
        if self.image == "z-score":
            return CaseZScore()
        return LinearScale(low=0.0, high=MOST_OF_MR * self.image_scale, scale=self.image_scale)

    @property
    def rates(self) -> tuple[float, float]:
        """Learning rates of generator and discriminator."""
        factors = (0.5, 2.0) if self.two_time_scale else (1.0, 1.0)
        return self.learning_rate * factors[0], self.learning_rate * factors[1]
