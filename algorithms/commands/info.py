"""`synthct info`: what is installed and with which weights; without a name it imports no torch."""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from algorithms.interface import About, all_algorithms, find_algorithm
from synthct.cli.console import tell
from synthct.errors import WeightsError
from synthct.routes import (
    CARD_NAME,
    MODEL_VARIABLE,
    PLATFORM_FOLDERS,
    ROUTES_NAME,
    holds_model,
    join_digests,
    member_folders,
    starter_folders,
)

__all__ = ["info"]

NVIDIA_FOLDER = Path("/proc/driver/nvidia/gpus")


def info(
    name: Annotated[str | None, typer.Argument(help="One algorithm, in detail.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """List the algorithms, their weights and the devices; with NAME, one algorithm's size and patch.

    An algorithm's regions are those that its method was made for. It can be trained for any, and then serves it; each
    model's own stand beside it.
    """
    if name is None:
        content: dict[str, Any] = {
            "algorithms": [
                {
                    "name": about.name,
                    "summary": about.summary,
                    "tasks": [str(task) for task in about.tasks],
                    "regions": [str(region) for region in about.regions],
                    "models": _models(about),
                }
                for about in all_algorithms()
            ],
            "devices": _devices(),
        }
    else:
        content = _detail(find_algorithm(name))
    tell(json.dumps(content, indent=2) if as_json else _text(content))


def _detail(about: About) -> dict[str, Any]:
    from algorithms.presets import read_preset

    describe = importlib.import_module(f"{about.module}.plan").describe
    sizes = {preset: describe(read_preset(about, preset)) for preset in about.presets}
    first = sizes[about.presets[0]]
    parameters = {"full": first[0], **{preset: size[0] for preset, size in sizes.items()}}
    return {
        "name": about.name,
        "summary": about.summary,
        "source": about.source,
        "tasks": [str(task) for task in about.tasks],
        "regions": [str(region) for region in about.regions],
        "parameters": parameters,
        "patch": first[1],
        "models": _models(about),
    }


def _models(about: About) -> list[dict[str, Any]]:
    """Model folders in reach without --model: the user's and the starter; read, not proven."""
    models = []
    starters = [(folder, "starter") for folder in starter_folders(about.starter)]
    for path, source in [*((folder, "user") for folder in _user_folders()), *starters]:
        if not holds_model(path):
            continue
        folds = member_folders(path)
        cards = [_read_card(folder / CARD_NAME) for folder in folds or [path]]
        if all(card.get("algorithm") == about.name for card in cards):
            digests = [str(card.get("sha256")) for card in cards]
            models.append(
                {
                    "path": str(path),
                    "source": source,
                    "sha256": join_digests(digests) if folds else cards[0].get("sha256"),
                    "tasks": cards[0].get("tasks"),
                    "regions": cards[0].get("regions"),
                    "demonstration_only": any(card.get("demonstration_only") is True for card in cards),
                    **({"folds": len(folds)} if folds else {}),
                }
            )
    return models


def _read_card(path: Path) -> dict[str, Any]:
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise WeightsError(f"{path}: no such file; expected every fold of the ensemble to be trained") from error
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path}: cannot be read as JSON ({error})") from error
    return card if isinstance(card, dict) else {}


def _user_folders() -> Iterator[Path]:
    """$MODEL_DIR, else the platform's folders; behind routes.json, each model's own."""
    named = os.environ.get(MODEL_VARIABLE, "").strip()
    for folder in [Path(named)] if named else PLATFORM_FOLDERS:
        yield folder
        if (folder / ROUTES_NAME).is_file():
            yield from sorted(path for path in folder.iterdir() if path.is_dir() and holds_model(path))


def _devices() -> list[str]:
    """Devices, told without torch: the CPU, and NVIDIA cards that the driver lists."""
    devices = ["cpu"]
    for card in sorted(NVIDIA_FOLDER.glob("*/information")):
        model = next((line for line in card.read_text().splitlines() if line.startswith("Model:")), "Model: unknown")
        devices.append(f"cuda ({model.partition(':')[2].strip()})")
    return devices


def _text(content: dict[str, Any]) -> str:
    """The same for people."""
    lines = []
    for entry in content.get("algorithms", [content]):
        lines.append(f"{entry['name']}: {entry['summary']}")
        lines.append(f"  tasks {', '.join(entry['tasks'])}; regions {', '.join(entry['regions'])}")
        for preset, count in entry.get("parameters", {}).items():
            lines.append(f"  parameters ({preset}): {count:,}")
        if entry.get("patch"):
            lines.append(f"  patch (z, y, x): {' x '.join(str(edge) for edge in entry['patch'])}")
        for model in entry["models"]:
            scope = f"{', '.join(model['tasks'] or [])}; {', '.join(model['regions'] or [])}"
            warned = "; demonstration only" if model["demonstration_only"] else ""
            digest = f"sha256 {str(model['sha256'])[:12]}"
            lines.append(f"  {model['source']} weights: {model['path']} ({scope}; {digest}{warned})")
        if not entry["models"]:
            lines.append("  no weights in reach (--model DIR)")
    if "devices" in content:
        lines.append("devices: " + ", ".join(content["devices"]))
    return "\n".join(lines)
