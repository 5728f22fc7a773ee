"""From weights that a user has to an extractor folder: an nnU-Net model, or the tensors of another network."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from synthct.errors import UsageError, WeightsError
from synthct.features.backbones import build_backbone, read_settings, usual_normalisation
from synthct.features.convnext_names import read_convnext_tensors
from synthct.features.folder import ExtractorCard, save_extractor
from synthct.features.interface import Backbone, FeatureExtractor
from synthct.features.normalisation import VolumeZScore
from synthct.intensity import LinearScale, ZScore
from synthct.networks.state import fill_network, own_tensors
from synthct.nnunet.checkpoint import load_restricted
from synthct.nnunet.model import NnunetModel, read_nnunet_model
from synthct.nnunet.model_files import find_model_files, model_labels
from synthct.nnunet.orientation import FLIPS, Orientation, flips_of
from synthct.nnunet.state import checkpoint_tensors

if TYPE_CHECKING:
    from torch import Tensor

    from synthct.nnunet.architecture import Upsampling

__all__ = ["Orientation", "convert_nnunet", "convert_tensors"]

HEADS = ("conv_seg.", "fc.")
"""Parts of MedicalNet's published networks that give no map."""


def convert_nnunet(
    source: Path,
    target: Path,
    *,
    fold: str | None = None,
    configuration: str | None = None,
    layers: Sequence[str] | None = None,
    normalisation: ZScore | None = None,
    upsampling: Upsampling | None = None,
    orientation: Orientation | None = None,
    trained_on: str = "",
) -> ExtractorCard:
    """Convert an nnU-Net v2 segmentation model; no code in its files is run.

    Args:
        source: model folder or archive (see `find_model_files`).
        target: extractor folder.
        fold: of the checkpoint; None takes the lowest.
        configuration: of plans.json; None takes the checkpoint's.
        layers: maps; None takes all encoder stages but the two deepest, and all decoder stages.
        normalisation: of the CT; None takes plans.json's, where its scheme is CTNormalization.
        upsampling: of the decoder; None tells it from the tensors' shapes.
        orientation: of the training arrays; None takes ras for nnU-Net's reorienting reader, else lps.
        trained_on: data, in words.

    Raises:
        WeightsError: a file is missing, damaged, hostile, or describes a network that we do not build.
        UsageError: the normalisation is not known and not given, or an option does not fit the model.
    """
    files = find_model_files(source, fold=fold)
    model = read_nnunet_model(files, configuration=configuration, upsampling=upsampling)
    if model.plan.input_channels != 1:
        raise WeightsError(
            f"{files.dataset_path}: the network wants {model.plan.input_channels} images; expected 1, the CT"
        )
    chosen = normalisation or model.configuration.ct_normalisation()
    if chosen is None:
        raise UsageError(
            f"{files.plans_path}: normalises by {model.configuration.schemes[0]}, which has no fixed CT statistics; "
            "expected --mean, --std, --low and --high"
        )
    network = model.plan.model_dump(mode="json")
    backbone = build_backbone("nnunet", read_settings("nnunet", network))
    fill_network(backbone.stored, model.tensors, files.checkpoint_path)
    card = {
        "kind": "nnunet",
        "network": network,
        "spacing": model.configuration.spacing,
        "labels": _labels(model),
        "flips": flips_of(files, orientation),
        "origin_sha256": files.sha256,
        "source": f"nnU-Net v2 model {files.plans.get('dataset_name', 'without a name')}, {model.trainer}, "
        f"{model.configuration.name}, {files.checkpoint.parent.name} (sha256 {files.sha256[:12]})",
        "trained_on": trained_on,
    }
    return _save(target, backbone, chosen, layers, card)


def convert_tensors(
    kind: Literal["navi-airway", "medicalnet", "convnext"],
    source: Path,
    target: Path,
    *,
    settings: Mapping[str, Any] | None = None,
    layers: Sequence[str] | None = None,
    normalisation: ZScore | None = None,
    orientation: Orientation = "lps",
    trained_on: str = "",
) -> ExtractorCard:
    """Convert a .pth (tensors only; no code in it is run) or .safetensors file.

    Args:
        kind: which network.
        source: the file; the tensors may stand in it as they are, or under `state_dict` or `model`.
        target: extractor folder.
        settings: of the network; None takes the kind's usual ones. A ConvNeXt's depths and widths are the file's.
        layers: maps; None takes all.
        normalisation: of the CT; None takes the kind's own, and for ConvNeXt there is no other.
        orientation: of the training arrays.
        trained_on: data, in words.

    Raises:
        WeightsError: the file is missing, damaged, hostile, or not of that network.
        UsageError: a setting or layer is unknown, or the normalisation is given for a ConvNeXt.
    """
    if kind == "convnext" and normalisation is not None:
        raise UsageError("--mean, --std, --low and --high do not fit --kind convnext; expected its own fixed units")
    checked = read_settings(kind, settings)
    tensors = _read_tensors(source)
    if kind == "convnext":
        found, tensors = read_convnext_tensors(tensors, str(source))
        shape = found.model_dump(include={"depths", "widths"})
        checked = read_settings(kind, {**shape, **(settings or {})})
    backbone = build_backbone(kind, checked)
    for name in [name for name in tensors if name.startswith(HEADS)]:
        del tensors[name]
    for name, counter in own_tensors(backbone.stored).items():
        if name.endswith("num_batches_tracked"):
            tensors.setdefault(name, counter)  # files of the first torch releases have none; only training reads it
    fill_network(backbone.stored, tensors, str(source))
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    card = {
        "kind": kind,
        "network": checked.model_dump(mode="json"),
        "flips": FLIPS[orientation],
        "source": f"{source.name} (sha256 {digest[:12]})",
        "trained_on": trained_on,
    }
    return _save(target, backbone, normalisation or usual_normalisation(kind), layers, card)


def _save(
    target: Path,
    backbone: Backbone,
    normalisation: LinearScale | ZScore | VolumeZScore,
    layers: Sequence[str] | None,
    card: dict[str, Any],
) -> ExtractorCard:
    # Made once here, so that a wrong layer is refused before anything is written.
    extractor = FeatureExtractor(backbone, normalisation, layers=layers, name="new", sha256="", random=False)
    tensors = own_tensors(backbone.stored)
    return save_extractor(target, tensors, normalisation=normalisation, layers=extractor.layers, **card)


def _labels(model: NnunetModel) -> dict[int, str]:
    """Names of the labels; networks of regions have none that are numbers, and features need none."""
    try:
        labels = dict(model_labels(model.files))
    except WeightsError:
        return {}
    return labels if len(labels) + 1 == model.plan.output_channels else {}


def _read_tensors(source: Path) -> dict[str, Tensor]:
    if not source.is_file():
        raise WeightsError(f"{source}: no such file; expected a .pth or .safetensors file")
    if source.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return checkpoint_tensors(load_file(str(source)), str(source))
        except (SafetensorError, OSError) as error:
            raise WeightsError(f"{source}: cannot be read as safetensors ({error})") from error
    try:
        with source.open("rb") as stream:
            content = load_restricted(stream, str(source))
    except OSError as error:
        raise WeightsError(f"{source}: cannot be read ({error.strerror}); expected a readable file") from error
    for wrapper in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    return checkpoint_tensors(content, str(source))
