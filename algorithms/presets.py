"""Presets: one YAML file per preset in an algorithm's configs/ folder, or a file that the user names."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from algorithms.interface import About
from synthct.errors import UsageError

__all__ = ["parse_settings", "read_preset"]

Settings = TypeVar("Settings", bound=BaseModel)


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


def parse_settings(schema: type[Settings], settings: dict[str, Any]) -> Settings:
    """Turn settings into a recipe's own class.

    Raises:
        UsageError: a key is unknown, or a value does not fit; the message names the first.
    """
    try:
        return schema.model_validate(settings)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        if first["type"] == "extra_forbidden":
            known = _fields(schema, first["loc"][:-1])
            near = difflib.get_close_matches(str(first["loc"][-1]), known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"expected some of {', '.join(known)}"
            raise UsageError(f"setting '{where}' is unknown; {hint}") from error
        text = first["msg"].removeprefix("Value error, ")
        raise UsageError(f"setting '{where}': {text}" if where else f"settings: {text}") from error


def _fields(schema: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    """Names of the settings at a place within nested settings."""
    for part in path:
        inner = schema.model_fields[str(part)].annotation
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return []
        schema = inner
    return list(schema.model_fields)
