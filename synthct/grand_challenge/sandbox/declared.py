"""Which cases a model is for, by what its folder declares; no weight is read."""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from synthct.anatomy import Region, Task, parse_region
from synthct.errors import InputError

__all__ = ["choose_task_and_region"]

JSON_LIMIT = 1 << 20


def choose_task_and_region(task: Task | None, region: Region | None, model: Path | None) -> tuple[Task, Region]:
    """Return what the user says, then what the model declares, else MR of an abdomen.

    Args:
        task: the user's, or None.
        region: the user's, or None.
        model: folder or tarball with model.json, folds or routes.json; other content declares nothing.

    Raises:
        InputError: the model cannot be read.
    """
    for declared_task, declared_region in _declared(model):
        if task in (None, declared_task) and region in (None, declared_region):
            return declared_task, declared_region
    return task or Task.MRI, region or Region.ABDOMEN


def _declared(model: Path | None) -> Iterator[tuple[Task, Region]]:
    """The pairs that a model folder's routes.json or model.json names; what is not ours names none."""
    if model is None:
        return
    routes = _read_json(model, "routes.json")
    card = _read_json(model, "model.json") or _read_json(model, _first_fold(model))
    pairs = [key.split("/", 1) for key in routes if "/" in key]
    tasks, regions = card.get("tasks"), card.get("regions")
    if isinstance(tasks, list) and isinstance(regions, list):
        pairs += [[task, region] for task in tasks for region in regions]
    for task, text in pairs:
        region = parse_region(str(text))
        if task in set(Task) and region is not None:
            yield Task(task), region


def _first_fold(model: Path) -> str:
    """The card of an ensemble's first fold: all its folds declare the same."""
    if model.is_dir():
        names = [f"{path.parent.name}/{path.name}" for path in model.glob("fold_*/model.json")]
    else:
        try:
            with tarfile.open(model, "r:*") as archive:
                names = [name.removeprefix("./") for name in archive.getnames()]
        except (OSError, EOFError, tarfile.TarError):
            names = []  # the caller has read it before and said what is wrong
    return min((name for name in names if re.fullmatch(r"fold_[0-9]+/model\.json", name)), default="model.json")


def _read_json(model: Path, name: str) -> dict[str, Any]:
    try:
        if model.is_dir():
            content = (model / name).read_bytes()[:JSON_LIMIT]
        else:
            with tarfile.open(model, "r:*") as archive:
                member = next((entry for entry in archive if entry.name.removeprefix("./") == name), None)
                stream = archive.extractfile(member) if member is not None else None
                content = stream.read(JSON_LIMIT) if stream is not None else b"{}"
        parsed = json.loads(content)
    except FileNotFoundError:
        return {}
    except (OSError, EOFError, ValueError, RecursionError, tarfile.TarError) as error:
        raise InputError(
            f"{model}: {name} in it cannot be read ({error}); expected a model folder or its tarball"
        ) from error
    return parsed if isinstance(parsed, dict) else {}
