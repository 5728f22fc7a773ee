"""What the scoring needs from a segmenter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

__all__ = ["Segmenter"]


@runtime_checkable
class Segmenter(Protocol):
    """Turns a CT or an sCT into a label map."""

    @property
    def name(self) -> str:
        """Short name for options, metrics.json and messages."""

    @property
    def labels(self) -> Mapping[int, str]:
        """Name of every label that `segment` may give; 0, the background, is not among them."""

    def segment(
        self,
        volume_voxels_hu: npt.NDArray[Any],
        spacing_zyx: tuple[float, float, float],
        mask: npt.NDArray[Any],
    ) -> npt.NDArray[np.uint8]:
        """Label map of an image.

        Args:
            volume_voxels_hu: voxels in HU, (z, y, x).
            spacing_zyx: distance of voxel centres in mm, (z, y, x).
            mask: the patient's body, voxels > 0; same shape.

        Returns:
            Labels of the same shape, 0 where no structure was found.
        """
