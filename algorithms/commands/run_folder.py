"""RUN_DIR of `synthct train`: what may be trained into one that is not empty, and what is noted beside a run."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from algorithms.interface import About
from algorithms.presets import parse_settings, read_preset
from synthct.dataset import CaseFiles
from synthct.errors import UsageError, WeightsError
from synthct.files import staged_file, write_text
from synthct.routes import CARD_NAME, member_folders

if TYPE_CHECKING:
    from synthct.training.folds import Splits

__all__ = ["CHECKPOINT", "CONFIG", "SPLITS", "checkpoints", "note_run", "require_room", "require_unseen"]

CHECKPOINT = "checkpoint.pt"
CONFIG = "config.yaml"
SPLITS = "splits.json"
RUN_NOTE = "run.json"


def require_room(run_dir: Path, about: About, settings: BaseModel, plan: Splits | None) -> None:
    """Refuse a call that does not go with what was trained in RUN_DIR before; nothing is written.

    A folder is one model or an ensemble of folds, and the folds of one ensemble share settings and splits, which
    stand in RUN_DIR once. Settings that change no weight (intervals, length) may differ.

    Args:
        run_dir: folder of the run, or of all its folds.
        about: the algorithm.
        settings: of this call, as the recipe takes them.
        plan: folds of this call; None where it trains no fold.

    Raises:
        UsageError: RUN_DIR holds a model and the call is for a fold, or the reverse, or its folds are others.
        WeightsError: what lies there was trained with other settings.
    """
    members = [folder for folder in member_folders(run_dir) if _result(folder, about) is not None]
    whole = _result(run_dir, about)
    if plan is None and members:
        raise UsageError(f"{members[0]}: a fold was trained here; expected --fold, or another RUN_DIR for all cases")
    if plan is not None and whole is not None:
        raise UsageError(f"{whole}: a model of all cases lies here; expected another RUN_DIR for --fold")
    trained = [folder for folder in (run_dir, *members) if checkpoints(folder, about)]
    if not trained:
        return
    if (run_dir / CONFIG).exists():
        begun = {path.parent.name for folder in trained for path in checkpoints(folder, about)}
        _require_settings(run_dir / CONFIG, about, settings, later=[name for name in about.stages if name not in begun])
    if plan is not None and (run_dir / SPLITS).exists() and type(plan).read(run_dir / SPLITS).folds != plan.folds:
        raise UsageError(
            f"{run_dir / SPLITS}: {trained[0].name} was trained by these folds, --splits names others; expected the "
            "same, or another RUN_DIR"
        )


def require_unseen(init: Path, plan: Splits, folds: Sequence[int], cases: Sequence[CaseFiles]) -> None:
    """Refuse to start a fold from weights that were trained on the cases that it holds out.

    Args:
        init: model folder to start from: an ensemble, one of its folds, or one model, of whose cases nothing is known.
        plan: folds of this call.
        folds: those that it trains.
        cases: of the data set.

    Raises:
        UsageError: a held-out case was trained on; the message names it.
    """
    known = [files.id for files in cases]
    for number in folds:
        own = int(init.name.removeprefix("fold_")) if re.fullmatch("fold_[0-9]+", init.name) else number
        path = next((folder / SPLITS for folder in (init, init.parent) if (folder / SPLITS).exists()), None)
        if path is None:
            return
        seen, _ = type(plan).read(path).fold(own)
        leaked = sorted(set(plan.fold(number, known)[1]) & set(seen))
        if leaked:
            raise UsageError(
                f"{path}: fold {own} was trained on {leaked[0]}, which fold {number} of this call holds out; expected "
                f"the same folds (--splits {path})"
            )


def checkpoints(folder: Path, about: About) -> list[Path]:
    """Checkpoints that lie in the folder of a run, or of a fold: one, or one for each stage that was begun."""
    places = [folder / stage for stage in about.stages] or [folder]
    return [place / CHECKPOINT for place in places if (place / CHECKPOINT).exists()]


def _result(folder: Path, about: About) -> Path | None:
    """What training has left in a folder so far."""
    card = folder / CARD_NAME
    return next((path for path in (*checkpoints(folder, about), card) if path.exists()), None)


def _require_settings(saved: Path, about: About, settings: BaseModel, later: Sequence[str]) -> None:
    """Refuse settings that differ from the saved ones, but for those of stages that come later."""
    try:
        before = parse_settings(type(settings), read_preset(about, file=saved))
    except UsageError as error:
        raise WeightsError(f"{saved}: is no longer what {about.name} can go on with ({error})") from error
    told, wanted = (dict(_binding(content.model_dump(mode="json"))) for content in (before, settings))
    for name in told | wanted:
        if told.get(name) != wanted.get(name) and name.split(".")[0] not in later:
            raise WeightsError(
                f"{saved}: was trained with {name} {str(told.get(name))[:60]}, this call has "
                f"{str(wanted.get(name))[:60]}; expected the same settings (--config {saved}), or another RUN_DIR"
            )


def _binding(content: dict[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted names and values of the settings that change weights."""
    from synthct.training.checkpoint import FREE_SETTINGS

    for name, value in content.items():
        if isinstance(value, dict):
            yield from _binding(value, f"{above}{name}.")
        elif not (above.endswith("loop.") and name in FREE_SETTINGS):
            yield f"{above}{name}", value


def note_run(
    run_dir: Path, source: Path | None, preset: str | None, plan: Splits | None, cases: Sequence[CaseFiles], name: str
) -> None:
    """Save beside the run what it is: the settings file unchanged, the folds, the call, the cases.

    Each file is replaced whole: another fold may be trained into the same RUN_DIR at this moment.

    Args:
        run_dir: is made where it is missing.
        source: settings file; None, or one that is missing, where the algorithm needs none.
        preset: its name; None where the user gave a file.
        plan: folds, or None.
        cases: of the data set.
        name: of the algorithm.

    Raises:
        OutputError: RUN_DIR cannot be written to.
        DiskFullError: there is no room.
    """
    target = run_dir / CONFIG
    if source is not None and source.exists() and not (target.exists() and target.samefile(source)):
        content = source.read_bytes()
        with staged_file(target) as staged:
            staged.write_bytes(content)
    if plan is not None:
        plan.write(run_dir / SPLITS)
    note: dict[str, Any] = {
        "synthct": version("synthct"),
        "torch": version("torch"),
        "algorithm": name,
        "preset": preset,
        "arguments": sys.argv[1:],
        "earlier_calls": _earlier_calls(run_dir / RUN_NOTE),
        "cases": [files.id for files in cases],
    }
    write_text(run_dir / RUN_NOTE, json.dumps(note, indent=2) + "\n")


def _earlier_calls(path: Path) -> list[Any]:
    """Arguments of the calls before this one, oldest first; none where the note is not ours."""
    try:
        note = json.loads(path.read_text(encoding="utf-8"))
        return [*note.get("earlier_calls", []), note["arguments"]]
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return []
