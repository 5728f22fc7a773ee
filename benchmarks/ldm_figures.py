"""What benchmarks/ldm.py measures, and of what: samples, reconstructions, predictions from another subject's MR."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from torch import nn

from algorithms.intensities import air_units
from algorithms.interface import Advance, Prediction
from algorithms.ldm_brain.codec import reconstruct
from algorithms.ldm_brain.conditioning import in_precision
from algorithms.ldm_brain.layout import Layout, WorkingBox, working_spacing
from algorithms.ldm_brain.model import ModelConfig
from algorithms.ldm_brain.networks import build_autoencoder, build_networks
from algorithms.ldm_brain.predictor import load
from algorithms.ldm_brain.sampling import SamplingConfig
from algorithms.ldm_brain.settings import StageNote
from algorithms.loading import filled_networks, model_settings
from algorithms.pairs import resampled_case
from evaluation.metrics import masked_mae, structure_agreement
from synthct.dataset import Case
from synthct.errors import InputError
from synthct.inference.engine import Engine
from synthct.inference.finish import finish_hu
from synthct.resample import resample_like
from synthct.volume import Volume
from synthct.weights import ModelFolder

Figures = dict[str, float | None]
HuArray = npt.NDArray[np.int16]

OUTER_MM = 20.0
"""Depth below the mask's border to which a voxel counts as outer."""
BONE_HU = (150, 300)
"""From these values on a voxel is bone: evaluation's tissue judge's limit, and one clear of muscle and vessel."""


def figures(case: Case, hu: npt.NDArray[Any]) -> Figures:
    """Compare HU with a case's CT, inside the mask.

    Args:
        case: with its CT.
        hu: on the case's grid, (z, y, x).

    Returns:
        `mae`, and of the mask's `outer` 20 mm and its `centre`, in HU; None where there is no such voxel. For each
        limit of BONE_HU `dice` and `nsd` (2 mm), None where the CT has no such bone, 0 where the prediction alone has
        none.

    Raises:
        InputError: the case has no CT.
    """
    reference, mask = _reference(case).voxels, case.mask.voxels > 0
    depth = ndimage.distance_transform_edt(np.pad(mask, 1), sampling=case.image.spacing_zyx)[1:-1, 1:-1, 1:-1]
    outer = mask & (depth <= OUTER_MM)
    found: Figures = {}
    for name, where in (("mae", mask), ("mae_outer", outer), ("mae_centre", mask & ~outer)):
        found[name] = masked_mae(reference, hu, where)
    for limit in BONE_HU:
        bones = [((values >= limit) & mask).astype(np.uint8) for values in (reference, hu)]
        agreement = structure_agreement(bones[0], bones[1], [1], case.image.spacing_zyx, policy="strict")
        found |= {f"dice_{limit}": agreement.dice, f"nsd_{limit}": agreement.nsd}
    return found


def mean_figures(rows: list[Figures]) -> Figures:
    """Mean over cases of each figure, over those that have it; None where none has."""
    names = rows[0] if rows else {}
    known = {name: [value for row in rows if (value := row[name]) is not None] for name in names}
    return {name: float(np.mean(values)) if values else None for name, values in known.items()}


def with_sampling(model: ModelFolder, **settings: object) -> ModelFolder:
    """The same model with other settings of `sampling` in its card; the files stay as they are."""
    config = dict(model.card.config)
    config["sampling"] = {**config.get("sampling", {}), **settings}
    return replace(model, card=model.card.model_copy(update={"config": config}))


def with_layout(model: ModelFolder, layout: Layout) -> ModelFolder:
    """The same model, or the same stage of one, with another layout in its card."""
    if "stage" not in model.card.config:
        return with_sampling(model, layout=layout)
    return replace(model, card=model.card.model_copy(update={"config": {**model.card.config, "layout": layout}}))


def sampled(model: ModelFolder, case: Case, engine: Engine, *, advance: Advance | None = None) -> tuple[HuArray, float]:
    """Predict one case; return HU (z, y, x) and the seconds that the prediction alone took."""
    predictor = load(model, engine)
    began = time.perf_counter()
    prediction: Prediction = predictor.predict(case, advance=advance)
    if engine.device.type == "cuda":
        torch.cuda.synchronize(engine.device)
    return np.asarray(prediction.volume.voxels), time.perf_counter() - began


def mean_hu(drawn: list[HuArray], mask: npt.NDArray[Any]) -> HuArray:
    """Mean of predictions, finished as one."""
    return finish_hu(np.mean(np.stack(drawn), axis=0, dtype=np.float32), mask)


