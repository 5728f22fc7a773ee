"""Patch discriminator of CREPs cGAN, with a receptive field of 70 voxels an axis (paper 001, ALGORITHMS section 3)."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from synthct.networks.patch_judges import edge_after, layers_of_field, least_edge
from synthct.networks.precision import full_precision

__all__ = ["LAYERS", "Discriminator", "DiscriminatorConfig"]

Triple = tuple[int, int, int]

LAYERS = layers_of_field(70)
"""Kernel and stride of each convolution, all padded by 1: (4, 2) thrice, then (4, 1) twice."""


class DiscriminatorConfig(BaseModel):
    """Shape of the discriminator; the defaults give the 0.431 M parameters of ALGORITHMS 3.

    Attributes:
        width: channels after the first convolution; then twice, four times and four times as many [I].
        negative_slope: of LeakyReLU; the paper's 0.2.
        first_norm: batch norm after the first convolution too, as the paper has it ("following each convolution").
            False is ours, and pix2pix's habit: with the norm, a shift of all HU shows at the patch's edges alone.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    width: int = Field(default=16, gt=0)
    negative_slope: float = Field(default=0.2, ge=0.0, lt=1.0)
    first_norm: bool = True

    def logit_map(self, patch: Triple) -> Triple:
        """Return the shape (z, y, x) of the logits of a patch.

        Raises:
            ValueError: the patch is too small for one logit: an axis has less than 24 voxels.
        """
        z, y, x = (edge_after(edge, LAYERS) for edge in patch)
        if min(z, y, x) < 1:
            raise ValueError(
                f"patch {patch} (z, y, x) is too small for the discriminator; "
                f"expected edges of {least_edge(1, LAYERS)} or more"
            )
        return (z, y, x)


class Discriminator(nn.Module):
    """Judges CT patches by themselves: it never sees the MR, so "conditional" is the paper's word alone (ALGORITHMS 3).

    Convolution, batch norm, LeakyReLU, without biases (paper 001). The last convolution gives the logits as they are:
    norm and activation there would fix the share of patches that are called real, whatever they look like [I].

    Batch norm without biases hides a scaling of all HU in a batch from it, since training shows it real and synthetic
    CTs in batches of their own: x and 2 x are judged alike. What holds the scale is the style loss.

    It runs in float32 whatever the run's precision is: it is small, and the gradient that PyTorch 2.13 computes in bf16
    on a CPU for the weights of a 4 x 4 x 4 convolution over 3 slices holds what memory held before, NaN now and then.

    Args:
        config: its shape.
    """

    def __init__(self, config: DiscriminatorConfig) -> None:
        super().__init__()
        width = config.width
        *hidden, (kernel, stride) = LAYERS
        layers: list[nn.Module] = []
        inputs = 1
        for (each, step), outputs in zip(hidden, (width, 2 * width, 4 * width, 4 * width), strict=True):
            layers.append(nn.Conv3d(inputs, outputs, each, step, padding=1, bias=False))
            if config.first_norm or inputs > 1:
                layers.append(nn.BatchNorm3d(outputs))
            layers.append(nn.LeakyReLU(config.negative_slope, inplace=True))
            inputs = outputs
        layers.append(nn.Conv3d(inputs, 1, kernel, stride, padding=1, bias=False))
        self.net = nn.Sequential(*layers)

    def forward(self, ct: Tensor) -> Tensor:
        """Return logits (batch, 1, z', y', x') of CTs (batch, 1, z, y, x): above 0 where a patch looks real.

        A pelvic patch of 32 x 224 x 224 gives 2 x 26 x 26, one of the brain's 66 x 168 x 168 gives 6 x 19 x 19.
        """
        with full_precision(ct):
            logits: Tensor = self.net(ct.float())
        return logits
