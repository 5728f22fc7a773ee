"""What predictions and ground truth say of themselves: simulated, starter weights, registration, extractors."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from evaluation.references import ScoringCase
from synthct.dataset import find_note, finite_number, read_note
from synthct.grand_challenge.ground_truth import NO_REGISTRATION, SEGMENTED_BY, UNKNOWN_REGISTRATION
from synthct.weights import file_sha256

__all__ = ["SEGMENTED_BY", "read_notes", "read_registration"]

REFERENCES = ("ct", "ct_def")
MANIFEST_LIMIT = 16 << 20
"""Bytes of a manifest that are read; it is a participant's file, and it is copied into metrics.json."""
NESTING_LIMIT = 50
"""Levels of lists and objects in a manifest; predict writes five, and a writer of JSON fails at some hundreds."""

Note = Mapping[str, Any]


def read_notes(predictions: Path, cases: Sequence[ScoringCase], *, ground_truth: Path | None = None) -> dict[str, Any]:
    """What both sides say of themselves.

    Args:
        predictions: the folder that was handed in; its manifest.json is read, where there is one.
        cases: references or matched cases; the notes (dataset.json) above their CTs are read.
        ground_truth: the folder that the cases come from; its note is read where the CTs are links to another place.

    Returns:
        `simulated`: any of the data are. `starter`: starter weights were used; None where no manifest tells it of
        these very files. `registration`: of the references onto their images, in words, `unknown` where nobody says.
        `reference`: `ct` or `ct_def`; None where neither a note nor a file name tells. `extractors`: sorted sha256s of
        the feature extractors that the models were trained with; `random_features`: one had random weights.
        `demonstration_only`: a model does not beat the yardstick, by its own card.
        `dataset`: the note that says simulated, else the first one. `prediction`: the manifest; empty, with a warning,
        where it cannot be used. All of it is fit for JSON.
    """
    found = dict.fromkeys(note for case in cases if (note := find_note(case.ct)) is not None)
    if not found and ground_truth is not None:
        found = dict.fromkeys(note for note in (find_note(ground_truth / "ct"),) if note is not None)
    datasets = [read_note(note) for note in found]
    dataset = next((note for note in datasets if note.get("simulated")), datasets[0] if datasets else {})
    path = predictions / "manifest.json"
    manifest = _read_manifest(path) if path.is_file() else {}
    models = manifest.get("models")
    cards = [card for card in models.values() if isinstance(card, dict)] if isinstance(models, dict) else []
    starter = any(card.get("starter") for card in cards) if cards else None
    if starter is False and not _describes(manifest, cases):
        warnings.warn(f"{path}: does not describe these predictions", stacklevel=2)
        starter = None
    return {
        "simulated": bool(dataset.get("simulated")),
        "starter": starter,
        "registration": _in_words(_registration(note) for note in datasets) or UNKNOWN_REGISTRATION,
        "reference": _in_words(_references(datasets, cases)),
        "extractors": _extractors(cards),
        "random_features": any(card.get("random_features") is True for card in cards),
        "demonstration_only": any(card.get("demonstration_only") is True for card in cards),
        "dataset": dataset,
        "prediction": manifest,
    }


def read_registration(folder: Path) -> str:
    """Say how the references of a ground-truth folder or data set root were registered, as its note tells it.

    Returns:
        The note's `registration`; `none` where it only says simulated; else `unknown`.
    """
    return _registration(read_note(find_note(folder / "ct")))


def _registration(note: Note) -> str:
    told = note.get("registration")
    if isinstance(told, str) and told.strip():
        return " ".join(told.split())
    return NO_REGISTRATION if note.get("simulated") else UNKNOWN_REGISTRATION


def _references(notes: Iterable[Note], cases: Iterable[ScoringCase]) -> list[str]:
    """What the notes say, else what the files are called: ct and ct_def in a data set, <id> in a ground truth."""
    told = [note["reference"] for note in notes if note.get("reference") in REFERENCES]
    return told or [stem for case in cases if (stem := case.ct.name.casefold().partition(".")[0]) in REFERENCES]


def _in_words(values: Iterable[str]) -> str | None:
    return "; ".join(sorted(set(values))) or None


def _extractors(cards: Iterable[Note]) -> list[str]:
    lists = [listed for card in cards if isinstance(listed := card.get("extractors"), list)]
    return sorted({sha256 for listed in lists for sha256 in listed if isinstance(sha256, str)})


def _describes(manifest: Note, cases: Sequence[ScoringCase]) -> bool:
    """Tell whether a manifest lists every prediction with the hash that it has; never of one that cannot be read."""
    rows = manifest.get("cases")
    described = [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    listed = {str(row.get("case")): row.get("sct_sha256") for row in described}
    try:
        return all(
            case.prediction is not None and listed.get(str(case.id)) == file_sha256(case.prediction) for case in cases
        )
    except OSError:  # scoring this case will say so
        return False


def _read_manifest(path: Path) -> dict[str, Any]:
    """Read a participant's manifest; one that cannot be used is as good as none, and never ends the run."""
    try:
        if not path.resolve().is_relative_to(path.parent.resolve()):
            raise ValueError("a link that leads out of the folder; copy the file there")
        with path.open("rb") as stream:
            raw = stream.read(MANIFEST_LIMIT + 1)
        if len(raw) > MANIFEST_LIMIT:
            raise ValueError(f"larger than {MANIFEST_LIMIT >> 20} MiB")
        content = json.loads(raw.decode("utf-8"), parse_float=finite_number, parse_constant=finite_number)
        if _levels(content) > NESTING_LIMIT:
            raise RecursionError
    except RecursionError:
        reason = f"nested more than {NESTING_LIMIT} levels deep"
    except (OSError, ValueError) as error:
        reason = str(error)
    else:
        return content if isinstance(content, dict) else {}
    warnings.warn(f"{path}: is not read ({reason}); expected the manifest of synthct predict, in JSON", stacklevel=3)
    return {}


def _levels(content: object) -> int:
    """Count how deep lists and objects are nested, no further than the limit, and without recursion."""
    level: list[object] = [content]
    found = 0
    while found <= NESTING_LIMIT:
        below = [value for value in level if isinstance(value, (dict, list))]
        if not below:
            break
        level = [inner for value in below for inner in (value.values() if isinstance(value, dict) else value)]
        found += 1
    return found
