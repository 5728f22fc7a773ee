"""What ConvNeXt's tensors are called in the files of torchvision, timm and the original repository, and in ours."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import ValidationError

from synthct.errors import WeightsError
from synthct.features.convnext import ConvNextBackbone, ConvNextSettings
from synthct.networks.state import own_tensors

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["read_convnext_tensors"]

STAGES = 4


@dataclass(frozen=True)
class _Naming:
    """How one library calls the tensors.

    Attributes:
        library: for messages.
        stem: of the stem's convolution and norm; {part} is 0 or 1.
        reduction: of the norm and convolution before stage {stage} (1 ... 3); {part} is 0 or 1.
        block: of block {block} in stage {stage} (0 ... 3). {odd} and {even} are 2 * stage + 1 and 2 * stage:
            torchvision counts stages and what stands before them in one row.
        parts: of a block, by our names.
        heads: beginnings of names that belong to the classifier.
    """

    library: str
    stem: str
    reduction: str
    block: str
    parts: Mapping[str, str]
    heads: tuple[str, ...]

    def of_own(self, name: str) -> str:
        """What one of our network's tensors is called in this library."""
        owner, number, rest = name.split(".", 2)
        stage = int(number)
        places = {"stage": stage, "odd": 2 * stage + 1, "even": 2 * stage}
        if owner == "reductions":
            module, kind = rest.split(".")
            convolution_first = stage == 0
            part = int((module == "convolution") != convolution_first)
            return f"{(self.reduction if stage else self.stem).format(part=part, **places)}.{kind}"
        block, part_name = rest.split(".", 1)
        module, dot, kind = part_name.partition(".")
        return f"{self.block.format(block=block, **places)}.{self.parts[module]}{dot}{kind}"

    def stage_blocks(self, stage: int) -> re.Pattern[str]:
        """What finds the number of a block in the name of a tensor of that stage."""
        places = {"stage": stage, "odd": 2 * stage + 1, "even": 2 * stage}
        before, after = self.block.format(block="*", **places).split("*")
        return re.compile(re.escape(before) + r"([0-9]+)" + re.escape(after + "."))


_NAMINGS = (
    _Naming(
        library="torchvision",
        stem="features.0.{part}",
        reduction="features.{even}.{part}",
        block="features.{odd}.{block}",
        parts={
            "depthwise": "block.0",
            "norm": "block.2",
            "expand": "block.3",
            "contract": "block.5",
            "layer_scale": "layer_scale",
        },
        heads=("classifier.",),
    ),
    _Naming(
        library="timm",
        stem="stem.{part}",
        reduction="stages.{stage}.downsample.{part}",
        block="stages.{stage}.blocks.{block}",
        parts={
            "depthwise": "conv_dw",
            "norm": "norm",
            "expand": "mlp.fc1",
            "contract": "mlp.fc2",
            "layer_scale": "gamma",
        },
        heads=("head.",),
    ),
    _Naming(
        library="the original repository",
        stem="downsample_layers.0.{part}",
        reduction="downsample_layers.{stage}.{part}",
        block="stages.{stage}.{block}",
        parts={
            "depthwise": "dwconv",
            "norm": "norm",
            "expand": "pwconv1",
            "contract": "pwconv2",
            "layer_scale": "gamma",
        },
        heads=("norm.", "head."),
    ),
)


def read_convnext_tensors(tensors: Mapping[str, Tensor], where: str) -> tuple[ConvNextSettings, dict[str, Tensor]]:
    """Read depths and widths off a file's tensors, and give these our names and shapes.

    A 1 x 1 convolution and a linear layer hold the same numbers, and so do layer scales of shape (C,) and (C, 1, 1).

    Args:
        tensors: of the file, by the names of torchvision, timm or the original repository; a classifier is left out.
        where: the file, for messages.

    Returns:
        Settings, all but depths and widths the usual ones, and the tensors of `ConvNextBackbone` by name.

    Raises:
        WeightsError: they follow none of the three namings, or one is missing, left over, or of another shape.
    """
    import torch

    naming = _naming_of(tensors, where)
    settings = _shape_of(naming, tensors, where)
    with torch.device("meta"):
        wanted = {name: tuple(tensor.shape) for name, tensor in own_tensors(ConvNextBackbone(settings)).items()}
    names = {own: naming.of_own(own) for own in wanted}
    missing = [name for name in names.values() if name not in tensors]
    if missing:
        raise WeightsError(f"{where}: holds no {missing[0]} ({len(missing)} missing); expected it for a ConvNeXt")
    known = set(names.values())
    foreign = [name for name in tensors if name not in known and not name.startswith(naming.heads)]
    if foreign:
        raise WeightsError(f"{where}: holds {foreign[0]} ({len(foreign)} such), which a ConvNeXt has not")
    return settings, {own: _reshaped(tensors[name], wanted[own], name, where) for own, name in names.items()}


def _naming_of(tensors: Mapping[str, Tensor], where: str) -> _Naming:
    firsts = {naming.of_own("reductions.0.convolution.weight"): naming for naming in _NAMINGS}
    found = [naming for name, naming in firsts.items() if name in tensors]
    if len(found) != 1:
        shown = ", ".join(f"{name} ({naming.library})" for name, naming in firsts.items())
        raise WeightsError(f"{where}: holds {'none' if not found else 'several'} of {shown}; expected one of them")
    return found[0]


def _shape_of(naming: _Naming, tensors: Mapping[str, Tensor], where: str) -> ConvNextSettings:
    """Count the blocks of each stage; a number left out is noticed as a missing tensor."""
    depths, widths = [], []
    for stage in range(STAGES):
        pattern = naming.stage_blocks(stage)
        depths.append(len({found[1] for name in tensors if (found := pattern.match(name))}))
        first = naming.of_own(f"stages.{stage}.0.depthwise.weight")
        if first not in tensors:
            raise WeightsError(f"{where}: holds no {first}; expected the first block of each of {STAGES} stages")
        widths.append(tensors[first].shape[0] if tensors[first].ndim else 0)
    try:
        return ConvNextSettings.model_validate({"depths": depths, "widths": widths})
    except ValidationError as error:
        raise WeightsError(
            f"{where}: its stages have {depths} blocks and {widths} channels ({error.errors()[0]['msg']})"
        ) from error


def _reshaped(tensor: Tensor, shape: tuple[int, ...], name: str, where: str) -> Tensor:
    given = tuple(tensor.shape)
    if [edge for edge in given if edge != 1] != [edge for edge in shape if edge != 1]:
        raise WeightsError(f"{where}: {name} has shape {given}; expected {shape} for this network")
    return tensor.reshape(shape)
