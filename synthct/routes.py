"""Where weights are sought, and which of a folder's models a case gets (routes.json, members of an ensemble)."""

from __future__ import annotations

import hashlib
import json
import os
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synthct.anatomy import Region, Task
from synthct.errors import WeightsError

__all__ = [
    "CARD_NAME",
    "MODEL_VARIABLE",
    "PLATFORM_FOLDERS",
    "ROUTES_NAME",
    "Routes",
    "find_folder",
    "holds_model",
    "join_digests",
    "member_folders",
    "read_model_json",
    "read_routes",
    "starter_folders",
]

CARD_NAME = "model.json"
ROUTES_NAME = "routes.json"
MODEL_VARIABLE = "MODEL_DIR"
PLATFORM_FOLDERS = (Path("/opt/ml/model"), Path("/opt/algorithm/resources"))
"""Where the platform unpacks a model tarball, and where the SynthRAD template kept its models (CONTRACT 2.4)."""
JSON_LIMIT = 1 << 20
ANY_REGION = "*"
_MEMBER_NAME = re.compile(r"fold_(0|[1-9][0-9]{0,3})")


@dataclass(frozen=True)
class Routes:
    """routes.json, checked: keys such as mri/AB or mri/*, each with the name of a folder beside the file.

    Attributes:
        folder: where routes.json lies.
        targets: folder name per key, in the file's order.
    """

    folder: Path
    targets: dict[str, str]

    def folders(self) -> list[Path]:
        """Every model folder that a route leads to, once each, in the file's order."""
        return [self.folder / name for name in dict.fromkeys(self.targets.values())]

    def lead(self, task: Task | None, region: Region | None) -> Path:
        """Lead a (task, region) pair to its model folder: its own route, then its task's `*`.

        An unknown region never stops a run (CONTRACT 1.2): without a `*` it gets the task's first
        model, with a warning.

        Raises:
            WeightsError: no route leads anywhere.
        """
        path = self.folder / ROUTES_NAME
        key = f"{task or '*'}/{region.value if region else ANY_REGION}"
        target = self.targets.get(key, self.targets.get(f"{task}/{ANY_REGION}"))
        if target is None and region is None:
            target = next((value for name, value in self.targets.items() if name.startswith(f"{task}/")), None)
            if target is not None:
                warnings.warn(f"{path}: the region is unknown; falling back to {target}", stacklevel=3)
        if target is None:
            keys = dict.fromkeys((key, f"{task}/{ANY_REGION}")) if task is not None else ("mri/AB",)
            wanted = " or ".join(f"'{name}'" for name in keys)
            raise WeightsError(f"{path}: leads nowhere for '{key}'; expected an entry {wanted} that names a folder")
        return self.folder / target


def read_routes(folder: Path) -> Routes | None:
    """Read and check a folder's routes.json; None where there is none.

    Raises:
        WeightsError: it is no object of routes, a key names no task or region, or stands twice, or a target is no name
            of a folder or leads out of `folder`; or the folder cannot be entered.
    """
    path = folder / ROUTES_NAME
    try:
        if not path.is_file():
            return None
    except PermissionError as error:
        raise _closed(folder, error) from error
    pairs = read_model_json(path, as_pairs=True)
    if not isinstance(pairs, _Pairs) or not pairs:
        raise WeightsError(f"{path}: holds no routes; expected an object such as {{'mri/AB': 'abdomen'}}")
    targets: dict[str, str] = {}
    for key, target in pairs:
        task, _, region = key.partition("/")
        if task not in tuple(Task) or region not in (ANY_REGION, *Region):
            raise WeightsError(
                f"{path}: '{key}' is no route; expected TASK/REGION of {', '.join(Task)} and "
                f"{', '.join(Region)} or {ANY_REGION}"
            )
        if key in targets:
            raise WeightsError(f"{path}: '{key}' stands twice; expected one folder per route")
        if not isinstance(target, str) or not target:
            raise WeightsError(f"{path}: '{key}' leads to {json.dumps(target)[:40]}; expected the name of a folder")
        try:
            inside = (folder / target).resolve().is_relative_to(folder.resolve())
        except (OSError, ValueError) as error:
            raise WeightsError(f"{path}: '{key}' leads to {target[:40]!r}, which names no folder ({error})") from error
        if not inside:
            raise WeightsError(f"{path}: '{key}' leads to {target}, outside the model folder")
        targets[key] = target
    return Routes(folder, targets)


