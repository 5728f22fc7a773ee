"""Presets: one YAML file per preset in an algorithm's configs/ folder, or a file that the user names."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

import yaml

from algorithms.interface import About
from synthct.errors import UsageError

__all__ = ["read_preset"]


def read_preset(about: About, name: str | None = None, file: Path | None = None) -> dict[str, Any]:
    """Read a preset by name, or a settings file; the algorithm's first preset where neither is given.

    Raises:
        UsageError: the preset is unknown, or the file cannot be read as YAML settings.
    """
    chosen = name or about.presets[0]
    if file is None and chosen not in about.presets:
        near = difflib.get_close_matches(chosen, about.presets, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise UsageError(f"preset '{chosen}' is unknown to {about.name}; expected {', '.join(about.presets)}{hint}")
    path = file or about.folder / "configs" / f"{chosen}.yaml"
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        if file is None:
            return {}
        raise UsageError(f"{path}: no such file; expected a YAML file of settings") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"{path}: cannot be read as YAML ({error})") from error
    if settings is None:
        return {}
    if not isinstance(settings, dict):
        raise UsageError(f"{path}: holds a {type(settings).__name__}; expected settings as key: value")
    return settings
