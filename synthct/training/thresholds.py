"""Which pairs are too far off to train on: limits for the figures of `score_pair`, shipped or fitted to a data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from synthct.training.alignment_check import PairScore

__all__ = ["Thresholds", "fit_thresholds"]

FEWEST_PAIRS = 8
"""Below this many pairs a spread tells little, and the shipped limits are used."""

DEVIATIONS = 3.0
"""A pair is an outlier from this many robust standard deviations (1.4826 MAD) beyond the median."""

NORMAL_MAD = 1.4826

GENTLEST_BODY_DICE, GENTLEST_RESIDUAL_MM, GENTLEST_INFORMATION_SHARE = 0.97, 3.0, 0.75
"""Fitted limits are never stricter than these: where nearly all pairs are alike, the tail of a sound data set would be
flagged. A shift of 3 mm alone leaves a Dice of 0.95 to 0.99 and at least 0.76 of a pair's mutual information on sound
training limbs (docs/alignment.md); the share is one of the data set's median."""


@dataclass(frozen=True)
class Thresholds:
    """Limits beyond which a pair is flagged. The defaults are those of T1 limbs, `fit_thresholds` of 16 of them.

    Attributes:
        min_body_dice: lowest outline Dice.
        min_mutual_information: lowest mutual information in nats; it depends on the kind of MR, so fit it to others.
        max_residual_mm: longest mean way of the body's voxels under the motion found.
    """

    min_body_dice: float = 0.90
    min_mutual_information: float = 0.32
    max_residual_mm: float = 34.0

    def flags(self, score: PairScore) -> tuple[str, ...]:
        """Give the reasons why a pair is flagged, in words with the figure and the limit; empty for a sound pair."""
        reasons = []
        if score.body_dice < self.min_body_dice:
            reasons.append(f"body Dice {score.body_dice:.3f} is below {self.min_body_dice:.3f}")
        if score.mutual_information < self.min_mutual_information:
            reasons.append(
                f"mutual information {score.mutual_information:.3f} is below {self.min_mutual_information:.3f}"
            )
        if score.residual_mm is None:
            reasons.append("no rigid motion could be found")
        elif score.residual_mm > self.max_residual_mm:
            reasons.append(f"residual {score.residual_mm:.1f} mm is above {self.max_residual_mm:.1f} mm")
        return tuple(reasons)


def fit_thresholds(scores: Sequence[PairScore]) -> Thresholds:
    """Fit the limits to a data set of one's own: median and MAD, so that up to half of the pairs may be off.

    Dice enters as log(1 - Dice), information and residual as their logs: all three are ratios by nature, and on
    that scale the sound pairs lie evenly about their median.

    Args:
        scores: of all pairs of one region and one kind of image; pairs without a motion count for the other limits.

    Returns:
        The limits DEVIATIONS robust standard deviations from the medians, but never stricter than the gentlest ones
        above; the shipped ones for fewer than FEWEST_PAIRS pairs.
    """
    if len(scores) < FEWEST_PAIRS:
        return Thresholds()
    residuals = [score.residual_mm for score in scores if score.residual_mm is not None]
    informations = [score.mutual_information for score in scores]
    least_information = GENTLEST_INFORMATION_SHARE * float(np.median(informations))
    return Thresholds(
        min_body_dice=min(GENTLEST_BODY_DICE, 1 - _limit([1 - score.body_dice for score in scores], DEVIATIONS)),
        min_mutual_information=min(least_information, _limit(informations, -DEVIATIONS)),
        max_residual_mm=(
            max(GENTLEST_RESIDUAL_MM, _limit(residuals, DEVIATIONS)) if residuals else Thresholds.max_residual_mm
        ),
    )


def _limit(values: Sequence[float], deviations: float) -> float:
    logs = np.log(np.maximum(values, 1e-6))
    middle = np.median(logs)
    return float(np.exp(middle + deviations * NORMAL_MAD * np.median(np.abs(logs - middle))))
