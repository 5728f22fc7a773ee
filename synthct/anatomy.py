"""Tasks, regions and case ids of SynthRAD, and every spelling of them that is met in the wild (CONTRACT 1.2, 1.10)."""

from __future__ import annotations

import json
import re
import warnings
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from synthct.errors import InputError, UsageError

__all__ = [
    "CaseId",
    "Region",
    "RegionWarning",
    "Task",
    "find_case_id",
    "parse_region",
    "parse_task",
    "read_region_file",
]

REGION_FILE_LIMIT = 4096
"""A region file is one short JSON string; nothing longer is read, in bytes."""


class RegionWarning(UserWarning):
    """A region that cannot be told; the run goes on with a fallback."""


class Task(StrEnum):
    """What is translated into CT. The value is also the platform's input folder below /input/images."""

    MRI = "mri"
    CBCT = "cbct"

    @property
    def number(self) -> int:
        """1 for MR to CT, 2 for CBCT to CT: the first character of a case id."""
        return 1 if self is Task.MRI else 2

    @property
    def stem(self) -> str:
        """File stem of the input image in a data set: mr or cbct."""
        return "mr" if self is Task.MRI else "cbct"


class Region(StrEnum):
    """Body region. EX (extremity) is our own code for limb data; the others are SynthRAD's."""

    ABDOMEN = "AB"
    HEAD_NECK = "HN"
    THORAX = "TH"
    BRAIN = "B"
    PELVIS = "P"
    EXTREMITY = "EX"

    @property
    def title(self) -> str:  # type: ignore[override]  # str.title is a method; a region's title is a value
        """The string that region.json holds for this region."""
        return _TITLES[self]


_TITLES = {
    Region.ABDOMEN: "Abdomen",
    Region.HEAD_NECK: "Head and Neck",
    Region.THORAX: "Thorax",
    Region.BRAIN: "Brain",
    Region.PELVIS: "Pelvis",
    Region.EXTREMITY: "Extremity",
}

_SPELLINGS = {
    **{region.value.casefold(): region for region in Region},
    **{title.casefold(): region for region, title in _TITLES.items()},
    "head neck": Region.HEAD_NECK,
    "head & neck": Region.HEAD_NECK,
    "headneck": Region.HEAD_NECK,
    "h n": Region.HEAD_NECK,
    "h&n": Region.HEAD_NECK,
    "limb": Region.EXTREMITY,
    "extremities": Region.EXTREMITY,
}

_ID_2025 = re.compile(r"(?P<task>[12])(?P<region>AB|HN|TH|EX)(?P<centre>[A-E])(?P<number>[0-9]{3})", re.IGNORECASE)
_ID_2023 = re.compile(r"(?P<task>[12])(?P<region>B|P)(?P<centre>[A-C])(?P<number>[0-9]{3})", re.IGNORECASE)
_TASKS = {"1": Task.MRI, "2": Task.CBCT}


@dataclass(frozen=True, order=True)
class CaseId:
    """A case's id, such as 1ABA001 (2025) or 2PC045 (2023), read into its parts.

    Attributes:
        text: the id as data sets write it, in capitals.
        task: MR or CBCT.
        region: body region.
        centre: letter of the hospital.
        number: running number.
    """

    text: str
    task: Task
    region: Region
    centre: str
    number: int

    def __str__(self) -> str:
        return self.text

    @property
    def year(self) -> int:
        """Year of the challenge whose naming the id follows: 2023 (brain, pelvis) or 2025."""
        return 2023 if self.region in (Region.BRAIN, Region.PELVIS) else 2025

    @classmethod
    def parse(cls, text: str) -> CaseId:
        """Read an id.

        Raises:
            InputError: the text is not a case id of 2023 or 2025.
        """
        match = _ID_2025.fullmatch(text) or _ID_2023.fullmatch(text)
        if match is None:
            raise InputError(f"'{text}' is no case id; expected one like 1ABA001 (2025) or 1PA001 (2023)")
        return _from_match(match)


def find_case_id(text: str) -> CaseId | None:
    """Find the case id inside a file name such as mask_1ABA001.mha; None where there is none.

    An id that is a part of a longer word or number does not count: sct1ABA0012 holds none.
    """
    for pattern in (_ID_2025, _ID_2023):
        match = re.search(rf"(?<![A-Za-z0-9]){pattern.pattern}(?![A-Za-z0-9])", text, re.IGNORECASE)
        if match is not None:
            return _from_match(match)
    return None


def parse_region(text: str) -> Region | None:
    """Read a region's name or code in any spelling of CONTRACT 1.2, whatever its case; None where it is unknown."""
    words = " ".join(text.replace("_", " ").replace("-", " ").casefold().split())
    return _SPELLINGS.get(words)


def parse_task(text: str) -> Task:
    """Read a task: mri, cbct, mr, 1, 2, Task1, Task2.

    Raises:
        UsageError: the text names no task.
    """
    words = text.strip().casefold()
    if words in ("mri", "mr", "1", "task1", "task 1"):
        return Task.MRI
    if words in ("cbct", "2", "task2", "task 2"):
        return Task.CBCT
    raise UsageError(f"'{text}' is no task; expected mri or cbct")


def read_region_file(path: Path) -> Region | None:
    """Read region.json; what cannot be read or is unknown gives one RegionWarning and None, never an error.

    The platform has sent runs without the file and with strings nobody announced (CONTRACT 1.2, 5.20), so a fallback
    to the case id or a generic model must follow.
    """
    problem = None
    region = None
    try:
        with path.open("rb") as stream:
            content = json.loads(stream.read(REGION_FILE_LIMIT).decode("utf-8-sig") or "null")
    except FileNotFoundError:
        problem = "is missing"
    except (OSError, ValueError, RecursionError) as error:
        problem = f"cannot be read ({type(error).__name__})"
    else:
        region = parse_region(content) if isinstance(content, str) else None
        if region is None:
            problem = f"holds {json.dumps(content)[:60]}, no known region"
    if problem is not None:
        warnings.warn(f"{path}: {problem}; falling back to the case id", RegionWarning, stacklevel=2)
    return region


def _from_match(match: re.Match[str]) -> CaseId:
    return CaseId(
        text=match.group(0).upper(),
        task=_TASKS[match["task"]],
        region=Region(match["region"].upper()),
        centre=match["centre"].upper(),
        number=int(match["number"]),
    )
