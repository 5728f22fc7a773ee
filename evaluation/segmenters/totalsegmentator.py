"""TotalSegmentator's fast model, the challenge's judge of structures, without a file in between (CONTRACT 3.4)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from evaluation.segmenters.interface import LabelArray
from evaluation.segmenters.label_map import read_label_map
from evaluation.segmenters.nifti import canonical_image, labels_image, labels_like, nifti_image
from evaluation.segmenters.nnunet import NnunetSegmenter
from evaluation.structures import STRUCTURE_NAMES
from synthct.errors import InputError, WeightsError
from synthct.grand_challenge.folders import ground_truth_folder
from synthct.nnunet.model_files import ModelFiles, find_model_files, model_labels
from synthct.volume import Volume

__all__ = ["DATASET", "TotalSegmentator", "find_totalsegmentator_files"]

DATASET = "Dataset297_TotalSegmentator_total_3mm_1559subj"
SPACING = 3.0
"""Of the fast model, in mm."""
WEIGHTS_VARIABLE = "TOTALSEG_WEIGHTS_PATH"
HOME_VARIABLE = "TOTALSEG_HOME_DIR"
MODEL_FOLDER = Path("/opt/ml/model")
"""Where the platform unpacks a model tarball (CONTRACT 2.4)."""
GROUND_TRUTH_NAME = "totalsegmentator"
"""Folder in a platform's ground-truth tarball that can bring the weights (CONTRACT 2.5)."""


def find_totalsegmentator_files(path: Path | None) -> ModelFiles:
    """Find the 3 mm model.

    Args:
        path: results folder, home folder with nnunet/results, the model's folder, or an archive of one of them; None
            looks into $TOTALSEG_WEIGHTS_PATH, $TOTALSEG_HOME_DIR, the platform's model folder and ground truth, and
            ~/.totalsegmentator.

    Raises:
        WeightsError: nothing found, or what was found is not this model. Nothing is ever downloaded.
    """
    found = path or next((folder for folder in _usual_folders() if _holds_model(folder)), None)
    if found is None:
        raise WeightsError(
            f"TotalSegmentator's weights ({DATASET}) are not in {', '.join(map(str, _usual_folders()))}; expected "
            "--segmenter totalsegmentator:PATH (evaluate also takes --segmenter precomputed:DIR or --segmenter tissue, "
            "which need no weights; a container's ground truth names its judges in evaluation.json)"
        )
    files = find_model_files(found, dataset=DATASET)
    labels = model_labels(files)
    if len(labels) != len(STRUCTURE_NAMES):
        raise WeightsError(
            f"{files.dataset_path}: has {len(labels)} labels; expected the {len(STRUCTURE_NAMES)} of {DATASET}"
        )
    return files


class TotalSegmentator(NnunetSegmenter):
    """The model for 3 mm, all 117 structures; see `NnunetSegmenter` for the arguments."""

    @property
    def name(self) -> str:
        """Name for column names and metrics.json."""
        return "totalsegmentator"

    @property
    def labels(self) -> Mapping[int, str]:
        """The 117 structures."""
        return STRUCTURE_NAMES

    def segment_reference(self, image: Volume, mask: npt.NDArray[Any], given: Path | None, *, case: str) -> LabelArray:
        """The ground truth's own segmentation, (z, y, x); without one the CT is segmented.

        Raises:
            InputError: the given file is no label map on the CT's grid.
        """
        return read_label_map(given, image) if given is not None else self.segment(image, mask, case=case)

    def _segmented(self, image: Volume) -> LabelArray:
        """Canonical axes, 3 mm by cubic splines, the network, the original grid by the nearest neighbour, and back.

        No part of the image is cut away: the network's answer depends on where its windows lie.
        """
        from totalsegmentator.resampling import change_spacing

        thin = [extent for extent in np.multiply(image.geometry.size, image.geometry.spacing) if extent <= SPACING / 2]
        if thin:
            raise InputError(
                f"{image.path or 'image'}: measures {thin[0]:.3g} mm along one axis; expected over {SPACING / 2} mm"
            )
        original = nifti_image(image)
        canonical = canonical_image(original)
        coarse = change_spacing(canonical, SPACING, order=3, dtype=np.int32, nr_cpus=1)
        x, y, z = (float(edge) for edge in coarse.header.get_zooms())
        labels = self.network.labels_of(np.asarray(coarse.dataobj).T, (z, y, x), self.advance)
        fine = change_spacing(
            labels_image(labels, coarse.affine),
            SPACING,
            canonical.shape,
            order=0,
            dtype=np.uint8,
            nr_cpus=1,
            force_affine=canonical.affine,
        )
        return labels_like(fine, original)


def _usual_folders() -> list[Path]:
    named = [os.environ.get(variable) for variable in (WEIGHTS_VARIABLE, HOME_VARIABLE)]
    folders = [*(Path(name) for name in named if name), MODEL_FOLDER, ground_truth_folder() / GROUND_TRUTH_NAME]
    with suppress(RuntimeError):  # a user id without an entry in passwd, and no $HOME
        folders.append(Path.home() / ".totalsegmentator")
    return folders


def _holds_model(folder: Path) -> bool:
    places = (folder, folder / DATASET, folder / "nnunet" / "results" / DATASET)
    return any(place.name == DATASET and any(place.glob("*/plans.json")) for place in places)
