"""Options of the commands that read an nnU-Net model; CT statistics come all four or none, and are never guessed."""

from __future__ import annotations

from typing import Annotated, Literal

import typer
from pydantic import ValidationError

from synthct.errors import UsageError
from synthct.intensity import ZScore

__all__ = ["ConfigurationOption", "OrientationOption", "UpsamplingOption", "ct_statistics"]

ConfigurationOption = Annotated[
    str | None, typer.Option(help="Of plans.json. [default: the one that the checkpoint names]")
]
UpsamplingOption = Annotated[
    Literal["trilinear", "transposed"] | None,
    typer.Option(help="Of the decoder. [default: by the tensors' shapes]"),
]
OrientationOption = Annotated[
    Literal["lps", "ras"] | None,
    typer.Option(help="Of the training arrays. [default: ras for nnU-Net's reorienting reader, else lps]"),
]


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
