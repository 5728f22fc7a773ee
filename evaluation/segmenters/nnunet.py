"""Any trained nnU-Net v2 model as a segmenter."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from evaluation.segmenters.cache import cached_labels
from evaluation.segmenters.interface import LabelArray
from evaluation.segmenters.network import SegmentationNetwork
from evaluation.segmenters.nifti import canonical_image, labels_image, labels_like, nifti_image
from synthct.nnunet.model_files import ModelFiles, model_labels
from synthct.volume import Volume

__all__ = ["NnunetSegmenter", "dataset_column_name"]

REORIENTING_READER = "NibabelIOWithReorient"
"""nnU-Net's only reader that turns images to RAS axes; a model trained with it must see them so."""


def dataset_column_name(files: ModelFiles) -> str:
    """The data set's name in letters, digits and _: Dataset004_Hippocampus."""
    given = files.plans.get("dataset_name") or files.dataset.get("name") or "nnunet"
    return re.sub(r"[^A-Za-z0-9_]+", "_", str(given))


class NnunetSegmenter:
    """A trained nnU-Net, preprocessed by its own plans; step 0.5, Gaussian, no mirroring.

    The network is loaded with the first image that the cache does not know, and once for all images.

    Args:
        files: the model.
        device: auto, cpu or cuda.
        cache: folder for label maps, None for none.

    Raises:
        WeightsError: labels that cannot be used, see `model_labels`.

    Attributes:
        advance: called after each window with (windows done, windows in all); None for no reports.
    """

    def __init__(self, files: ModelFiles, *, device: str = "auto", cache: Path | None = None) -> None:
        self._files = files
        self._labels = model_labels(files)
        self._device = device
        self._cache = cache
        self.advance: Callable[[int, int], None] | None = None

    @property
    def name(self) -> str:
        """The data set's name, made safe for column names."""
        return dataset_column_name(self._files)

    @property
    def labels(self) -> Mapping[int, str]:
        """The labels of dataset.json."""
        return self._labels

    @property
    def weights(self) -> str | None:
        """sha256 over checkpoint, plans.json and dataset.json."""
        return self._files.sha256

    @cached_property
    def network(self) -> SegmentationNetwork:
        """The network, loaded at first use.

        Raises:
            WeightsError: the checkpoint is damaged or does not fit its plans.
            UsageError: cuda was asked for and there is none.
        """
        return SegmentationNetwork(self._files, self._device)

    def segment(self, image: Volume, mask: npt.NDArray[Any], *, case: str) -> LabelArray:
        """Label map of an image, (z, y, x); the mask is not looked at.

        Raises:
            WeightsError: the weights cannot be used.
            MemoryLimitError: the image does not fit into memory.
        """
        from synthct.inference.engine import choose_device

        # A GPU's mixed precision moves a few voxels, so its label maps are its own.
        name = f"{self.name} on {choose_device(self._device).type}"
        return cached_labels(self._cache, image, lambda: self._segmented(image), name=name, weights=self.weights)

    def segment_reference(self, image: Volume, mask: npt.NDArray[Any], given: Path | None, *, case: str) -> LabelArray:
        """Label map of the CT by the same network, (z, y, x); the given file holds other labels."""
        return self.segment(image, mask, case=case)

    def _segmented(self, image: Volume) -> LabelArray:
        """The way of nnU-Net's own prediction from a file, without the file."""
        if self._files.plans.get("image_reader_writer") != REORIENTING_READER:
            return self.network.labels_of(image.voxels, image.spacing_zyx, self.advance)
        original = nifti_image(image)
        canonical = canonical_image(original)
        x, y, z = (float(edge) for edge in canonical.header.get_zooms())
        labels = self.network.labels_of(np.asarray(canonical.dataobj).T, (z, y, x), self.advance)
        return labels_like(labels_image(labels, canonical.affine), original)
