"""What model.json holds for ldm-brain."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from algorithms.ldm_brain.networks import LdmConfig
from algorithms.ldm_brain.noise import NoiseConfig
from algorithms.ldm_brain.sampling import SamplingConfig
from synthct.intensity import CasePercentile, CaseZScore, LinearScale

__all__ = ["ModelConfig"]

_Millimetres = Annotated[float, Field(gt=0)]
_Edge = Annotated[int, Field(gt=0)]


class ModelConfig(BaseModel):
    """What model.json holds for this algorithm; axis order z, y, x.

    Attributes:
        networks: shape of all three.
        noise: the process they were trained on.
        sampling: steps, eta, number of samples, layout; each can be set for one run (synthct predict --set).
        scale_factor: that latents were multiplied by in training: 1 / their standard deviation.
        spacing: in mm, onto which an image is brought by cubic B-splines.
        patch: of training, in voxels; also the tile of prediction.
        image: normalisation of the MR; outside the body it is 0.
        ct: normalisation of the CT, whose inverse gives HU.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    networks: LdmConfig
    noise: NoiseConfig
    sampling: SamplingConfig = SamplingConfig()
    scale_factor: float = Field(gt=0)
    spacing: tuple[_Millimetres, _Millimetres, _Millimetres] = (1.0, 1.0, 1.0)
    patch: tuple[_Edge, _Edge, _Edge]
    image: LinearScale | CaseZScore | CasePercentile = Field(discriminator="kind")
    ct: LinearScale

    @model_validator(mode="after")
    def _patch_fits_the_strides(self) -> ModelConfig:
        self.networks.require_multiple(self.patch)
        return self

    @model_validator(mode="after")
    def _sampling_suits_the_noise(self) -> ModelConfig:
        if self.sampling.steps > self.noise.times:
            raise ValueError(f"sampling.steps {self.sampling.steps}; expected at most noise.times {self.noise.times}")
        if self.sampling.eta > 0 and self.noise.kind == "rectified-flow":
            raise ValueError(f"sampling.eta {self.sampling.eta:g} is DDIM's; expected 0 for rectified flow")
        return self
