"""The discriminators of spade-afp: one patch discriminator for each scale of an image pyramid (ALGORITHMS 2.2)."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from synthct.networks.patch_judges import receptive_field
from synthct.networks.precision import full_precision
from synthct.networks.spectral import spectral

__all__ = ["Discriminator", "DiscriminatorConfig"]

Triple = tuple[int, int, int]
KernelEdge = Annotated[int, Field(ge=1, le=7)]
Step = Annotated[int, Field(ge=1, le=2)]
WIDEST = 8
"""Times the first width: layers do not get wider than this (pix2pixHD)."""
FIRST_SPREAD = 0.02
"""Standard deviation of the first weights, as pix2pixHD has it."""
Layer = tuple[int, int, Triple]


class DiscriminatorConfig(BaseModel):
    """Shape of the discriminators; axis order z, y, x throughout.

    Attributes:
        scales: discriminators of this one shape, each with weights of its own. The first sees the patch, each further
            one the average-pooled image of the one before.
        layers: convolutions with a stride; two without follow, the last of which gives the logits. Three see 70 voxels,
            as in pix2pixHD and in SPADE, whose count of four takes in the first one without; four see 142.
        width: channels after the first convolution; doubled by each further one, up to eight times.
        kernel: of every convolution, padded by (kernel - 1) // 2; the originals pad 4 x 4 by 2, not by 1 [I].
        stride: of the first `layers` convolutions.
        pool: stride of the pyramid; a mean over 3 voxels along each axis where it is 2. Thin patches want 1 along z.
        negative_slope: of LeakyReLU.
        norm: instance, without scale and shift, after every convolution but the first and the last; or none.
        spectral_norm: on every convolution.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    scales: int = Field(default=2, ge=1, le=8)
    layers: int = Field(default=3, ge=1, le=8)
    width: int = Field(default=64, gt=0, le=1024)
    kernel: tuple[KernelEdge, KernelEdge, KernelEdge] = (4, 4, 4)
    stride: tuple[Step, Step, Step] = (2, 2, 2)
    pool: tuple[Step, Step, Step] = (2, 2, 2)
    negative_slope: float = Field(default=0.2, ge=0.0, lt=1.0)
    norm: Literal["instance", "none"] = "instance"
    spectral_norm: bool = True

    @property
    def receptive_field(self) -> Triple:
        """Voxels (z, y, x) of the patch that one logit of the first scale depends on, but for its norms."""
        strides = [stride for _, _, stride in _layers(self)]
        z, y, x = (receptive_field(tuple((self.kernel[axis], stride[axis]) for stride in strides)) for axis in range(3))
        return (z, y, x)

    def logit_maps(self, patch: Triple) -> list[Triple]:
        """Return the shape (z, y, x) of each scale's logits.

        Raises:
            ValueError: a scale has no logit, or a norm of a single voxel: the patch is too small.
        """
        maps: list[Triple] = []
        image = patch
        for scale in range(self.scales):
            if scale:
                image = _shape_after(image, _pool_kernel(self.pool), self.pool)
            shape = image
            layers = _layers(self)
            for number, (_, _, stride) in enumerate(layers):
                shape = _shape_after(shape, self.kernel, stride)
                has_norm = self.norm == "instance" and 0 < number < len(layers) - 1
                if min(shape) < 1 or (has_norm and shape == (1, 1, 1)):
                    raise ValueError(
                        f"patch {tuple(patch)} (z, y, x) is too small for the discriminator of scale {scale + 1}, "
                        f"which sees {image}: convolution {number + 1} of {len(layers)} leaves {shape}; expected a "
                        "larger patch, or a smaller kernel, stride or pool along the thin axis"
                    )
            maps.append(shape)
        return maps


class Discriminator(nn.Module):
    """Judges an MR and a CT side by side at every scale.

    It runs in float32 whatever the run's precision is: it is small, and the gradient that PyTorch 2.13 computes in bf16
    on a CPU for the weights of a 4 x 4 x 4 convolution over few slices holds what memory held before, NaN now and then.
    A convolution before a norm has no bias, which the norm would take away.

    Args:
        config: its shape.
    """

    def __init__(self, config: DiscriminatorConfig) -> None:
        super().__init__()
        self.config = config
        self.scales = nn.ModuleList(_patch_discriminator(config) for _ in range(config.scales))

    def forward(self, image: Tensor, ct: Tensor) -> list[list[Tensor]]:
        """Return for each scale the maps of every layer, float32; the last holds the logits, above 0 for real.

        Args:
            image: normalised MR (batch, 1, z, y, x).
            ct: normalised CT or sCT, the same shape.
        """
        with full_precision(ct):
            shown = torch.cat((image.float(), ct.float()), dim=1)
            maps: list[list[Tensor]] = []
            for number, layers in enumerate(self.scales):
                if number:
                    shown = _pooled(shown, self.config.pool)
                features = shown
                maps.append([])
                for layer in layers.children():
                    features = layer(features)
                    maps[-1].append(features)
        return maps


def _patch_discriminator(config: DiscriminatorConfig) -> nn.ModuleList:
    layers = _layers(config)
    built = nn.ModuleList()
    for number, (inputs, outputs, stride) in enumerate(layers):
        is_last = number == len(layers) - 1
        has_norm = config.norm == "instance" and number > 0 and not is_last
        conv = nn.Conv3d(inputs, outputs, config.kernel, stride, padding=_padding(config.kernel), bias=not has_norm)
        nn.init.normal_(conv.weight, std=FIRST_SPREAD)
        if conv.bias is not None:
            nn.init.zeros_(conv.bias)
        parts: list[nn.Module] = [spectral(conv) if config.spectral_norm else conv]
        if has_norm:
            parts.append(nn.InstanceNorm3d(outputs))
        if not is_last:
            parts.append(nn.LeakyReLU(config.negative_slope, inplace=True))
        built.append(nn.Sequential(*parts))
    return built


def _layers(config: DiscriminatorConfig) -> list[Layer]:
    """Each convolution's (inputs, outputs, stride); the first takes MR and CT."""
    widths = [config.width * min(2**number, WIDEST) for number in range(config.layers + 1)]
    strides = [config.stride] * config.layers + [(1, 1, 1)] * 2
    return list(zip([2, *widths], [*widths, 1], strides, strict=True))


def _pooled(image: Tensor, pool: Triple) -> Tensor:
    kernel = _pool_kernel(pool)
    return nn.functional.avg_pool3d(image, kernel, pool, _padding(kernel), count_include_pad=False)


def _pool_kernel(pool: Triple) -> Triple:
    z, y, x = (3 if step > 1 else 1 for step in pool)
    return (z, y, x)


def _padding(kernel: Triple) -> Triple:
    z, y, x = ((edge - 1) // 2 for edge in kernel)
    return (z, y, x)


def _shape_after(shape: Triple, kernel: Triple, stride: Triple) -> Triple:
    """Of what a convolution or a pooling makes of a shape; below 1 where nothing is left."""
    z, y, x = (
        (edge + 2 * pad - size) // step + 1
        for edge, size, pad, step in zip(shape, kernel, _padding(kernel), stride, strict=True)
    )
    return (z, y, x)
