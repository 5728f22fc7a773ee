"""A run's manifest and a case's row as a reader wants them: in words, the model of this case alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

__all__ = ["case_of", "manifest_rows", "shown", "structure_table"]

_SCORES_OF_STRUCTURE = ("dice", "hd95", "nsd", "reference_ml", "prediction_ml", "status")


def case_of(manifest: Mapping[str, Any], case: str) -> Mapping[str, Any]:
    """What the manifest says of one case; empty where it says nothing."""
    cases = manifest.get("cases")
    rows = cases if isinstance(cases, list) else []
    return next((row for row in rows if isinstance(row, dict) and row.get("case") == case), {})


def manifest_rows(manifest: Mapping[str, Any], described: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Name and value of what is told: the run, the model that made this case, the case.

    Args:
        manifest: of `synthct predict`, or whatever a participant called so.
        described: its row of the case.
    """
    rows = [(_words(key), shown(value)) for key, value in manifest.items() if not isinstance(value, dict | list)]
    models, used = manifest.get("models"), described.get("model")
    for name, card in models.items() if isinstance(models, dict) else ():
        if isinstance(card, dict) and used in (None, name):
            rows.append(("model", PurePath(str(name)).name))
            rows += [(f"model: {_words(key)}", shown(value)) for key, value in card.items()]
    rows += [(f"case: {_words(key)}", shown(value)) for key, value in described.items() if key not in ("case", "model")]
    return rows


def structure_table(row: Mapping[str, Any], judge: str) -> dict[str, Any] | None:
    """The structures of one judge.

    Args:
        row: of metrics.json.
        judge: whose; where it judged nothing, the first one's.

    Returns:
        `judge` and `rows`, one per structure in the file's order; None where the row holds none.
    """
    judged = row.get("structures")
    known = (
        {name: found for name, found in judged.items() if isinstance(found, dict)} if isinstance(judged, dict) else {}
    )
    if not known:
        return None
    chosen = judge if judge in known else next(iter(known))
    rows = [
        {"name": _words(name), **{key: scores.get(key) for key in _SCORES_OF_STRUCTURE}}
        for name, scores in known[chosen].items()
        if isinstance(scores, dict)
    ]
    return {"judge": chosen, "rows": rows} if rows else None


def shown(value: object) -> str:
    """A JSON value for readers."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)


def _words(name: object) -> str:
    return str(name).replace("_", " ")
