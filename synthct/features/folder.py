"""Extractor folders: `extractor.json` declares network, units and origin; `weights.safetensors` holds the tensors."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from synthct.errors import UsageError, WeightsError
from synthct.features.backbones import ExtractorKind, build_backbone, read_settings, usual_normalisation
from synthct.features.interface import Axis, FeatureExtractor
from synthct.features.normalisation import ExtractorNormalisation, VolumeZScore
from synthct.files import staged_file, write_text
from synthct.intensity import LinearScale, ZScore
from synthct.networks.state import fill_network, own_tensors, require_fit
from synthct.routes import read_model_json
from synthct.weights import file_sha256

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "STARTER",
    "ExtractorCard",
    "extractor_folder",
    "open_extractor",
    "random_extractor",
    "read_extractor_card",
    "save_extractor",
]

STARTER = "starter"
"""What a user types for the starter extractor that comes with SynthCT."""
CARD_NAME, WEIGHTS_NAME = "extractor.json", "weights.safetensors"
_SHA256 = r"^[0-9a-f]{64}$"


class ExtractorCard(BaseModel):
    """extractor.json.

    Attributes:
        kind: which network.
        network: its settings (UNetPlan, NaviAirwaySettings, MedicalNetSettings or ConvNextSettings).
        normalisation: from HU to the network's units.
        layers: maps that a loss compares.
        spacing: distance of voxel centres in mm (z, y, x) that it was trained at, or None where unknown.
        labels: name of each label that it was trained to find.
        flips: axes turned round on the way in; nnU-Net's reorienting readers store the body the other way in y and x.
        source: where the weights come from, in words.
        origin_sha256: of the nnU-Net that they were converted from (`ModelFiles.sha256`), by which it is known as a
            judge; None for weights of other origin.
        trained_on: data, in words.
        random: True for weights that nobody trained.
        starter: True for weights that only show that the software works.
        sha256: of weights.safetensors, in hexadecimal.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    kind: ExtractorKind
    network: dict[str, Any]
    normalisation: ExtractorNormalisation
    layers: tuple[str, ...] = Field(min_length=1)
    spacing: tuple[float, float, float] | None = None
    labels: dict[int, str] = Field(default_factory=dict)
    flips: tuple[Axis, ...] = ()
    source: str = ""
    origin_sha256: str | None = Field(default=None, pattern=_SHA256)
    trained_on: str = ""
    random: bool = False
    starter: bool = False
    sha256: str = Field(pattern=_SHA256)


def extractor_folder(named: Path) -> Path:
    """Return where an extractor lies: the folder named, or for the word `starter` the one that comes with SynthCT.

    An extractor folder of the user's that bears that very name goes first: `./starter` cannot be told from the word.
    """
    if str(named) != STARTER or (named / CARD_NAME).is_file():
        return named
    return Path(__file__).parent / STARTER


def open_extractor(path: Path, *, layers: Sequence[str] | None = None) -> FeatureExtractor:
    """Open an extractor folder and prove its weights.

    Args:
        path: the folder.
        layers: maps to return instead of the card's.

    Returns:
        The frozen extractor, on the CPU, float32.

    Raises:
        WeightsError: a file is missing or damaged, the hash differs, or the weights are not the declared network's.
        UsageError: `layers` names one that the network has not.
    """
    card = read_extractor_card(path)
    tensors = _read_tensors(path / WEIGHTS_NAME, card.sha256)
    try:
        settings = read_settings(card.kind, card.network)
        require_fit(lambda: build_backbone(card.kind, settings).stored, tensors, str(path / WEIGHTS_NAME))
        backbone = build_backbone(card.kind, settings)
        # The card's layers are proved even where others are asked for: whose fault an unknown name is decides the code.
        extractor = _make(backbone, card, f"{card.kind} {path.name}", card.layers)
    except UsageError as error:
        raise WeightsError(f"{path / CARD_NAME}: {error}") from error
    fill_network(backbone.stored, tensors, str(path / WEIGHTS_NAME))
    return extractor if layers is None else _make(backbone, card, extractor.name, layers)


