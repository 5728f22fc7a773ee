"""Which shapes a network takes."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["require_multiple"]


def require_multiple(patch: Sequence[int], multiple: Sequence[int]) -> None:
    """Refuse a patch that a network's strides do not divide.

    Args:
        patch: shape (z, y, x).
        multiple: product of the network's strides (z, y, x).

    Raises:
        ValueError: an edge is no multiple.
    """
    if any(edge % factor for edge, factor in zip(patch, multiple, strict=True)):
        raise ValueError(f"patch {tuple(patch)} (z, y, x) is no multiple of the strides' product {tuple(multiple)}")