def find_folder(model: Path | None) -> Path | None:
    """Find the user's model folder: `--model`, $MODEL_DIR, then the platform's; None where there is none.

    A folder that was named is returned whatever it holds; the platform's count only where they hold a model.

    Raises:
        WeightsError: the platform's folder cannot be entered, or holds something that is no model: an upload that was
            packed wrongly must not fall back to starters.
    """
    if model is not None:
        return model
    if named := os.environ.get(MODEL_VARIABLE, "").strip():
        return Path(named)
    for folder in PLATFORM_FOLDERS:
        try:
            if (folder / ROUTES_NAME).is_file() or holds_model(folder):
                return folder
            if folder == PLATFORM_FOLDERS[0]:
                _require_empty(folder)
        except PermissionError as error:
            raise _closed(folder, error) from error
    return None


def join_digests(digests: Sequence[str]) -> str:
    """Hash of an ensemble: sha256 of its members' hexadecimal digests, joined in the order of the folds."""
    return hashlib.sha256("".join(digests).encode("ascii")).hexdigest()


def read_model_json(path: Path, *, as_pairs: bool = False) -> Any:  # noqa: ANN401
    """Read a JSON file of a model folder; with `as_pairs` objects are lists of pairs, so that a doubled key shows.

    Raises:
        WeightsError: it is missing or no JSON, or it or its folder is closed to this user.
    """
    try:
        with path.open("rb") as stream:
            return json.loads(stream.read(JSON_LIMIT), object_pairs_hook=_Pairs if as_pairs else None)
    except FileNotFoundError as error:
        raise WeightsError(f"{path}: no such file; expected a model folder with {CARD_NAME}") from error
    except PermissionError as error:
        if not os.access(path.parent, os.X_OK):
            raise _closed(path.parent, error) from error
        raise WeightsError(f"{path}: cannot be read ({error.strerror}); expected a readable file") from error
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(f"{path}: cannot be read as JSON ({error})") from error


class _Pairs(list[tuple[str, Any]]):
    """A JSON object as it stands in the file."""


def holds_model(path: Path) -> bool:
    """Tell whether a folder claims to be a model: it has a card, or an ensemble's folds, whatever lies in these.

    Raises:
        WeightsError: the folder may not be looked into.
    """
    try:
        return (path / CARD_NAME).is_file() or bool(member_folders(path))
    except PermissionError as error:
        raise _closed(path, error) from error


def starter_folders(path: Path) -> list[Path]:
    """The models of an algorithm's starter folder: itself, or one inside it per task, such as starter/mri.

    Raises:
        WeightsError: the folder may not be looked into.
    """
    if holds_model(path):
        return [path]
    return [path / task for task in Task if holds_model(path / task)]


def member_folders(path: Path) -> list[Path]:
    """List an ensemble's members: the sub-folders fold_0, fold_1, ... by number; numbers may be missing.

    Returns:
        The folders, whatever they hold; none where `path` is a single model (it has a card), no folder or has no folds.

    Raises:
        WeightsError: the folder may not be looked into.
    """
    try:
        if (path / CARD_NAME).is_file() or not path.is_dir():
            return []
        found = {
            int(match[1]): inner
            for inner in path.iterdir()
            if (match := _MEMBER_NAME.fullmatch(inner.name)) and inner.is_dir()
        }
    except PermissionError as error:
        raise _closed(path, error) from error
    except OSError:  # no name of a folder at all, which whoever opens the card says
        return []
    return [found[number] for number in sorted(found)]


def _require_empty(folder: Path) -> None:
    first = min((path.name for path in folder.iterdir()), default=None) if folder.is_dir() else None
    if first is not None:
        raise WeightsError(
            f"{folder}: holds {first}, but neither {CARD_NAME} nor {ROUTES_NAME}; expected them at the tarball's top"
        )


def _closed(folder: Path, error: PermissionError) -> WeightsError:
    """A container runs as its own user, whom a folder of mode 700 keeps out."""
    return WeightsError(
        f"{folder}: cannot be read ({error.strerror}); expected a folder that user id {os.geteuid()} may enter"
    )
