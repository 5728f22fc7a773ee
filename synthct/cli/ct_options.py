"""CT statistics as options: mean, deviation and clip bounds, all four or none. They are asked for, never guessed."""

from __future__ import annotations

from pydantic import ValidationError

from synthct.errors import UsageError
from synthct.intensity import ZScore

__all__ = ["ct_statistics"]


def ct_statistics(
    mean: float | None, std: float | None, low: float | None, high: float | None, prefix: str = "--"
) -> ZScore | None:
    """Make a CT normalisation from four options; None where none is given.

    Args:
        mean: in HU.
        std: in HU.
        low: clip bound in HU.
        high: the same above.
        prefix: what stands before mean, std, low and high in the options' names.

    Raises:
        UsageError: some are given and some not, or they cannot be meant.
    """
    given = {"mean": mean, "std": std, "low": low, "high": high}
    missing = [f"{prefix}{name}" for name, value in given.items() if value is None]
    if len(missing) == len(given):
        return None
    if mean is None or std is None or missing:
        raise UsageError(f"{', '.join(missing)} missing; expected all of {', '.join(prefix + name for name in given)}")
    try:
        return ZScore(mean=mean, std=std, low=low, high=high)
    except ValidationError as error:
        raise UsageError(f"{prefix}mean {mean:g}, std {std:g}: {error.errors()[0]['msg']}") from error
