"""Model folders: what they declare, and that they are what they declare.

A model folder holds `model.json`, `weights.safetensors` and a card `README.md`. It may instead hold `fold_0`,
`fold_1`, ..., each a model folder: an ensemble, whose members were trained alike on different folds. Or it holds
`routes.json` and one sub-folder per model or ensemble, where a (task, region) pair leads to one of them
(synthct.routes).
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from synthct.anatomy import Region, Task
from synthct.errors import OutputError, WeightsError
from synthct.files import staged_file, write_text
from synthct.routes import CARD_NAME, join_digests, member_folders, read_model_json

if TYPE_CHECKING:
    import torch

__all__ = [
    "ModelCard",
    "ModelFolder",
    "file_sha256",
    "load_tensors",
    "open_model",
    "read_card",
    "save_model",
]

WEIGHTS_NAME = "weights.safetensors"
SAFETENSORS_HEADER_LIMIT = 100 << 20
HALF_LIMIT = 65504.0
"""Largest finite value of fp16; a larger one would silently become infinite."""


class ModelCard(BaseModel):
    """model.json: what a model is for, and how to read its weights.

    Attributes:
        algorithm: name of the algorithm whose predictor reads it.
        tasks: tasks it was trained for.
        regions: region codes it was trained for.
        starter: True for weights that only show that the software works.
        sha256: of weights.safetensors, in hexadecimal; an ensemble's is that of its members' hexadecimal digests,
            joined in the order of the folds.
        trained_on: in words, for the log and the manifest.
        extractors: sha256 of each frozen network whose features the training compared (AFP loss), of stage one too;
            of a converted one also that of the model it was made of.
        random_features: the weights of one of these were random: no result of this model is one of the AFP loss.
        demonstration_only: the model does not beat the yardstick lookup-table. Whoever ships it sets this by hand;
            `synthct info` tells it.
        config: the algorithm's own settings (network, normalisation, patch).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    algorithm: str
    tasks: tuple[Task, ...]
    regions: tuple[Region, ...]
    starter: bool = False
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    trained_on: str = ""
    extractors: tuple[Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")], ...] = ()
    random_features: bool = False
    demonstration_only: bool = False
    config: dict[str, Any] = Field(default_factory=dict)

    def covers(self, task: Task, region: Region | None) -> bool:
        """Tell whether a case lies within what the model was trained for; an unknown region does."""
        return task in self.tasks and (region is None or region in self.regions)


@dataclass(frozen=True)
class ModelFolder:
    """A model folder that was opened and whose weights' hash agrees with its card; an ensemble's has several inside.

    Attributes:
        path: the folder.
        card: of the model; of an ensemble what its members have in common.
        folds: an ensemble's models, by fold; none where the folder is one model.
    """

    path: Path
    card: ModelCard
    folds: tuple[ModelFolder, ...] = ()

    @property
    def members(self) -> tuple[ModelFolder, ...]:
        """The models whose predictions are averaged: an ensemble's, or this one alone."""
        return self.folds or (self,)

    @property
    def weights(self) -> Path:
        """The file with the tensors; an ensemble has none of its own."""
        return self.path / WEIGHTS_NAME

    def require(self, task: Task, region: Region | None, *, force: bool = False) -> None:
        """Refuse a case that the model was not trained for.

        Raises:
            WeightsError: task or region lie outside the card and `force` is not set.
        """
        if force or self.card.covers(task, region):
            return
        raise WeightsError(
            f"{self.path}: this model is for task {_list(self.card.tasks)}, region {_list(self.card.regions)}; the "
            f"case is {task}, {region or 'unknown region'} (synthct predict --force runs it all the same)"
        )


def open_model(path: Path, *, algorithm: str | None = None) -> ModelFolder:
    """Read a model folder, or an ensemble's, and prove its weights.

    Raises:
        WeightsError: a file is missing, the card cannot be read, the hash differs, the weights are no safetensors, the
            card names another algorithm, or an ensemble's members are no models of one kind.
    """
    folds = tuple(_open_own(inner, algorithm) for inner in member_folders(path))
    if folds:
        return ModelFolder(path, _common_card(folds), folds)
    return _open_own(path, algorithm)


def _open_own(path: Path, algorithm: str | None) -> ModelFolder:
    card = _read_own_card(path)
    if algorithm is not None and card.algorithm != algorithm:
        raise WeightsError(f"{path / CARD_NAME}: holds a model of {card.algorithm}; expected one of {algorithm}")
    weights = path / WEIGHTS_NAME
    if not weights.is_file():
        raise WeightsError(f"{weights}: no such file; expected the tensors that {CARD_NAME} declares")
    try:
        _require_safetensors(weights)
        found = file_sha256(weights)
    except OSError as error:
        raise WeightsError(f"{weights}: cannot be read ({error.strerror}); expected a readable file") from error
    if found != card.sha256:
        raise WeightsError(f"{weights}: sha256 is {found[:16]}..., {CARD_NAME} declares {card.sha256[:16]}...")
    return ModelFolder(path, card)


def read_card(path: Path) -> ModelCard:
    """Read the card of a model folder, or what the cards of an ensemble have in common; no weights are looked at.

    Raises:
        WeightsError: a card is missing or cannot be read, or an ensemble's members are no models of one kind.
    """
    folds = [ModelFolder(inner, _read_own_card(inner)) for inner in member_folders(path)]
    return _common_card(folds) if folds else _read_own_card(path)


def _common_card(members: Sequence[ModelFolder]) -> ModelCard:
    """Make an ensemble's card; what members need not agree on is joined, each value once."""
    first, *others = members
    for other in others:
        wanted, offered = _compared(first.card), _compared(other.card)
        for name in wanted | offered:
            value, found = wanted.get(name), offered.get(name)
            if found != value:
                raise WeightsError(
                    f"{other.path}: {name} is {str(found)[:60]}, in {first.path} it is {str(value)[:60]}; expected "
                    "members of one ensemble"
                )
    trained_on = dict.fromkeys(member.card.trained_on for member in members if member.card.trained_on)
    extractors = dict.fromkeys(digest for member in members for digest in member.card.extractors)
    return first.card.model_copy(
        update={
            "sha256": join_digests([member.card.sha256 for member in members]),
            "trained_on": "; ".join(trained_on),
            "extractors": tuple(extractors),
            "random_features": any(member.card.random_features for member in members),
            "demonstration_only": any(member.card.demonstration_only for member in members),
        }
    )


def _compared(card: ModelCard) -> dict[str, Any]:
    """What the members of an ensemble must agree on, by name."""
    content = card.model_dump(mode="json", include={"algorithm", "tasks", "regions", "starter"})
    return content | {f"config.{name}": value for name, value in card.config.items()}


def _read_own_card(path: Path) -> ModelCard:
    card_path = path / CARD_NAME
    try:
        return ModelCard.model_validate(read_model_json(card_path))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "content"
        raise WeightsError(f"{card_path}: {where}: {first['msg']}") from error


def load_tensors(folder: ModelFolder) -> dict[str, torch.Tensor]:
    """Load one model's tensors as float32 on the CPU; no code in a file is ever run.

    Raises:
        WeightsError: they cannot be read, or the folder is an ensemble.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if folder.folds:
        raise WeightsError(
            f"{folder.path}: holds an ensemble of {len(folder.folds)} models, which {folder.card.algorithm} cannot "
            f"read at once; expected one model, such as {folder.folds[0].path}"
        )
    try:
        tensors = load_file(str(folder.weights))
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{folder.weights}: cannot be read as safetensors ({error})") from error
    return {
        name: tensor.to(torch.float32) if tensor.is_floating_point() else tensor for name, tensor in tensors.items()
    }


def save_model(path: Path, tensors: dict[str, torch.Tensor], *, half: bool, **card: Any) -> ModelFolder:  # noqa: ANN401
    """Write weights.safetensors and model.json.

    Args:
        path: model folder, made where it is missing.
        tensors: by name.
        half: store floating-point tensors as fp16, but for those with values beyond its range.
        **card: fields of ModelCard, but for sha256.

    Raises:
        OutputError: the folder cannot be written to.
        DiskFullError: there is no room.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    with torch.no_grad():
        stored = {
            name: (tensor.half() if half and _fits_half(tensor) else tensor).contiguous().cpu()
            for name, tensor in tensors.items()
        }
    with staged_file(path / WEIGHTS_NAME) as staged:
        staged.touch()
        mode = staged.stat().st_mode
        try:
            save_file(stored, str(staged))
        except SafetensorError as error:
            number = re.search(r"os error ([0-9]+)", str(error))
            if number is None:
                raise OutputError(f"{path / WEIGHTS_NAME}: cannot be written ({error})") from error
            raise OSError(int(number[1]), os.strerror(int(number[1]))) from error  # a full disk, say
        staged.chmod(mode)  # safetensors lets only the owner read it; a container runs as another user
    model_card = ModelCard(sha256=file_sha256(path / WEIGHTS_NAME), **card)
    write_text(path / CARD_NAME, model_card.model_dump_json(indent=2) + "\n")
    return ModelFolder(path, model_card)


def file_sha256(path: Path) -> str:
    """Hash a file, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _fits_half(tensor: torch.Tensor) -> bool:
    return tensor.is_floating_point() and (tensor.numel() == 0 or float(tensor.abs().max()) <= HALF_LIMIT)


def _require_safetensors(path: Path) -> None:
    """Refuse a pickle or a zip that was renamed, by safetensors' first bytes: header length, then an opening brace."""
    with path.open("rb") as stream:
        head = stream.read(9)
    length = int.from_bytes(head[:8], "little")
    if len(head) < 9 or head[8:] != b"{" or length > min(SAFETENSORS_HEADER_LIMIT, path.stat().st_size):
        raise WeightsError(f"{path}: is no safetensors file (first bytes {head[:8].hex()}); pickles are never opened")


def _list(values: tuple[Task, ...] | tuple[Region, ...]) -> str:
    return ", ".join(str(value) for value in values)
