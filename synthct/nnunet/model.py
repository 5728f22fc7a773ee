"""A trained nnU-Net as plan and tensors: everything that is needed to build it anew without nnU-Net."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from synthct.errors import UsageError, WeightsError
from synthct.networks.state import require_fit
from synthct.networks.unet import UNetPlan, build_unet
from synthct.nnunet.architecture import Upsampling, read_unet_plan
from synthct.nnunet.checkpoint import load_checkpoint
from synthct.nnunet.configuration import Configuration, open_configuration
from synthct.nnunet.model_files import ModelFiles
from synthct.nnunet.state import channels_of, checkpoint_tensors, rename_upsampling, upsampling_of

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["NnunetModel", "read_nnunet_model"]


@dataclass(frozen=True, eq=False)
class NnunetModel:
    """One fold.

    Attributes:
        files: where it lies.
        configuration: that it was trained with.
        plan: its network.
        tensors: its weights by the names of `build_unet(plan)`, each once, float32.
        trainer: name of nnU-Net's trainer class, for the card.
    """

    files: ModelFiles
    configuration: Configuration
    plan: UNetPlan
    tensors: dict[str, Tensor]
    trainer: str


def read_nnunet_model(
    files: ModelFiles, *, configuration: str | None = None, upsampling: Upsampling | None = None
) -> NnunetModel:
    """Read a fold's checkpoint and the plan of its network.

    Args:
        files: of the fold.
        configuration: of plans.json; None takes the one that the checkpoint names.
        upsampling: of the decoder; None tells it from the shapes of the tensors.

    Raises:
        WeightsError: the checkpoint is damaged or hostile, plans.json describes no network that we build, or the two
            do not fit one another.
        UsageError: `configuration` is not the checkpoint's, or `upsampling` does not fit the tensors.
    """
    where = files.checkpoint_path
    with files.open_checkpoint() as stream:
        checkpoint = load_checkpoint(stream, where)
    name = _configuration_name(checkpoint, configuration, where)
    chosen = open_configuration(files.plans, name, files.plans_path)
    chosen.require_axes_in_order()
    tensors = checkpoint_tensors(checkpoint["network_weights"], where)
    inputs, outputs = channels_of(tensors, where)
    plan = read_unet_plan(chosen, input_channels=inputs, output_channels=outputs)
    found = upsampling_of(tensors, plan.strides, where, asked=upsampling)
    if found == "trilinear":
        plan = plan.model_copy(update={"upsampling": "trilinear"})
        tensors = rename_upsampling(tensors)
    require_fit(lambda: build_unet(plan), tensors, where)
    trainer = checkpoint.get("trainer_name")
    return NnunetModel(files, chosen, plan, tensors, trainer if isinstance(trainer, str) else "unknown trainer")


def _configuration_name(checkpoint: dict[str, Any], asked: str | None, where: str) -> str:
    arguments = checkpoint["init_args"]
    named = arguments.get("configuration") if isinstance(arguments, dict) else None
    if asked is not None and named not in (None, asked):
        raise UsageError(f"--configuration {asked} does not fit {where}; expected {named}, which it was trained with")
    chosen = asked or named
    if not isinstance(chosen, str):
        raise WeightsError(f"{where}: names no configuration; expected init_args.configuration (or --configuration)")
    return chosen
