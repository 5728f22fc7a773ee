"""What the scoring needs from a segmenter."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from synthct.volume import Volume

__all__ = ["LabelArray", "Segmenter"]

LabelArray = npt.NDArray[np.uint8]


@runtime_checkable
class Segmenter(Protocol):
    """Turns a CT or an sCT into a label map."""

    @property
    def name(self) -> str:
        """Short name for column names and metrics.json; letters, digits and _ only."""

    @property
    def labels(self) -> Mapping[int, str]:
        """Name of every label that `segment` may give; 0, the background, is not among them."""

    @property
    def weights(self) -> str | None:
        """sha256 over checkpoint, plans.json and dataset.json, in hexadecimal; None where there are no weights."""

    def segment(self, image: Volume, mask: npt.NDArray[Any], *, case: str) -> LabelArray:
        """Label map of an sCT.

        Args:
            image: voxels in HU, (z, y, x). The networks see all of it, masked or not (CONTRACT 3.4).
            mask: the patient's body, voxels > 0; (z, y, x), same shape. Only the tissue classes look at it.
            case: id of the case, for folders of ready label maps and for messages.

        Returns:
            Labels (z, y, x) on the image's grid, 0 where no structure was found.
        """

    def segment_reference(self, image: Volume, mask: npt.NDArray[Any], given: Path | None, *, case: str) -> LabelArray:
        """Label map of the reference CT.

        Args:
            image: the CT in HU, (z, y, x).
            mask: as in `segment`.
            given: the ground truth's own segmentation of this CT, None where it has none. TotalSegmentator and ready
                label maps use it; another network and the tissue classes segment the CT themselves, because
                their labels are other ones.
            case: as in `segment`.

        Returns:
            Labels (z, y, x) on the CT's grid.

        Raises:
            InputError: the given file is no label map on this grid, or there is no way to get labels of the CT.
        """
