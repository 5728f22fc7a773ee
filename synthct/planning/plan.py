"""The plan of a network: spacing, patch, batch, topology and normalisations, as one YAML file to edit by hand."""

from __future__ import annotations

import difflib
import math
import textwrap
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from synthct.errors import InputError, UsageError
from synthct.files import write_text
from synthct.intensity import CaseZScore, ZScore
from synthct.networks.unet import UNetPlan
from synthct.planning.fingerprint import Bounds, Fingerprint
from synthct.planning.fitting import Fit, Room, fit_fixed, fit_patch, fit_topology
from synthct.planning.memory import REFERENCE_BATCH, feature_map_limit
from synthct.planning.topology import Topology, median_shape, target_spacing

__all__ = ["Plan", "make_plan"]

LEAST_BATCH = 2
"""Patches of one step at least, whatever the memory (ALGORITHMS 6)."""

LARGEST_SHARE = 0.05
"""Of the data set's voxels in one step, at most: nnU-Net's bound against learning cases by heart."""

_FILE_LIMIT = 1 << 20

_Positive = Annotated[float, Field(gt=0)]
_Edge = Annotated[int, Field(gt=0)]


class Plan(BaseModel):
    """All that preprocessing, training and prediction share. Triples are z, y, x.

    Attributes:
        spacing: mm, of the network's grid.
        patch: edges of a training patch and of a window, voxels; a multiple of `network.multiple`.
        batch: patches of one step.
        network: the U-Net.
        ct: HU to the network's unit; its inverse is exact, so it is saved with the weights.
        image: MR (each case by itself) or CBCT (statistics of the data set) to the network's unit.
        cases: number of cases that the plan was made from; None for a plan by hand.
        gpu_memory_gb: that the plan was made for; None for a plan by hand.
        note: where the plan comes from, in words.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    spacing: tuple[_Positive, _Positive, _Positive]
    patch: tuple[_Edge, _Edge, _Edge]
    batch: int = Field(gt=0)
    network: UNetPlan
    ct: ZScore
    image: Annotated[ZScore | CaseZScore, Field(discriminator="kind")]
    cases: int | None = Field(default=None, gt=0)
    gpu_memory_gb: float | None = Field(default=None, gt=0)
    note: str = ""

    @model_validator(mode="after")
    def _require_multiple(self) -> Self:
        self.network.require_multiple(self.patch)
        return self

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a plan.

        Raises:
            InputError: the file cannot be read as YAML, a key is unknown (the message names the nearest), or a value
                does not fit.
        """
        try:
            with path.open("rb") as stream:
                content = yaml.safe_load(stream.read(_FILE_LIMIT).decode("utf-8"))
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror}); expected a plan (synthct plan)") from error
        except (UnicodeDecodeError, yaml.YAMLError, ValueError, RecursionError) as error:
            raise InputError(f"{path}: cannot be read as YAML ({error}); expected a plan (synthct plan)") from error
        if not isinstance(content, dict):
            raise InputError(f"{path}: holds a {type(content).__name__}; expected a plan as key: value (synthct plan)")
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            raise InputError(f"{path}: {_first_problem(error)}") from error

    def write(self, path: Path) -> Path:
        """Write the plan as YAML, with comments that say what may be edited by hand.

        Raises:
            OutputError: the file cannot be written.
        """
        content = self.model_dump(mode="json")
        comments = {**_COMMENTS, "patch": _COMMENTS["patch"].format(*self.network.multiple)}
        blocks = [_HEAD]
        for key, value in content.items():
            if value is not None:
                comment = "".join(f"# {line}\n" for line in comments[key].splitlines())
                blocks.append(comment + _yaml(key, value))
        return write_text(path, "\n".join(blocks))


