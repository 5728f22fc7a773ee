"""Presets: one YAML file per preset in an algorithm's configs/ folder, or a file that the user names."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ValidationError

from algorithms.interface import About
from synthct.errors import UsageError

__all__ = ["parse_settings", "preset_file", "read_preset"]

Settings = TypeVar("Settings", bound=BaseModel)


def read_preset(about: About, name: str | None = None, file: Path | None = None) -> dict[str, Any]:
    """Read a preset by name, or a settings file; the algorithm's first preset where neither is given.

    Raises:
        UsageError: the preset is unknown, or the file cannot be read as YAML settings.
    """
    path = file or preset_file(about, name)
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


def preset_file(about: About, name: str | None = None) -> Path:
    """Return where a preset's YAML lies, the first preset's where no name is given; an algorithm may need no file.

    Raises:
        UsageError: the preset is unknown; the message names the nearest.
    """
    chosen = name or about.presets[0]
    if chosen not in about.presets:
        near = difflib.get_close_matches(chosen, about.presets, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise UsageError(f"preset '{chosen}' is unknown to {about.name}; expected {', '.join(about.presets)}{hint}")
    return about.folder / "configs" / f"{chosen}.yaml"


def parse_settings(schema: type[Settings], settings: dict[str, Any]) -> Settings:
    """Turn settings into a recipe's own class.

    Raises:
        UsageError: a key is unknown, or a value does not fit; the message names the first, and for a key where it
            belongs or the nearest known one.
    """
    try:
        return schema.model_validate(settings)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        if first["type"] == "extra_forbidden":
            raise UsageError(f"setting '{where}' is unknown; {_hint(schema, first['loc'])}") from error
        text = first["msg"].removeprefix("Value error, ")
        raise UsageError(f"setting '{where}': {text}" if where else f"settings: {text}") from error


def _hint(schema: type[BaseModel], path: tuple[int | str, ...]) -> str:
    name = str(path[-1])
    elsewhere = [place for place in _places(schema) if place.split(".")[-1] == name]
    if elsewhere:
        return f"did you mean {' or '.join(elsewhere)}?"
    inside: list[type[BaseModel]] = [schema]
    for part in path[:-1]:
        inside = _within(inside, str(part))
    known = list(dict.fromkeys(field for model in inside for field in model.model_fields))
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]}?" if near else f"expected some of {', '.join(known)}"


def _places(schema: type[BaseModel], above: str = "") -> Iterator[str]:
    """Dotted names of all settings, those within settings included."""
    for name, declared in schema.model_fields.items():
        yield f"{above}{name}"
        for inner in _models(declared.annotation)[:1]:  # of several kinds the usual one
            yield from _places(inner, f"{above}{name}.")


def _within(models: list[type[BaseModel]], part: str) -> list[type[BaseModel]]:
    """Settings classes one step down a path: those of a field, or the one of several that `kind` names."""
    named = [model for model in models if "kind" in model.model_fields and model.model_fields["kind"].default == part]
    fields = [model.model_fields[part] for model in models if part in model.model_fields]
    return named or [model for field in fields for model in _models(field.annotation)]


def _models(annotation: Any) -> list[type[BaseModel]]:  # noqa: ANN401
    """The settings classes that a field may hold; several where its `kind` chooses."""
    candidates = (annotation, *get_args(annotation))
    return [each for each in candidates if isinstance(each, type) and issubclass(each, BaseModel)]
