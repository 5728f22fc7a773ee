"""What a preset of pix2pix-pelvis says; each value's evidence stands in configs/*.yaml."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from algorithms.pix2pix_pelvis.discriminator import DiscriminatorConfig
from algorithms.pix2pix_pelvis.network import NetworkConfig
from synthct.inference.finish import HU_MAX, HU_MIN
from synthct.inference.settings import SweepSettings
from synthct.intensity import LinearScale
from synthct.training.patches import SamplingSettings
from synthct.training.settings import LoopSettings

__all__ = ["RecipeConfig"]

ITERATIONS = LoopSettings(
    iterations_per_epoch=180, epochs=200, schedule="linear-tail", clip_norm=20.0, precision="fp32"
)
"""200 epochs of 180 cases (ALGORITHMS 5 [I])."""

MOST_OF_MR = 4.0
"""MR values beyond so many units of `image_scale` are clipped."""

_Beta = Annotated[float, Field(ge=0, lt=1)]


class RecipeConfig(BaseModel):
    """One preset.

    Attributes:
        network: generator, and the discriminator's width.
        discriminator: what the discriminator sees and says; of training alone, so it is not part of a model.
        sampling: patches that training draws.
        loop: length, schedule, precision, averaging.
        sweep: windows of prediction and validation; without it training patches, half of them apart, Gaussian weights.
        batch: patches an iteration and process.
        learning_rate: Adam's, of both networks.
        betas: Adam's.
        l1_weight: of L1 in the generator's loss (paper 003, equation 1).
        adversarial_weight: of the adversarial term; 0 trains no discriminator.
        image_scale: MR value that becomes 1; four times as much is clipped.
        ct_scale: HU that become 1.
        validation_cases: ids that are held out, unless the run was given a fold.
        excluded_cases: ids that are never read.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    network: NetworkConfig = NetworkConfig()
    discriminator: DiscriminatorConfig = DiscriminatorConfig()
    sampling: SamplingSettings = SamplingSettings(patch=(32, 160, 160), foreground=0.0)
    loop: LoopSettings = ITERATIONS
    sweep: SweepSettings | None = None
    batch: int = Field(default=1, gt=0)
    learning_rate: float = Field(default=1e-3, gt=0)
    betas: tuple[_Beta, _Beta] = (0.5, 0.999)
    l1_weight: float = Field(default=100.0, ge=0)
    adversarial_weight: float = Field(default=1.0, ge=0)
    image_scale: float = Field(default=1000.0, gt=0)
    ct_scale: float = Field(default=1000.0, gt=0)
    validation_cases: tuple[str, ...] = ()
    excluded_cases: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _patches_fit_the_networks(self) -> RecipeConfig:
        self.network.require_patch(self.sampling.patch)
        self.network.require_patch(self.windows.patch)
        if self.adversarial_weight > 0:
            self.discriminator.logit_map(self.sampling.patch, self.network.dimensions)
        return self

    @property
    def windows(self) -> SweepSettings:
        """Windows of prediction and validation."""
        return self.sweep or SweepSettings(patch=self.sampling.patch)

    @property
    def mr(self) -> LinearScale:
        """Normalisation of the MR."""
        return LinearScale(low=0.0, high=MOST_OF_MR * self.image_scale, scale=self.image_scale)

    @property
    def ct(self) -> LinearScale:
        """Normalisation of the CT, whose inverse gives HU."""
        return LinearScale(low=HU_MIN, high=HU_MAX, scale=self.ct_scale)
