"""Settings of a model that are set for one run: `synthct predict --set KEY=VALUE`."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from algorithms.interface import About
from synthct.errors import UsageError

if TYPE_CHECKING:
    from synthct.weights import ModelFolder

__all__ = ["Overrides"]


@dataclass(frozen=True)
class Overrides:
    """What the user set for this run.

    Attributes:
        about: the algorithm, whose predictor module has the settings' class, `ModelConfig`.
        asked: value in the user's words, by dotted key.
    """

    about: About
    asked: Mapping[str, str]
    _taken: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def parse(cls, about: About, texts: Sequence[str]) -> Overrides:
        """Read `KEY=VALUE` texts.

        Raises:
            UsageError: a text has no `=`, a key is none of the algorithm's options, or stands twice.
        """
        asked: dict[str, str] = {}
        for text in texts:
            key, equals, value = (part.strip() for part in text.partition("="))
            if not equals or not key:
                raise UsageError(f"--set '{text}' is no setting; expected KEY=VALUE")
            if not about.options:
                raise UsageError(f"--set {key}: {about.name} has no settings that can be set for a run")
            if key not in about.options:
                near = difflib.get_close_matches(key, about.options, n=1, cutoff=0.7)
                hope = f"did you mean {near[0]}? " if near else ""
                raise UsageError(f"--set {key} is unknown; {hope}expected one of {', '.join(about.options)}")
            if key in asked:
                raise UsageError(f"--set {key} was given twice ({asked[key]} and {value}); expected it once")
            asked[key] = value
        return cls(about, asked)

    @property
    def notes(self) -> dict[str, Any]:
        """What the manifest should say of them: `settings`, or nothing where none was set."""
        return {"settings": dict(self._taken)} if self._taken else {}

    def apply(self, model: ModelFolder) -> ModelFolder:
        """Return the model folder with these settings in its card.

        What the folder's own card gets wrong is left for the loading to say.

        Raises:
            UsageError: a value is none that the setting takes.
        """
        if not self.asked:
            return model
        schema: type[BaseModel] = importlib.import_module(f"{self.about.module}.predictor").ModelConfig
        try:
            schema.model_validate(model.card.config)
        except ValidationError:
            return model
        config = dict(model.card.config)
        for key, value in self.asked.items():
            config = _with_value(config, key.split("."), value)
        try:
            content = schema.model_validate(config).model_dump(mode="json")
        except ValidationError as error:
            raise UsageError(_words(error, self.asked)) from error
        for key in self.asked:
            self._taken[key] = _value_at(content, key.split("."))
        return replace(model, card=model.card.model_copy(update={"config": content}))


def _words(error: ValidationError, asked: Mapping[str, str]) -> str:
    """Say which setting is wrong; one that goes ill with the rest of the model is told in the model's words."""
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"]))
    told = " ".join(f"{key}={value}" for key, value in asked.items() if key == where or where not in asked)
    message = first["msg"].removeprefix("Value error, ")
    return f"--set {told}: {message[0].lower()}{message[1:]}"


def _with_value(config: Mapping[str, Any], keys: Sequence[str], value: str) -> dict[str, Any]:
    first, *rest = keys
    return {**config, first: _with_value(config.get(first) or {}, rest, value) if rest else value}


def _value_at(config: Mapping[str, Any], keys: Sequence[str]) -> Any:  # noqa: ANN401 - whatever the setting holds
    for key in keys:
        config = config[key]
    return config
