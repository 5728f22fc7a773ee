"""Maps of an nnU-Net: the outputs of its encoder and decoder stages (AFP, ALGORITHMS 1.3)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from synthct.features.interface import Backbone
from synthct.networks.unet import UNetPlan, build_unet

__all__ = ["NnunetBackbone"]

LEFT_OUT = 2
"""The deepest encoder stages, which the AFP loss leaves out; for six stages 4 + 5 = 9 layers remain."""


class NnunetBackbone(Backbone):
    """A U-Net whose stages are maps: encoder.0 is the image's own grid, decoder.0 the lowest but one.

    Each map is the stage's output, after its last activation; skip connections and stages are as in nnU-Net. Encoder
    stages below the deepest that is asked for are computed only where a decoder stage is asked for.

    Args:
        plan: of the network.
    """

    def __init__(self, plan: UNetPlan) -> None:
        super().__init__()
        self.settings = plan
        stages = len(plan.features)
        encoder = tuple(f"encoder.{stage}" for stage in range(stages))
        decoder = tuple(f"decoder.{stage}" for stage in range(stages - 1))
        self.unet: Any = build_unet(plan)
        self.map_names = encoder + decoder
        self.default_layers = encoder[: max(stages - LEFT_OUT, 0)] + decoder
        self.multiple = plan.multiple

    @property
    def stored(self) -> nn.Module:
        """The U-Net: an extractor folder has nnU-Net's own names."""
        unet: nn.Module = self.unet
        return unet

    def maps(self, image: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Yield the encoder's maps from the image down, then the decoder's from the bottom up."""
        encoder, decoder = self.unet.encoder, self.unet.decoder
        stem = getattr(encoder, "stem", None)
        current: Tensor = image if stem is None else stem(image)
        skips = []
        for number, stage in enumerate(encoder.stages):
            current = stage(current)
            skips.append(current)
            yield f"encoder.{number}", current
        for number, (up, stage) in enumerate(zip(decoder.transpconvs, decoder.stages, strict=True)):
            current = stage(torch.cat((up(current), skips[-2 - number]), dim=1))
            yield f"decoder.{number}", current
