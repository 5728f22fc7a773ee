"""Segmenters: what turns an image in HU into a label map for the structure and tissue metrics."""

from evaluation.segmenters.interface import Segmenter
from evaluation.segmenters.tissue import TissueSegmenter, tissue_labels

__all__ = ["Segmenter", "TissueSegmenter", "tissue_labels"]
