"""Patch discriminator of pix2pix-pelvis, "9 x 9" by either reading (paper 003, ALGORITHMS section 5).

The paper says "a patch size of 9 x 9". Reading (a) takes it for the receptive field, as pix2pix' own 70 x 70 is one.
Reading (b) takes it for the grid of verdicts: `output_grid` 9 over a deeper stack.
"""

from __future__ import annotations

from functools import partial
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from algorithms.pix2pix_pelvis.network import Dimensions, NetworkConfig, initialise
from synthct.networks.patch_judges import Layers, edge_after, layers_of_field, least_edge
from synthct.networks.precision import full_precision

__all__ = ["Discriminator", "DiscriminatorConfig"]

Triple = tuple[int, int, int]

MOST_WIDENING = 8
"""Channels double from layer to layer up to so many times the first layer's: pix2pix' habit [I]."""


class DiscriminatorConfig(BaseModel):
    """What the discriminator judges; its width and its slope are the network's settings.

    Attributes:
        receptive_field: voxels an axis that one logit sees; 9 is the paper by reading (a). In 2-D y and x alone.
        output_grid: edge n of a grid onto which the logits are averaged: n x n in-plane, and n along z in 3-D, 1 in
            2-D. 9 is the paper by reading (b). None leaves the map as it is.
        norm: instance norm after each hidden convolution but the first (pix2pix' habit [I]), or none. A field of 9 has
            one hidden convolution, so no norm either way.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    receptive_field: Literal[9, 16, 34, 70, 142] = 9
    output_grid: int | None = Field(default=None, gt=0)
    norm: Literal["instance", "none"] = "instance"

    @property
    def layers(self) -> Layers:
        """Kernel and stride of each convolution; in-plane, and along z too in 3-D."""
        return layers_of_field(self.receptive_field)

    def grid(self, dimensions: Dimensions) -> Triple | None:
        """Return the shape (z, y, x) onto which logits are averaged; None where they are left as they are."""
        if self.output_grid is None:
            return None
        return (1 if dimensions == 2 else self.output_grid, self.output_grid, self.output_grid)

    def logit_map(self, patch: Triple, dimensions: Dimensions) -> Triple:
        """Return the shape (z, y, x) of the logits of a patch.

        Raises:
            ValueError: the patch is too small for one logit, or for as many as the grid has.
        """
        judged = patch[3 - dimensions :]
        edges = tuple(edge_after(edge, self.layers) for edge in judged)
        wanted = self.output_grid or 1
        if min(edges) < wanted:
            what = f"a grid of {wanted} logits an axis" if self.output_grid else "one logit"
            where = " in y and x" if dimensions == 2 else ""
            raise ValueError(
                f"patch {patch} (z, y, x) is too small for {what} of a discriminator that sees {self.receptive_field} "
                f"voxels; expected edges of {least_edge(wanted, self.layers)} or more{where}"
            )
        z, y, x = self.grid(dimensions) or (*patch[: 3 - dimensions], *edges)
        return (z, y, x)


class Discriminator(nn.Module):
    """Judges MR and CT side by side, patch by patch.

    Convolutions padded by 1, LeakyReLU between them; in 2-D they are flat, and slices are judged one by one. Channels
    double from layer to layer, up to 8 times the first's.

    It runs in float32 whatever the run's precision is: it is small, and the gradient that PyTorch 2.13 computes in bf16
    on a CPU for a 4 x 4 x 4 convolution over 3 slices can hold NaN. Deep stacks over shallow patches come to that.

    Args:
        config: its depth.
        network: its width and slope, and whether it is flat.
    """

    def __init__(self, config: DiscriminatorConfig, network: NetworkConfig) -> None:
        super().__init__()
        *hidden, (last_kernel, last_stride) = config.layers
        layers: list[nn.Module] = []
        inputs = 2
        for layer, (kernel, stride) in enumerate(hidden):
            outputs = network.discriminator_width * min(1 << layer, MOST_WIDENING)
            layers.append(_conv(inputs, outputs, kernel, stride, network.dimensions))
            if config.norm == "instance" and layer > 0:
                layers.append(nn.InstanceNorm3d(outputs, affine=True))
            layers.append(nn.LeakyReLU(network.negative_slope))
            inputs = outputs
        layers.append(_conv(inputs, 1, last_kernel, last_stride, network.dimensions))
        grid = config.grid(network.dimensions)
        if grid is not None:
            layers.append(nn.AdaptiveAvgPool3d(grid))
        self.net = nn.Sequential(*layers)
        self.apply(partial(initialise, slope=network.negative_slope))

    def forward(self, image: Tensor, ct: Tensor) -> Tensor:
        """Return logits (batch, 1, z', y', x') of two (batch, 1, z, y, x): above 0 where it looks like that MR's CT."""
        with full_precision(image):
            logits: Tensor = self.net(torch.cat((image.float(), ct.float()), dim=1))
        return logits


def _conv(inputs: int, outputs: int, kernel: int, stride: int, dimensions: Dimensions) -> nn.Conv3d:
    if dimensions == 3:
        return nn.Conv3d(inputs, outputs, kernel, stride, padding=1)
    return nn.Conv3d(inputs, outputs, (1, kernel, kernel), (1, stride, stride), padding=(0, 1, 1))
