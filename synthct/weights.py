"""Model folders: where weights come from, what they declare, and that they are what they declare. Never silent.

A model folder holds `model.json`, `weights.safetensors` and a card `README.md`. It may instead hold `routes.json` and
one sub-folder per model, where a (task, region) pair leads to one of them.
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from synthct.anatomy import Region, Task
from synthct.errors import WeightsError
from synthct.files import staged_file, write_text

if TYPE_CHECKING:
    import torch

__all__ = [
    "ModelCard",
    "ModelFolder",
    "StarterWarning",
    "file_sha256",
    "find_model",
    "load_tensors",
    "open_model",
    "save_model",
    "starter_allowed",
]

WEIGHTS_NAME = "weights.safetensors"
CARD_NAME = "model.json"
ROUTES_NAME = "routes.json"
STARTER_VARIABLE = "SYNTHCT_STARTER"
MODEL_VARIABLE = "MODEL_DIR"
PLATFORM_FOLDERS = (Path("/opt/ml/model"), Path("/opt/algorithm/resources"))
"""Where the platform unpacks a model tarball, and where the SynthRAD template kept its models (CONTRACT 2.4)."""
JSON_LIMIT = 1 << 20
SAFETENSORS_HEADER_LIMIT = 100 << 20
HALF_LIMIT = 65504.0
"""Largest finite value of fp16; a larger one would silently become infinite."""


class StarterWarning(UserWarning):
    """Starter weights are in use: they show that the software works, not how good the method is."""


class ModelCard(BaseModel):
    """model.json: what a model is for, and how to read its weights.

    Attributes:
        algorithm: name of the algorithm whose predictor reads it.
        tasks: tasks it was trained for.
        regions: region codes it was trained for.
        starter: True for weights that only show that the software works.
        sha256: of weights.safetensors, in hexadecimal.
        trained_on: in words, for the log and the manifest.
        extractors: sha256 of each frozen network whose features the training compared (AFP loss).
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
    config: dict[str, Any] = Field(default_factory=dict)

    def covers(self, task: Task, region: Region | None) -> bool:
        """Tell whether a case lies within what the model was trained for; an unknown region does."""
        return task in self.tasks and (region is None or region in self.regions)


@dataclass(frozen=True)
class ModelFolder:
    """A model folder that was opened and whose weights' hash agrees with its card."""

    path: Path
    card: ModelCard

    @property
    def weights(self) -> Path:
        """The file with the tensors."""
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
            f"case is {task}, {region or 'unknown region'} (--force runs it all the same)"
        )


def find_model(
    model: Path | None,
    starter: Path,
    *,
    use_starter: bool,
    task: Task | None = None,
    region: Region | None = None,
    algorithm: str,
) -> ModelFolder:
    """Find the weights for a case: `--model`, $MODEL_DIR, the platform's folders; starters only when asked for.

    SYNTHCT_STARTER=1, as containers set it, asks for starters too, but only where no other weights are found: an
    uploaded model outranks it.

    Args:
        model: folder that the user named, or None.
        starter: the algorithm's own starter folder.
        use_starter: the user asked for starter weights by --starter.
        task: of the case, for routes.json.
        region: of the case, for routes.json.
        algorithm: name that the card must carry.

    Raises:
        WeightsError: nothing was found, or what was found is damaged or belongs to another algorithm.
    """
    named = model or _environment_folder()
    candidates = [named] if named is not None else _platform_candidates()
    from_starter = model is None and (use_starter or (not candidates and starter_allowed()))
    if from_starter:
        if not (starter / CARD_NAME).is_file():
            raise WeightsError(f"{starter}: {algorithm} has no starter weights; expected --model DIR")
        folder = open_model(starter, algorithm=algorithm)
    else:
        if not candidates:
            raise WeightsError(
                f"no weights for {algorithm}: no --model DIR was given and {PLATFORM_FOLDERS[0]} holds none (--starter "
                f"or {STARTER_VARIABLE}=1 runs the starter weights)"
            )
        folder = open_model(_follow_routes(candidates[0], task, region), algorithm=algorithm)
    if from_starter or folder.card.starter:  # a starter that was copied to a --model folder is not silent either
        warnings.warn(
            f"{algorithm} runs on STARTER weights ({folder.card.trained_on or folder.path}); they show that the "
            "software works, not how good the method is",
            StarterWarning,
            stacklevel=2,
        )
    return folder


