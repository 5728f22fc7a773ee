"""Label maps that somebody made before: a folder of <case id>.mha, with TotalSegmentator's labels."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy.typing as npt

from evaluation.segmenters.interface import LabelArray
from evaluation.segmenters.label_map import read_label_map
from evaluation.structures import STRUCTURE_NAMES
from synthct.anatomy import find_case_id
from synthct.errors import InputError
from synthct.volume import Volume

__all__ = ["PrecomputedSegmenter"]

_SUFFIXES = (".mha", ".nii.gz")


class PrecomputedSegmenter:
    """Looks a case's label map up in a folder; needs no weights.

    Args:
        folder: label maps of the sCTs, the case id anywhere in the file name, on the grid of the CT.

    Raises:
        InputError: the folder is missing, or holds one case twice.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder; expected one with label maps named like 1ABA001.mha")
        self._folder = folder
        self._files: dict[str, Path] = {}
        for path in sorted(folder.iterdir()):
            case_id = find_case_id(path.name) if path.name.endswith(_SUFFIXES) else None
            if case_id is None or path.name.startswith("."):
                continue
            if str(case_id) in self._files:
                raise InputError(f"{path}: case {case_id} stands twice; also as {self._files[str(case_id)].name}")
            self._files[str(case_id)] = path

    @property
    def name(self) -> str:
        """Name for column names and metrics.json."""
        return "precomputed"

    @property
    def labels(self) -> Mapping[int, str]:
        """TotalSegmentator's structures."""
        return STRUCTURE_NAMES

    @property
    def weights(self) -> str | None:
        """None: whoever made the label maps knows."""
        return None

    def file_of(self, case: str) -> Path | None:
        """The label map of a case; None where the folder holds none."""
        return self._files.get(case.upper())

    def segment(self, image: Volume, mask: npt.NDArray[Any], *, case: str) -> LabelArray:
        """The label map of this case, (z, y, x).

        Its grid is not looked at, as that of an sCT is not (CONTRACT 3.6, 7): only its size counts.

        Raises:
            InputError: the folder holds none for the case, or one of another size.
        """
        path = self.file_of(case)
        if path is None:
            raise InputError(f"{self._folder}: holds no label map of case {case}; expected {case}.mha or .nii.gz")
        return read_label_map(path, image, require_grid=False)

    def segment_reference(self, image: Volume, mask: npt.NDArray[Any], given: Path | None, *, case: str) -> LabelArray:
        """The ground truth's own segmentation, (z, y, x).

        Raises:
            InputError: there is none: the folder's label maps are of the sCTs, not of the CTs.
        """
        if given is None:
            raise InputError(
                f"{image.path or 'CT'}: case {case} has no segmentation in the ground truth; expected "
                f"segmentation/{case}.mha, which 'precomputed' cannot make"
            )
        return read_label_map(given, image)
