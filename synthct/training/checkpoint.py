"""A run's checkpoint: one file, replaced whole or not at all, from which training goes on exactly."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from synthct.errors import OutputError, UsageError, WeightsError
from synthct.files import staged_file
from synthct.training.processes import gather
from synthct.training.settings import LoopSettings
from synthct.training.state import TrainingState

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["CHECKPOINT_NAME", "Checkpoint"]

CHECKPOINT_NAME = "checkpoint.pt"
FORMAT = 1
FREE_SETTINGS = {"max_steps", "log_interval", "checkpoint_interval", "image_interval", "keep"}
"""Settings that do not change the training, so a run may go on under others."""


class Checkpoint:
    """The checkpoint of one run.

    Args:
        run_dir: holds checkpoint.pt.
        settings: those of this run; but for FREE_SETTINGS a checkpoint must agree with them.
        fingerprint: names everything else that must agree (network, data).
        fabric: the processes; as many as wrote the checkpoint are needed to go on exactly.
    """

    def __init__(self, run_dir: Path, settings: LoopSettings, fingerprint: str, fabric: Fabric) -> None:
        self.path = run_dir / CHECKPOINT_NAME
        self._fabric = fabric
        self._identity: dict[str, Any] = {
            **settings.model_dump(mode="json", exclude=FREE_SETTINGS),
            "fingerprint": fingerprint,
            "processes": fabric.world_size,
        }

    def save(self, state: TrainingState, log: dict[str, Any]) -> None:
        """Write the checkpoint from the first process; every process returns once it lies on the disk.

        Args:
            state: of the run.
            log: what the logbook holds and has not yet written.

        Raises:
            OutputError: the run's folder cannot be written to.
            DiskFullError: the disk is full. In either case the old checkpoint stays.
        """
        random = gather(_random_state(self._fabric.device), self._fabric)
        if self._fabric.is_global_zero:
            content = {
                "format": FORMAT,
                "identity": self._identity,
                "state": state.state_dict(),
                "random": random,
                "log": log,
            }
            with staged_file(self.path) as staged:
                try:
                    with staged.open("wb") as stream:
                        torch.save(content, stream)
                        stream.flush()
                        os.fsync(stream.fileno())  # after a power cut the renamed file must not hold zeros
                except RuntimeError as error:  # torch's word for a write that failed
                    raise OutputError(f"{self.path}: cannot be written ({str(error)[:100]})") from error
        self._fabric.barrier()

    def load(self, state: TrainingState) -> dict[str, Any]:
        """Fill the state and set this process's random state; returns what `save` was given as log.

        Raises:
            UsageError: there is no checkpoint.
            WeightsError: it is damaged, or belongs to other settings, data or networks.
        """
        if not self.path.exists():
            raise UsageError(f"{self.path}: no such file; expected a checkpoint to go on from")
        try:
            content = torch.load(self.path, weights_only=True, map_location="cpu")
            self._require_identity(content["identity"])
            state.load_state_dict(content["state"])
            _set_random_state(content["random"][self._fabric.global_rank], self._fabric.device)
            log: dict[str, Any] = content["log"]
        except (RuntimeError, ValueError, LookupError, TypeError, EOFError, OSError, pickle.UnpicklingError) as error:
            raise WeightsError(f"{self.path}: cannot be gone on from ({str(error)[:200]})") from error
        return log

    def _require_identity(self, saved: dict[str, Any]) -> None:
        for name, expected in self._identity.items():
            if saved.get(name) != expected:
                raise WeightsError(
                    f"{self.path}: was written with {name} {saved.get(name)!r}, this run has {expected!r}; expected "
                    "the same settings, data and number of processes (or another RUN_DIR)"
                )


def _random_state(device: torch.device) -> dict[str, Tensor]:
    state = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def _set_random_state(state: dict[str, Tensor], device: torch.device) -> None:
    torch.set_rng_state(state["cpu"])
    if device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"], device)
