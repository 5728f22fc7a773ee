"""Which way the axes x and y ran in the arrays that an nnU-Net was trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from synthct.nnunet.model_files import ModelFiles

__all__ = ["FLIPS", "Flips", "Orientation", "flips_of"]

Orientation = Literal["lps", "ras"]
"""SynthRAD's files are lps: x grows to the left, y to the back."""
Flips = tuple[Literal["y", "x"], ...]
FLIPS: dict[Orientation, Flips] = {"lps": (), "ras": ("y", "x")}
"""Axes of our arrays (z, y, x) that are turned round for a network of each orientation."""
REORIENTING_READER = "NibabelIOWithReorient"
"""nnU-Net's only reader that turns images, to RAS axes; all others hand them over as they lie in the file."""


def flips_of(files: ModelFiles, asked: Orientation | None = None) -> Flips:
    """Tell which axes a model's images must be turned round along.

    Args:
        files: of the model; its plans name the reader.
        asked: by the user, who decides; None goes by the reader: ras for nnU-Net's reorienting one, else lps.
    """
    if asked is None:
        asked = "ras" if files.plans.get("image_reader_writer") == REORIENTING_READER else "lps"
    return FLIPS[asked]
