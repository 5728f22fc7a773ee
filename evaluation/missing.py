"""What a structure counts for that one of the two label maps lacks: the two policies, and nothing else.

`parity` is what the official program does (CONTRACT 3.5 and 3.6, 1); its five column names hold these values:

* The means run over the listed structures that occur in the reference, with one voxel or more.
* A missed one counts Dice 0 and NSD 0 and is left out of the mean of HD95; if all are missed, HD95 is 0.0.
* If no listed structure occurs in the reference, Dice and HD95 are 0.0. (NSD is no official value: None.)
* A structure that occurs in the prediction alone costs nothing.

`strict` makes a missed structure cost what it should:

* A missed one counts Dice 0, NSD 0 and, as HD95, the diagonal of the image: no structure of that image can be farther
  off. This holds if the reference has 0.5 mL of it or more and the volume's edge does not cut it.
* A missed one that is smaller, or cut, may be no fault of the prediction's: it is left out and counted apart. So
  leaving such a structure out scores better than finding it badly; leaderboards warn where entries differ in it.
* A spurious one is counted, with its volume, and enters no mean.
* If nothing is left to count, each mean is None.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from synthct.errors import UsageError

__all__ = ["POLICIES", "SMALLEST_MISSED_ML", "Status", "StructureScore", "Summary", "status_of", "summarise"]

Status = Literal["found", "missed", "missed_small", "missed_cut", "spurious", "absent"]

POLICIES = ("parity", "strict")

SMALLEST_MISSED_ML = 0.5
"""A missed structure counts, in `strict`, from this volume of the reference on (included)."""


@dataclass(frozen=True)
class StructureScore:
    """Agreement on one structure; a value is None where it is undefined.

    Attributes:
        label: of the structure.
        dice: 0 to 1; 0.0 where one map lacks the structure, None where both do.
        hd95: symmetric 95th percentile of the surface distance in mm; None unless both maps hold the structure.
        nsd_surfel: normalised surface Dice by area, 0 to 1; None and 0.0 as `dice`.
        nsd_voxel: normalised surface Dice by surface voxels, 0 to 1; None and 0.0 as `dice`.
        reference_ml: volume in the reference.
        prediction_ml: volume in the prediction.
        cut: whether the structure has, in the reference, a voxel in the first or last plane of any axis.
        status: found, missed (missed_small, missed_cut), spurious or absent; see the module's text.
    """

    label: int
    dice: float | None
    hd95: float | None
    nsd_surfel: float | None
    nsd_voxel: float | None
    reference_ml: float
    prediction_ml: float
    cut: bool
    status: Status


@dataclass(frozen=True)
class Summary:
    """One case's structures in single numbers; the counts are the same under both policies.

    Attributes:
        policy: how missing structures were treated.
        dice: mean Dice, 0 to 1.
        hd95: mean 95th percentile of the surface distance in mm.
        nsd: the same as `nsd_surfel`.
        nsd_surfel: mean normalised surface Dice by area, 0 to 1.
        nsd_voxel: mean normalised surface Dice by surface voxels, 0 to 1.
        n_structures: listed structures that occur in the reference.
        n_missed: of these, the ones that the prediction lacks and that count.
        n_missed_small: of these, the ones that the prediction lacks and that are small or cut.
        n_spurious: listed structures that occur in the prediction alone.
        spurious_ml: their volume.
    """

    policy: str
    dice: float | None
    hd95: float | None
    nsd: float | None
    nsd_surfel: float | None
    nsd_voxel: float | None
    n_structures: int
    n_missed: int
    n_missed_small: int
    n_spurious: int
    spurious_ml: float


def status_of(reference_ml: float, prediction_ml: float, cut: bool) -> Status:
    """How the two label maps agree on one structure's being there; a small one that is cut is called small."""
    if reference_ml > 0.0 and prediction_ml > 0.0:
        return "found"
    if prediction_ml > 0.0:
        return "spurious"
    if reference_ml == 0.0:
        return "absent"
    if round(reference_ml, 9) < SMALLEST_MISSED_ML:  # rounding of a product of spacings must not decide
        return "missed_small"
    return "missed_cut" if cut else "missed"


def summarise(structures: Mapping[int, StructureScore], policy: str, diagonal_mm: float) -> Summary:
    """One case's summary under a policy; the module's text is its definition.

    Args:
        structures: score of each listed structure.
        policy: `parity` or `strict`.
        diagonal_mm: diagonal of the image, sqrt(sum((voxels x spacing)^2)); used by `strict` alone.

    Raises:
        UsageError: the policy has another name.
    """
    if policy not in POLICIES:
        raise UsageError(f"policy {policy!r} is unknown; expected one of {', '.join(POLICIES)}")
    scores = structures.values()
    in_reference = [score for score in scores if score.status not in ("spurious", "absent")]
    missed = [score for score in in_reference if score.status == "missed"]
    found = [score for score in in_reference if score.status == "found"]
    spurious = [score for score in scores if score.status == "spurious"]
    strict = policy == "strict"
    counted = [*found, *missed] if strict else in_reference

    def mean(value: Callable[[StructureScore], float | None], imputed: float | None) -> float | None:
        values = [value(score) if score.status == "found" else imputed for score in counted]
        numbers = [number for number in values if number is not None]
        return sum(numbers) / len(numbers) if numbers else None

    dice = mean(lambda score: score.dice, 0.0)
    hd95 = mean(lambda score: score.hd95, diagonal_mm if strict else None)
    nsd_surfel = mean(lambda score: score.nsd_surfel, 0.0)
    return Summary(
        policy=policy,
        dice=dice if strict or dice is not None else 0.0,
        hd95=hd95 if strict or hd95 is not None else 0.0,
        nsd=nsd_surfel,
        nsd_surfel=nsd_surfel,
        nsd_voxel=mean(lambda score: score.nsd_voxel, 0.0),
        n_structures=len(in_reference),
        n_missed=len(missed),
        n_missed_small=len(in_reference) - len(missed) - len(found),
        n_spurious=len(spurious),
        spurious_ml=sum((score.prediction_ml for score in spurious), 0.0),
    )
