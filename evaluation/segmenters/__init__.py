"""Segmenters: what turns an image in HU into a label map for the structure and tissue metrics."""

from evaluation.segmenters.interface import LabelArray, Segmenter
from evaluation.segmenters.registry import SEGMENTER_SPECS, describe_segmenter, open_segmenter
from evaluation.segmenters.tissue import TissueSegmenter, tissue_labels

__all__ = [
    "SEGMENTER_SPECS",
    "LabelArray",
    "Segmenter",
    "TissueSegmenter",
    "describe_segmenter",
    "open_segmenter",
    "tissue_labels",
]
