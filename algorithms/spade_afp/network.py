"""The two generators of spade-afp behind one setting (paper 000, ALGORITHMS 2.2)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import nn

from algorithms.spade_afp.global_generator import GlobalConfig, GlobalGenerator
from algorithms.spade_afp.modulated import SpadeConfig, SpadeGenerator

__all__ = ["GeneratorConfig", "GlobalConfig", "SpadeConfig", "build_generator"]

GeneratorConfig = Annotated[SpadeConfig | GlobalConfig, Field(discriminator="kind")]
"""What a preset says of its generator: `kind: spade` or `kind: pix2pixhd`."""


def build_generator(config: GeneratorConfig, *, spectral_norm: bool | None = None) -> nn.Module:
    """Build a generator: normalised MR (batch, 1, z, y, x) to normalised CT of the same shape, in float32.

    The module raises ValueError on shapes that `config.require_multiple` refuses. Weights are drawn with torch's global
    generator.

    Args:
        config: which one, and its shape.
        spectral_norm: in place of the setting of that name. False to predict: weights are saved folded
            (`synthct.networks.spectral.plain_tensors`). The global generator of pix2pixHD has none.
    """
    if isinstance(config, GlobalConfig):
        return GlobalGenerator(config)
    return SpadeGenerator(config, spectral_norm=config.spectral_norm if spectral_norm is None else spectral_norm)
