"""evaluation.json: how a phase of the platform is scored, at the top of its ground-truth folder. All of it may lack."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from evaluation.segmenters.registry import absolute_spec
from synthct.errors import InputError, UsageError
from synthct.grand_challenge.ground_truth import PHASE_NAME

__all__ = ["PHASE_NAME", "PhaseSettings", "read_phase"]

BYTE_LIMIT = 1 << 20
DEFAULT_JUDGE = "totalsegmentator"


class PhaseSettings(BaseModel):
    """What an organiser may choose; the defaults are the challenge's.

    Attributes:
        protocol: whose HU range and SSIM.
        segmenters: judges as `--segmenter` names them, the first for the plain column names; places are absolute once
            `read_phase` has read them.
        nsd_tolerance_mm: tolerance of NSD; None for twice the voxel's width in the image plane.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    protocol: Literal["synthrad2025", "synthrad2023"] = "synthrad2025"
    segmenters: Annotated[tuple[str, ...], Field(min_length=1)] = (DEFAULT_JUDGE,)
    nsd_tolerance_mm: Annotated[float, Field(gt=0, allow_inf_nan=False, strict=True)] | None = None


def read_phase(ground_truth: Path) -> PhaseSettings:
    """Read the settings of a phase.

    Args:
        ground_truth: folder that may hold evaluation.json; places of judges are seen from it.

    Returns:
        The settings; the defaults where there is no such file.

    Raises:
        InputError: the file cannot be read, holds a field that is unknown or cannot be meant, or a place outside the
            ground-truth folder; it names the field.
    """
    path = ground_truth / PHASE_NAME
    if not os.path.lexists(path):
        return PhaseSettings()
    try:
        settings = PhaseSettings.model_validate(_read_json(path))
    except ValidationError as error:
        raise InputError(f"{path}: {_complaint(error)}") from error
    specs = tuple(
        _placed(spec, ground_truth, f"{path}: segmenters.{number}") for number, spec in enumerate(settings.segmenters)
    )
    return settings.model_copy(update={"segmenters": specs})


def _complaint(error: ValidationError) -> str:
    """The first thing that is wrong, in the words of a JSON file where pydantic's are those of Python."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"]) or "content"
    if first["type"] == "extra_forbidden":
        return f"{where}: is no known field; expected {', '.join(PhaseSettings.model_fields)}"
    what = {"tuple_type": "expected a list of judges", "model_type": "expected an object"}
    return f"{where}: {what.get(first['type'], first['msg'])}; found {_shown(first['input'])}"


def _placed(spec: str, root: Path, where: str) -> str:
    """The judge with its place made absolute."""
    try:
        absolute_spec(spec)
    except UsageError as error:
        raise InputError(f"{where}: {error}") from error
    kind, _, place = spec.partition(":")
    if not place:
        return spec
    try:
        inside = not Path(place).is_absolute() and (root / place).resolve().is_relative_to(root.resolve())
        with suppress(FileNotFoundError, NotADirectoryError):  # whoever opens it will say that it is missing
            (root / place).stat()
    except (OSError, ValueError, RuntimeError) as error:  # a name too long, a NUL, a circle of links
        raise InputError(f"{where}: {_shown(spec)} is no place that can be looked at ({_reason(error)})") from error
    if not inside:
        raise InputError(
            f"{where}: {_shown(spec)} is no place below {root}; expected one relative to it, such as {kind}:model"
        )
    return f"{kind}:{(root / place).absolute()}"


def _read_json(path: Path) -> object:
    try:
        with path.open("rb") as stream:
            raw = stream.read(BYTE_LIMIT + 1)
        if len(raw) > BYTE_LIMIT:
            raise ValueError(f"larger than {BYTE_LIMIT >> 20} MiB")
        content: object = json.loads(raw.decode("utf-8-sig"))
    except RecursionError as error:
        raise InputError(f"{path}: is nested too deeply; expected the settings of a phase") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as JSON in UTF-8 ({_reason(error)})") from error
    return content


def _reason(error: Exception) -> str:
    """What went wrong, without the path, which the message names already."""
    return str(getattr(error, "strerror", None) or error)


def _shown(value: object) -> str:
    """A value as it may stand in a message: short, plain letters."""
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:60]}..."
