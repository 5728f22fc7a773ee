"""Starting a run's processes: one device, `--devices N`, torchrun or SLURM, all through Lightning Fabric."""

from __future__ import annotations

import atexit
import importlib.util
import logging
import os
import warnings
from datetime import timedelta
from typing import TYPE_CHECKING, Literal

import torch

from synthct.errors import UsageError
from synthct.inference.engine import choose_device
from synthct.inference.precision import BF16_CAPABILITY

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["make_fabric"]

FABRIC_NAMES: dict[str, Literal["32-true", "bf16-mixed", "16-mixed"]] = {
    "fp32": "32-true",
    "bf16-mixed": "bf16-mixed",
    "16-mixed": "16-mixed",
}
EXTRA = {"lightning_fabric": "lightning-fabric", "tensorboard": "tensorboard", "PIL": "pillow"}
"""Modules of the extra `train`, and their packages."""
PATIENCE = timedelta(hours=2)
"""How long processes wait for each other: validation cases differ in size."""


def make_fabric(device: str, devices: int, precision: str) -> Fabric:
    """Start the run's processes; what follows this call runs in each of them.

    With `devices` above 1 this process starts the others itself, by its own command line. Where torchrun or srun
    started it, the processes are those that they started, and `devices` may be left at 1. Several processes talk by
    nccl on CUDA and by gloo on the CPU.

    Args:
        device: auto, cpu or cuda.
        devices: processes on this machine, one a GPU.
        precision: fp32, bf16-mixed, 16-mixed or auto (settings.LoopSettings).

    Raises:
        UsageError: a name is unknown, there are fewer devices than asked for, the launcher started another number of
            processes, the device cannot compute in that precision, or a package of the extra `train` is missing.
    """
    _require_extra()
    kind = choose_device(device).type
    total, per_node, nodes = _processes(devices)
    available = torch.cuda.device_count() if kind == "cuda" else os.cpu_count() or 1
    if per_node > available:
        noun = "CUDA devices" if kind == "cuda" else "processors"
        raise UsageError(f"--devices is {per_node}; expected at most {available}, the {noun} of this machine")
    chosen = _choose_precision(precision, kind)
    _send_lightning_to_our_log()
    with warnings.catch_warnings():
        # Lightning's advice (a GPU that is not used, an srun that could be) is not for this program's user.
        warnings.filterwarnings("ignore", module=r"lightning_fabric|torch")
        from lightning_fabric import Fabric
        from lightning_fabric.strategies.ddp import DDPStrategy

        backend = "nccl" if kind == "cuda" else "gloo"
        fabric = Fabric(
            accelerator=kind,
            devices=per_node,
            num_nodes=nodes,
            precision=FABRIC_NAMES[chosen],
            strategy=DDPStrategy(process_group_backend=backend, timeout=PATIENCE) if total > 1 else "auto",
        )
        fabric.launch()
    if total > 1:
        atexit.register(_leave_the_group)
    return fabric


def _leave_the_group() -> None:
    """End gloo's threads before the interpreter ends, which else may abort a process that has done its work."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _require_extra() -> None:
    """Name a missing package now: TensorBoard's are first used once hours may have gone by."""
    missing = [package for module, package in EXTRA.items() if importlib.util.find_spec(module) is None]
    if missing:
        raise UsageError(
            f"training needs the extra train, of which {missing[0]} is missing; expected it to be installed "
            f"(pip install {' '.join(missing)})"
        )


def _processes(devices: int) -> tuple[int, int, int]:
    """Return (processes in all, on each machine, machines), by whoever starts them."""
    if devices < 1:
        raise UsageError(f"--devices is {devices}; expected at least 1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
        from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment

    environment = os.environ
    if TorchElasticEnvironment.detect():
        launcher = "torchrun"
        per_node = int(environment["LOCAL_WORLD_SIZE"])
        nodes = int(environment["WORLD_SIZE"]) // per_node
    elif SLURMEnvironment.detect():
        launcher = "SLURM"
        nodes = int(environment.get("SLURM_NNODES", "1"))
        per_node = int(environment.get("SLURM_NTASKS_PER_NODE") or int(environment["SLURM_NTASKS"]) // nodes)
    else:
        return devices, devices, 1
    if devices not in (1, per_node):
        raise UsageError(f"--devices is {devices}, but {launcher} started {per_node} processes on each machine")
    return per_node * nodes, per_node, nodes


def _choose_precision(precision: str, kind: str) -> str:
    if precision == "auto":
        if kind == "cpu":
            return "fp32"
        return "bf16-mixed" if torch.cuda.get_device_capability() >= BF16_CAPABILITY else "16-mixed"
    if precision not in FABRIC_NAMES:
        raise UsageError(f"precision '{precision}' is unknown; expected auto, {', '.join(FABRIC_NAMES)}")
    if precision == "16-mixed" and kind == "cpu":
        raise UsageError("precision 16-mixed needs a CUDA device; expected fp32 or bf16-mixed on the CPU")
    return precision


def _send_lightning_to_our_log() -> None:
    """Let the root logger decide what is shown of Lightning's notes, instead of its own handler."""
    logger = logging.getLogger("lightning_fabric")
    logger.handlers.clear()
    logger.propagate = True
    logger.setLevel(logging.NOTSET)
