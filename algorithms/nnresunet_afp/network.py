"""The synthesis network: a U-Net of nnU-Net's kind, with or without the image added to its output."""

from __future__ import annotations

from torch import Tensor, nn

from synthct.intensity import ZScore
from synthct.networks.unet import UNetPlan, build_unet

__all__ = ["ImageAdded", "build_network"]


class ImageAdded(nn.Module):
    """A network whose output is added to its input, both taken as HU: it learns what a CBCT lacks to be a CT.

    Paper 002's prose speaks of such a skip, the authors' code has none; it makes sense only where the image is in HU
    (ALGORITHMS 1.1).

    Args:
        unet: the network.
        image: normalisation of its input.
        ct: normalisation of its output.
    """

    def __init__(self, unet: nn.Module, image: ZScore, ct: ZScore) -> None:
        super().__init__()
        self.unet = unet
        self.gain = image.std / ct.std
        self.shift = (image.mean - ct.mean) / ct.std

    def forward(self, image: Tensor) -> Tensor:
        """Return the CT in its normalised units, (batch, 1, z, y, x)."""
        change: Tensor = self.unet(image)
        return change + self.gain * image + self.shift


def build_network(plan: UNetPlan, image: object, ct: ZScore, *, global_skip: bool) -> nn.Module:
    """Build the network of a model: normalised image (batch, 1, z, y, x) -> normalised CT of the same shape.

    Raises:
        ValueError: `global_skip` is wanted, but the image is normalised case by case: it has no HU.
    """
    unet = build_unet(plan)
    if not global_skip:
        return unet
    if not isinstance(image, ZScore):
        raise ValueError("global_skip adds the image in HU; expected a data set's z-score of it (CBCT), not a case's")
    return ImageAdded(unet, image, ct)
