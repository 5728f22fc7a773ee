"""Trained regression nets of nnU-Net's kind (nnUNet_translation, nnsyn) as model folders of ours."""

from __future__ import annotations

import glob
import json
import warnings
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from pydantic import ValidationError

from algorithms.nnresunet_afp.predictor import ModelConfig
from synthct.anatomy import Region, Task
from synthct.errors import UsageError, WeightsError
from synthct.inference.settings import SweepSettings
from synthct.intensity import CaseZScore, ZScore
from synthct.networks.state import fill_network, own_tensors
from synthct.networks.unet import build_unet
from synthct.nnunet.architecture import Upsampling
from synthct.nnunet.configuration import Configuration
from synthct.nnunet.model import NnunetModel, read_nnunet_model
from synthct.nnunet.model_files import JSON_LIMIT, ModelFiles, find_folds, find_model_files
from synthct.nnunet.orientation import Orientation, flips_of
from synthct.weights import ModelFolder, save_model

__all__ = ["import_nnunet"]

ALGORITHM = "nnresunet-afp"
STATISTICS_NAME, STATISTICS_KEY = "ct_statistics.json", "ct_statistics"
STEP = 0.3
"""Step of the windows in prediction, by paper 002; plans.json does not say."""
OPTIONS = "--ct-mean, --ct-std, --ct-low and --ct-high"


def import_nnunet(
    source: Path,
    target: Path,
    *,
    task: Task,
    regions: tuple[Region, ...],
    ct: ZScore | None = None,
    folds: tuple[str, ...] | None = None,
    configuration: str | None = None,
    upsampling: Upsampling | None = None,
    orientation: Orientation | None = None,
    trained_on: str = "",
) -> tuple[ModelFolder, ...]:
    """Write a model folder, or fold_K folders inside it where there are several folds.

    The network's output is taken for z-scores of the CT, as both projects train it; weights are stored in float32.

    Args:
        source: model folder or archive (see `find_model_files`).
        target: model folder.
        task: that the network was trained for.
        regions: the same.
        ct: statistics of the training CTs; None looks for `ct_statistics.json` beside plans.json (mean, std, low,
            high) and for the same under `ct_statistics` in plans.json.
        folds: their numbers, or `all` alone; None takes every numbered fold, or fold_all where there is none.
        configuration: of plans.json; None takes the checkpoint's.
        upsampling: of the decoder; None tells it from the tensors' shapes.
        orientation: of the training arrays; None takes ras for nnU-Net's reorienting reader, else lps.
        trained_on: data, in words.

    Returns:
        The model of each fold.

    Raises:
        UsageError: the CT statistics are not known, or an option does not fit the model.
        WeightsError: a file is missing, damaged, hostile, or describes a network that we do not build; or the network
            does not give one image for one image.
        OutputError: the folder cannot be written to.
        DiskFullError: there is no room.
    """
    chosen = _choose_folds(source, folds)
    # All are read before the first is written, so that a damaged fold leaves no ensemble that lacks it.
    for fold in chosen[1:]:
        _read(source, fold, configuration, upsampling)
    models = []
    for fold in chosen:
        model = _read(source, fold, configuration, upsampling)
        statistics = ct or _stored_statistics(model.files)
        if statistics is None:
            raise UsageError(
                f"{model.files.plans_path}: does not say how the CTs were normalised (its statistics are those of the "
                f"input); expected {OPTIONS}, or {STATISTICS_NAME} beside it"
            )
        config = _config(model, statistics, orientation)
        names = {"fold": model.files.checkpoint.parent.name, "set": model.files.plans.get("dataset_name", "no name")}
        origin = f"imported from nnU-Net model {names['set']}, {model.trainer}, {model.configuration.name}"
        models.append(
            save_model(
                target / f"fold_{fold}" if len(chosen) > 1 else target,
                _tensors(model),
                half=False,
                algorithm=ALGORITHM,
                tasks=(task,),
                regions=regions,
                trained_on=f"{trained_on + ', ' if trained_on else ''}{origin}, {names['fold']}",
                config=config.model_dump(mode="json"),
            )
        )
    return tuple(models)