def open_model(path: Path, *, algorithm: str | None = None) -> ModelFolder:
    """Read a model folder and prove its weights.

    Raises:
        WeightsError: a file is missing, the card cannot be read, the hash differs, the weights are no safetensors, or
            the card names another algorithm.
    """
    card_path = path / CARD_NAME
    try:
        card = ModelCard.model_validate(_read_json(card_path))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "content"
        raise WeightsError(f"{card_path}: {where}: {first['msg']}") from error
    if algorithm is not None and card.algorithm != algorithm:
        raise WeightsError(f"{card_path}: holds a model of {card.algorithm}; expected one of {algorithm}")
    weights = path / WEIGHTS_NAME
    if not weights.is_file():
        raise WeightsError(f"{weights}: no such file; expected the tensors that {CARD_NAME} declares")
    _require_safetensors(weights)
    found = file_sha256(weights)
    if found != card.sha256:
        raise WeightsError(f"{weights}: sha256 is {found[:16]}..., {CARD_NAME} declares {card.sha256[:16]}...")
    return ModelFolder(path, card)


def load_tensors(folder: ModelFolder) -> dict[str, torch.Tensor]:
    """Load the tensors as float32 on the CPU; no code in a file is ever run."""
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

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
    """
    import torch
    from safetensors.torch import save_file

    with torch.no_grad():
        stored = {
            name: (tensor.half() if half and _fits_half(tensor) else tensor).contiguous().cpu()
            for name, tensor in tensors.items()
        }
    with staged_file(path / WEIGHTS_NAME) as staged:
        save_file(stored, str(staged))
    model_card = ModelCard(sha256=file_sha256(path / WEIGHTS_NAME), **card)
    write_text(path / CARD_NAME, model_card.model_dump_json(indent=2) + "\n")
    return ModelFolder(path, model_card)


def file_sha256(path: Path) -> str:
    """Hash a file, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def starter_allowed() -> bool:
    """Tell whether the environment asks for starter weights, as containers do (SYNTHCT_STARTER=1)."""
    return os.environ.get(STARTER_VARIABLE, "").strip() == "1"


def _fits_half(tensor: torch.Tensor) -> bool:
    return tensor.is_floating_point() and (tensor.numel() == 0 or float(tensor.abs().max()) <= HALF_LIMIT)


def _environment_folder() -> Path | None:
    return Path(value) if (value := os.environ.get(MODEL_VARIABLE, "").strip()) else None


def _platform_candidates() -> list[Path]:
    """The platform's folders that hold a model; an upload that was packed wrongly must not fall back to starters."""
    upload = PLATFORM_FOLDERS[0]
    if upload.is_dir() and any(upload.iterdir()) and not _holds_model(upload):
        first = sorted(path.name for path in upload.iterdir())[0]
        raise WeightsError(
            f"{upload}: holds {first}, but neither {CARD_NAME} nor {ROUTES_NAME}; expected them at the tarball's top"
        )
    return [path for path in PLATFORM_FOLDERS if _holds_model(path)]


def _holds_model(path: Path) -> bool:
    return (path / CARD_NAME).is_file() or (path / ROUTES_NAME).is_file()


def _follow_routes(path: Path, task: Task | None, region: Region | None) -> Path:
    """Lead a (task, region) pair to its model; a folder without routes.json is the model itself."""
    routes_path = path / ROUTES_NAME
    if not routes_path.is_file():
        return path
    routes = _read_json(routes_path)
    key = f"{task or '*'}/{region.value if region else '*'}"
    target = routes.get(key, routes.get(f"{task or '*'}/*")) if isinstance(routes, dict) else None
    if target is None and region is None and isinstance(routes, dict):
        target = next((value for name, value in routes.items() if name.startswith(f"{task}/")), None)
        if target is not None:
            warnings.warn(f"{routes_path}: the region is unknown; falling back to {target}", stacklevel=3)
    if not isinstance(target, str):
        raise WeightsError(f"{routes_path}: leads nowhere for '{key}'; expected an entry 'mri/AB' that names a folder")
    resolved = (path / target).resolve()
    if not resolved.is_relative_to(path.resolve()):
        raise WeightsError(f"{routes_path}: '{key}' leads to {target}, outside the model folder")
    return path / target


def _require_safetensors(path: Path) -> None:
    """Refuse a pickle or a zip that was renamed, by safetensors' first bytes: header length, then an opening brace."""
    with path.open("rb") as stream:
        head = stream.read(9)
    length = int.from_bytes(head[:8], "little")
    if len(head) < 9 or head[8:] != b"{" or length > min(SAFETENSORS_HEADER_LIMIT, path.stat().st_size):
        raise WeightsError(f"{path}: is no safetensors file (first bytes {head[:8].hex()}); pickles are never opened")


def _read_json(path: Path) -> Any:  # noqa: ANN401
    try:
        with path.open("rb") as stream:
            return json.loads(stream.read(JSON_LIMIT))
    except FileNotFoundError as error:
        raise WeightsError(f"{path}: no such file; expected a model folder with {CARD_NAME}") from error
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(f"{path}: cannot be read as JSON ({error})") from error


def _list(values: tuple[Task, ...] | tuple[Region, ...]) -> str:
    return ", ".join(str(value) for value in values)
