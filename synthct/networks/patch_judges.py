"""Geometry that patch discriminators share: how much a stack of convolutions sees, and how many logits it gives.

All counts are voxels along one axis. Imports no torch.
"""

from __future__ import annotations

__all__ = ["Layers", "edge_after", "layers_of_field", "least_edge", "receptive_field"]

Layers = tuple[tuple[int, int], ...]
"""Kernel and stride of each convolution, the one that sees the image first."""

_STRIDED = {16: 1, 34: 2, 70: 3, 142: 4}
"""By receptive field: how many convolutions of stride 2 stand before the two of stride 1, as in pix2pix."""


def receptive_field(layers: Layers) -> int:
    """Return how many voxels reach one output; 1 where there is no layer."""
    field = 1
    for kernel, stride in reversed(layers):
        field = (field - 1) * stride + kernel
    return field


def edge_after(edge: int, layers: Layers, padding: int = 1) -> int:
    """Return how many outputs an edge gives, each layer padded on both sides; 0 where it is too short for one."""
    for kernel, stride in layers:
        edge = (edge + 2 * padding - kernel) // stride + 1
        if edge < 1:
            return 0
    return edge


def least_edge(outputs: int, layers: Layers, padding: int = 1) -> int:
    """Return the shortest edge that gives so many outputs (1 or more): what `edge_after` undoes."""
    for kernel, stride in reversed(layers):
        outputs = max(1, (outputs - 1) * stride + kernel - 2 * padding)
    return outputs


def layers_of_field(field: int) -> Layers:
    """Return the layers of a patch discriminator that sees `field` voxels.

    16, 34, 70 and 142 are pix2pix' family: kernels of 4, strides 2, ..., 2, 1, 1. None of it sees 9; a kernel of 3 with
    stride 2 and one of 4 do (ALGORITHMS section 5).

    Raises:
        ValueError: no layers are known for it.
    """
    if field == 9:
        return ((3, 2), (4, 1))
    if field not in _STRIDED:
        known = ", ".join(map(str, (9, *_STRIDED)))
        raise ValueError(f"receptive field {field} has no layers here; expected one of {known}")
    return ((4, 2),) * _STRIDED[field] + ((4, 1), (4, 1))