def _choose_folds(source: Path, asked: tuple[str, ...] | None) -> tuple[str, ...]:
    present = find_folds(source)
    if asked is None:
        numbered = tuple(fold for fold in present if fold.isdecimal())
        return numbered or present[:1] or ("0",)
    for fold in asked:
        if fold not in present:
            raise UsageError(f"--folds {fold}: {source} has {', '.join(present) or 'no folds'}; expected one of them")
    if len(set(asked)) != len(asked) or (len(asked) > 1 and not all(fold.isdecimal() for fold in asked)):
        raise UsageError(f"--folds {','.join(asked)}: expected numbers, each once, or all by itself")
    return asked


def _read(source: Path, fold: str, configuration: str | None, upsampling: Upsampling | None) -> NnunetModel:
    files = find_model_files(source, fold=fold)
    model = read_nnunet_model(files, configuration=configuration, upsampling=upsampling)
    channels = (model.plan.input_channels, model.plan.output_channels)
    if channels != (1, 1):
        raise WeightsError(
            f"{files.checkpoint_path}: its network makes {channels[1]} channels of {channels[0]}; expected 1 of 1, a "
            "regression net"
        )
    return model


def _config(model: NnunetModel, ct: ZScore, orientation: Orientation | None) -> ModelConfig:
    configuration = model.configuration
    try:
        return ModelConfig(
            network=model.plan,
            sweep=SweepSettings(patch=configuration.patch, step=STEP, merging="mean"),
            spacing=configuration.spacing,
            image=_image_normalisation(configuration),
            ct=ct,
            flips=flips_of(model.files, orientation),
        )
    except ValidationError as error:
        raise WeightsError(f"{configuration.where}: {configuration.name}: {error.errors()[0]['msg']}") from error


def _image_normalisation(configuration: Configuration) -> ZScore | CaseZScore:
    """Take over what nnU-Net does to the input: z-score of the case (MR), or of the data set after clipping (CBCT)."""
    scheme = configuration.schemes[0]
    fixed = configuration.ct_normalisation()
    if fixed is not None:
        return fixed
    if scheme != "ZScoreNormalization":
        raise configuration.refusal("normalization_schemes", scheme, "ZScoreNormalization or CTNormalization")
    if configuration.masks_normalisation:
        warnings.warn(
            f"{configuration.where}: nnU-Net took mean and deviation inside a mask (use_mask_for_norm); here they are "
            "those of the box of its non-zero voxels, and the sCT may differ",
            stacklevel=2,
        )
    return CaseZScore()


def _stored_statistics(files: ModelFiles) -> ZScore | None:
    """Find the CT statistics that a user or a fork put beside the plans, or into them."""
    name = PurePosixPath(files.checkpoint.parent.parent / STATISTICS_NAME)
    if files.tree.find((glob.escape(str(name)),)):
        where = files.tree.describe(name)
        try:
            with files.tree.open(name) as stream:
                content: Any = json.loads(stream.read(JSON_LIMIT))
        except (ValueError, RecursionError) as error:
            raise WeightsError(f"{where}: cannot be read as JSON ({error})") from error
    elif STATISTICS_KEY in files.plans:
        where, content = f"{files.plans_path}: {STATISTICS_KEY}", files.plans[STATISTICS_KEY]
    else:
        return None
    wanted = {"mean", "std", "low", "high"}
    if not isinstance(content, dict) or content.keys() != wanted or None in content.values():
        shown = ", ".join(map(str, content)) if isinstance(content, dict) else type(content).__name__
        raise WeightsError(f"{where}: holds {shown[:80] or 'nothing'}; expected mean, std, low and high in HU")
    try:
        return ZScore.model_validate(content)
    except ValidationError as error:
        raise WeightsError(f"{where}: {error.errors()[0]['msg']}; expected mean, std, low and high in HU") from error


def _tensors(model: NnunetModel) -> dict[str, torch.Tensor]:
    """The network's tensors, each by one name, as training writes them too."""
    network = build_unet(model.plan)
    fill_network(network, model.tensors, model.files.checkpoint_path)
    return {name: tensor.clone() for name, tensor in own_tensors(network).items()}