def make_plan(
    fingerprint: Fingerprint,
    *,
    gpu_memory_gb: float = 8.0,
    base_features: int = 32,
    max_features: int = 320,
    kind: Literal["plain", "residual", "hybrid"] = "plain",
    encoder_blocks: int = 2,
    decoder_blocks: int = 2,
    upsampling: Literal["trilinear", "transposed"] = "trilinear",
    bounds: Bounds = "fixed",
    spacing: tuple[float, float, float] | None = None,
    patch: tuple[int, int, int] | None = None,
    network: UNetPlan | None = None,
) -> Plan:
    """Plan by nnU-Net's rules (ALGORITHMS 6).

    The patch starts as a cube in mm, cut to the median case, and is shortened along its relatively longest axis until
    the feature maps fit. Memory that is left over then goes into the batch. `upsampling` changes no figure: nnU-Net
    counts every upsampling as a transposed convolution (see `feature_map_voxels`).

    Args:
        fingerprint: of the data set.
        gpu_memory_gb: memory that training may take, in nnU-Net's measure.
        base_features: channels of the first stage; doubled from stage to stage.
        max_features: most channels of a stage.
        kind: of the network.
        encoder_blocks: of each encoder stage.
        decoder_blocks: of each decoder stage.
        upsampling: of the network.
        bounds: that CT and CBCT are clipped to; MR never is.
        spacing: mm, in place of the rule's.
        patch: in place of the rule's; the memory then decides on the batch alone, which is 2 even where that is more
            than fits.
        network: in place of the rule's and of all that says how it is built.

    Raises:
        UsageError: no patch fits into the memory, the median case is too small to be pooled, a patch that is told is
            no multiple of the strides, or bounds, spacing or memory cannot be meant.
    """
    if not (math.isfinite(gpu_memory_gb) and gpu_memory_gb > 0):
        raise UsageError(f"GPU memory of {gpu_memory_gb:g} GB cannot be planned for; expected a number above 0")
    if spacing is not None and not all(math.isfinite(edge) and edge > 0 for edge in spacing):
        raise UsageError(f"spacing {_by(spacing)} mm (z, y, x) cannot be planned for; expected numbers above 0")
    if patch is not None and min(patch) < 1:
        raise UsageError(f"patch {_by(patch)} (z, y, x) cannot be planned for; expected edges above 0")
    if spacing is None:
        spacing = target_spacing(fingerprint.spacings, fingerprint.shapes)
    median = median_shape(fingerprint.spacings, fingerprint.shapes, spacing)

    def network_of(topology: Topology) -> UNetPlan:
        return UNetPlan(
            kind=kind,
            features=tuple(min(max_features, base_features << stage) for stage in range(len(topology.strides))),
            kernels=topology.kernels,
            strides=topology.strides,
            encoder_blocks=encoder_blocks,
            decoder_blocks=decoder_blocks,
            upsampling=upsampling,
        )

    room = Room(spacing, median, gpu_memory_gb)
    if patch is not None:
        fit = fit_fixed(patch, network, room, network_of)
    else:
        fit = fit_topology(room, network_of) if network is None else fit_patch(room, network)
    regions = ", ".join(fingerprint.regions) or "unknown region"
    return Plan(
        spacing=spacing,
        patch=fit.patch,
        batch=_batch(fit, room, fingerprint.cases),
        network=fit.network,
        ct=fingerprint.ct_z_score(bounds),
        image=fingerprint.image_normalisation(bounds),
        cases=fingerprint.cases,
        gpu_memory_gb=gpu_memory_gb,
        note=f"{fingerprint.task} ({regions}), median case {_by(median)} voxels",
    )


def _batch(fit: Fit, room: Room, cases: int) -> int:
    """As many patches as fit, of no more than 5 % of the data set's voxels, but at least 2."""
    fitting = round(feature_map_limit(fit.network.kind, room.gpu_memory_gb) / fit.needed * REFERENCE_BATCH)
    allowed = round(math.prod(room.median) * cases * LARGEST_SHARE / math.prod(fit.patch))
    return max(min(fitting, allowed), LEAST_BATCH)


_HEAD = """\
# A network's plan, made by nnU-Net's rules. What may be edited by hand stands above each entry; triples are z, y, x.
# Edit before training: weights fit the network and the units that they were trained with, and no others.
"""

_COMMENTS = {
    "spacing": "Voxel distance in mm that every image is resampled to. Free; patch and strides were chosen for it.",
    "patch": "Edges in voxels of training patches and windows. Free, as long as they are multiples of {}, {}, {} (the\n"
    "product of the strides). Larger ones see more and take more memory.",
    "batch": "Patches of one step. Free; memory grows with it.",
    "network": "The U-Net. kind: plain, residual or hybrid. features, kernels and strides have one entry a stage;\n"
    "a stride changes what the patch must be a multiple of. upsampling: trilinear or transposed.",
    "ct": "HU are clipped to low and high, then (HU - mean) / std. Free, but mean and std are those of the clipped\n"
    "HU: for other bounds plan anew (--bounds) rather than edit.",
    "image": "The same for the image: z-score (CBCT) as for CT; case-z-score (MR) uses mean and std of each volume.",
    "cases": "From here on for the record only: number of cases that were read,",
    "gpu_memory_gb": "memory in GB that was planned for,",
    "note": "and where it comes from.",
}


def _yaml(key: str, value: object) -> str:
    """One entry: settings below one another, triples on one line."""
    if isinstance(value, dict):
        return f"{key}:\n" + textwrap.indent("".join(_yaml(name, inner) for name, inner in value.items()), "  ")
    text: str = yaml.safe_dump({key: value}, default_flow_style=None if isinstance(value, list) else False, width=120)
    return text


def _first_problem(error: ValidationError) -> str:
    """Name the first thing that is wrong, and for an unknown key the nearest."""
    # A mistyped key is missing as well as unknown: the latter says more.
    first = min(error.errors(), key=lambda problem: problem["type"] != "extra_forbidden")
    where = ".".join(map(str, first["loc"]))
    if first["type"] != "extra_forbidden":
        text = first["msg"].removeprefix("Value error, ")
        return f"'{where}': {text}" if where else text
    known = _KEYS.get(".".join(map(str, first["loc"][:-1])), [])
    near = difflib.get_close_matches(str(first["loc"][-1]), known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"expected some of {', '.join(known)}"
    return f"'{where}' is unknown; {hint}"


def _by(edges: tuple[Any, ...]) -> str:
    return " x ".join(f"{edge:g}" for edge in edges)


_KEYS = {
    "": list(Plan.model_fields),
    "network": list(UNetPlan.model_fields),
    "ct": list(ZScore.model_fields),
    "image.z-score": list(ZScore.model_fields),
    "image.case-z-score": list(CaseZScore.model_fields),
}
