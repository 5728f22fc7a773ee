"""Every error that a user can meet, in one tree; each class carries the exit code of the command line.

    SynthCTError            1  anything that has no better name
    ├── UsageError          2  an option or argument that cannot be meant
    ├── InputError          3  a file or folder that cannot be used
    │   ├── HeaderError        a header or payload that is refused before any decoder sees it
    │   ├── GeometryError      two files of one case that do not lie on one grid
    │   └── OutputError        a place that cannot be written to
    ├── WeightsError        4  weights that are missing, damaged or not meant for this case
    ├── MemoryLimitError    5  the work does not fit into memory
    ├── DiskFullError       1  a file that does not fit onto the disk
    └── ContractError       6  the platform's contract is broken

Each message is one line that names the file, the value and what was expected: on Grand Challenge the last line of
stderr is all that a user sees of a failure (CONTRACT 2.2).
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "ContractError",
    "DiskFullError",
    "GeometryError",
    "HeaderError",
    "InputError",
    "MemoryLimitError",
    "OutputError",
    "SynthCTError",
    "UsageError",
    "WeightsError",
]


class SynthCTError(Exception):
    """Base of the tree. `message` is folded to one line, whatever it was made from."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


class UsageError(SynthCTError):
    """An option or argument that cannot be meant: an unknown name, a value out of range."""

    exit_code = 2


class InputError(SynthCTError):
    """A file or folder that was given as input and cannot be used."""

    exit_code = 3


class HeaderError(InputError):
    """An image file that is refused by its header or its payload, before any decoder runs."""


class GeometryError(InputError):
    """Two images of one case whose size, spacing, origin or direction differ."""


class OutputError(InputError):
    """An output place that cannot be written to."""


class WeightsError(SynthCTError):
    """Weights that are missing, damaged, or declared for another task or region."""

    exit_code = 4


class MemoryLimitError(SynthCTError):
    """The work does not fit into the memory of the device."""

    exit_code = 5


class DiskFullError(SynthCTError):
    """A result that does not fit onto the disk. The input is sound, so this is no InputError."""


class ContractError(SynthCTError):
    """What the platform hands over, or expects, is not as its contract says."""

    exit_code = 6
