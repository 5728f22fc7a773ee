"""Image and structure metrics of the evaluation; each function's docstring defines its quantity and its empty cases."""

from evaluation.metrics.agreement import StructureAgreement, StructureScore, score_structures, structure_agreement
from evaluation.metrics.image import ImageSimilarity, image_similarity, masked_mae
from evaluation.metrics.msssim import masked_ms_ssim
from evaluation.metrics.overlap import dice_of_counts, dice_scores, label_counts
from evaluation.metrics.ssim import masked_ssim

__all__ = [
    "ImageSimilarity",
    "StructureAgreement",
    "StructureScore",
    "dice_of_counts",
    "dice_scores",
    "image_similarity",
    "label_counts",
    "masked_mae",
    "masked_ms_ssim",
    "masked_ssim",
    "score_structures",
    "structure_agreement",
]