def read_extractor_card(path: Path) -> ExtractorCard:
    """Read the card of an extractor folder; the weights are not looked at.

    Raises:
        WeightsError: it is missing or cannot be read.
    """
    card_path = path / CARD_NAME
    if not card_path.is_file():
        raise WeightsError(
            f"{card_path}: no such file; expected an extractor folder (synthct features convert makes one)"
        )
    try:
        return ExtractorCard.model_validate(read_model_json(card_path))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "content"
        raise WeightsError(f"{card_path}: {where}: {first['msg']}") from error


def save_extractor(path: Path, tensors: Mapping[str, Tensor], **card: Any) -> ExtractorCard:  # noqa: ANN401
    """Write an extractor folder.

    Args:
        path: the folder, made where it is missing.
        tensors: of `backbone.stored`, each by one name (`own_tensors`); stored as they are.
        **card: fields of ExtractorCard, but for sha256.

    Returns:
        The card.

    Raises:
        OutputError: the folder cannot be written to.
        DiskFullError: there is no room.
    """
    content = _pack(tensors)
    with staged_file(path / WEIGHTS_NAME) as staged:
        staged.write_bytes(content)
    written = ExtractorCard(sha256=file_sha256(path / WEIGHTS_NAME), **card)
    write_text(path / CARD_NAME, written.model_dump_json(indent=2) + "\n")
    return written


def random_extractor(
    kind: ExtractorKind,
    seed: int,
    *,
    network: Mapping[str, Any] | None = None,
    normalisation: LinearScale | ZScore | VolumeZScore | None = None,
    layers: Sequence[str] | None = None,
) -> FeatureExtractor:
    """Make an extractor that nobody trained; `random` and its name say so.

    Args:
        kind: which network.
        seed: of the weights; the same seed gives the same ones.
        network: its settings; None takes the kind's usual ones (for nnunet the compact plan of ALGORITHMS 1.3).
        normalisation: from HU; None takes the kind's usual one.
        layers: maps to return; None takes the kind's usual ones.

    Raises:
        UsageError: the kind, a setting or a layer is unknown.
    """
    backbone = build_backbone(kind, read_settings(kind, network), seed=seed)
    digest = hashlib.sha256(_pack(own_tensors(backbone.stored))).hexdigest()
    units = usual_normalisation(kind) if normalisation is None else normalisation
    name = f"{kind} with RANDOM weights (seed {seed})"
    return FeatureExtractor(backbone, units, layers=layers, name=name, sha256=digest, random=True)


def _make(backbone: Any, card: ExtractorCard, name: str, layers: Sequence[str]) -> FeatureExtractor:  # noqa: ANN401
    return FeatureExtractor(
        backbone,
        card.normalisation,
        layers=layers,
        name=f"{name} with RANDOM weights" if card.random and "RANDOM" not in name else name,
        sha256=card.sha256,
        random=card.random,
        starter=card.starter,
        spacing=card.spacing,
        labels=card.labels,
        flips=card.flips,
        origin_sha256=card.origin_sha256,
    )


def _read_tensors(path: Path, sha256: str) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load

    if not path.is_file():
        raise WeightsError(f"{path}: no such file; expected the tensors that {CARD_NAME} declares")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror}); expected a readable file") from error
    if content[8:9] != b"{":  # the header's length, then a JSON object; a renamed .pth has other bytes there
        raise WeightsError(
            f"{path}: is no safetensors file (first bytes {content[:8].hex()}); pickles are never opened"
        )
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise WeightsError(f"{path}: sha256 is {found[:16]}..., {CARD_NAME} declares {sha256[:16]}...")
    try:
        return dict(load(content))
    except (SafetensorError, ValueError) as error:
        raise WeightsError(f"{path}: cannot be read as safetensors ({error})") from error


def _pack(tensors: Mapping[str, Tensor]) -> bytes:
    from safetensors.torch import save

    return bytes(save({name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}))