def reconstructed(model: ModelFolder, case: Case, engine: Engine) -> dict[str, HuArray]:
    """Bring a CT through the autoencoder on the grid that a prediction is made on, and back.

    Args:
        model: a whole one, or stage one alone; of an ensemble the first fold's autoencoder is taken.
        case: with its CT.
        engine: whose device and precision count.

    Returns:
        HU (z, y, x) on the case's grid: `autoencoder`, encoded and decoded; `grid`, only resampled there and back.

    Raises:
        InputError: the case has no CT.
    """
    _reference(case)
    config = settings_of(model)
    layout = layout_of(config)
    autoencoder = _autoencoder(model, config).eval().to(engine.device)
    working = resampled_case(case, working_spacing(case.mask, layout, config.spacing, config.patch))
    geometry = working.image.geometry
    box = WorkingBox.about(case.mask, geometry, layout=layout, multiple=config.networks.multiple, patch=config.patch)
    air = np.float32(air_units(config.ct))
    units = config.ct.apply(_reference(working).voxels)
    units[working.mask.voxels == 0] = air
    inside = box.cut(units - air) + air  # beyond the image there is air, which is not 0
    volume = torch.from_numpy(inside).to(engine.device)
    tile = SamplingConfig(layout=layout).tile(box.shape, patch=config.patch, multiple=config.networks.multiple)

    def there_and_back() -> torch.Tensor:
        return reconstruct(autoencoder, volume, tile)

    z, y, x = inside.shape
    back = in_precision(there_and_back, engine.device, engine.precision)[:z, :y, :x].cpu().numpy()
    made = {}
    for name, values in (("autoencoder", back), ("grid", inside)):
        hu = resample_like(Volume(config.ct.invert(values), box.geometry), case.image.geometry)
        made[name] = finish_hu(hu.voxels, case.mask.voxels)
    return made


def with_mr_of(case: Case, other: Case) -> Case:
    """The case with another subject's MR, moved so that the centres of the two masks' boxes meet.

    Beyond the other image its outermost voxels go on. Mask and CT stay the case's own.
    """
    shift = _centre(case.mask) - _centre(other.mask)
    origin = tuple(float(value) for value in np.array(other.image.geometry.origin) + shift)
    geometry = replace(other.image.geometry, origin=(origin[0], origin[1], origin[2]))
    moved = resample_like(Volume(other.image.voxels, geometry), case.image.geometry, order=1)
    return replace(case, image=case.image.with_voxels(moved.voxels))


def forget_peak(device: torch.device) -> None:
    """Begin to measure peak memory anew."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        Path("/proc/self/clear_refs").write_text("5")


def peak_megabytes(device: torch.device) -> float:
    """Most memory since `forget_peak`: tensors on a card, else all that the process held."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / (1 << 20)
    status = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return int(next(line for line in status if line.startswith("VmHWM")).split()[1]) / 1024


def settings_of(model: ModelFolder) -> ModelConfig | StageNote:
    """Settings of a whole model, or of one stage's folder.

    Raises:
        WeightsError: they are neither's.
    """
    if "stage" in model.card.config:
        return model_settings(model, StageNote)
    return model_settings(model, ModelConfig)


def layout_of(config: ModelConfig | StageNote) -> Layout:
    """How a case is laid out for the networks."""
    return config.layout if isinstance(config, StageNote) else config.sampling.layout


def _autoencoder(model: ModelFolder, config: ModelConfig | StageNote) -> Any:  # noqa: ANN401  # MONAI is imported late
    """The trained autoencoder out of a whole model or out of stage one's folder."""

    def build() -> nn.ModuleDict:
        if isinstance(config, StageNote):
            return nn.ModuleDict({"autoencoder": build_autoencoder(config.networks.autoencoder)})
        return nn.ModuleDict(dict(build_networks(config.networks).named_children()))

    return filled_networks(model, build)[0]["autoencoder"]


def _reference(case: Case) -> Volume:
    if case.reference is None:
        raise InputError(f"{case.id}: has no CT; expected one to compare with")
    return case.reference


def _centre(mask: Volume) -> npt.NDArray[np.float64]:
    """Position in mm (x, y, z) of the middle of a mask's box."""
    places = [np.flatnonzero((mask.voxels > 0).any(axis=tuple({0, 1, 2} - {axis}))) for axis in (2, 1, 0)]
    middle = np.array([(found[0] + found[-1]) / 2 for found in places]) * mask.geometry.spacing
    direction = np.array(mask.geometry.direction).reshape(3, 3)
    return np.asarray(np.array(mask.geometry.origin) + direction @ middle)
