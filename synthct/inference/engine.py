"""The sweep: networks over the windows of a volume, on a device, in bounded memory and, if asked for, bounded time."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from synthct.errors import MemoryLimitError, UsageError
from synthct.inference.budget import plan_within
from synthct.inference.forward import WindowPredictor, prepare, require_networks
from synthct.inference.heap import kept_heap
from synthct.inference.merging import make_merger
from synthct.inference.plan import Plan, Planner
from synthct.inference.precision import Precision, choose_precision
from synthct.inference.settings import SweepSettings
from synthct.inference.transfer import Landing, batches
from synthct.memory import is_out_of_memory

__all__ = ["Engine", "Precision", "Swept", "choose_device"]

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]
Triple = tuple[int, int, int]
Advance = Callable[[int, int], None]

CUDA_BYTES_PER_VOXEL = 1 << 10
"""What a window is taken to need on a card, of which half the free memory is used (inference; not measured)."""
LARGEST_BATCH = 8


def choose_device(name: str) -> torch.device:
    """Resolve `auto`, `cpu` or `cuda`.

    Raises:
        UsageError: cuda was asked for and there is none, or the name is unknown.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise UsageError(f"device '{name}' is unknown; expected auto, cpu or cuda")
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise UsageError("device cuda was asked for, but this machine has no usable CUDA device; expected --device cpu")
    return torch.device("cuda" if name != "cpu" and available else "cpu")


@dataclass(frozen=True)
class Swept:
    """Result of a sweep.

    Attributes:
        values: merged network output, (z, y, x) float32 on the CPU; `air` where no window went.
        spread: standard deviation of the overlapping predictions in the network's units, (z, y, x) float32; None where
            it was not asked for, 0 where there was one prediction or none.
        notes: how it was made, ready for JSON: windows, skipped, step, merging, precision, batch; where they apply
            step_asked, redone_fp32 (predictions), fallbacks (words), budget_s.
    """

    values: FloatArray
    spread: FloatArray | None
    notes: dict[str, Any]


class Engine:
    """Runs sweeps on one device; one per process and device.

    Args:
        device: where networks run.
        precision: `auto` is fp32 on the CPU, bf16 on CUDA cards from compute capability 8.0, fp16 on older ones.
        batch: windows that go through a network at once. None: one on the CPU, on a card as many as should fit.
        budget: seconds for a sweep; where the windows would take longer, their step grows, with a warning.
        spread: also return the standard deviation of overlapping predictions.
        seed: of predictors that draw random numbers; a sweep draws none.

    Attributes:
        sweeps: sweeps that it has done; 0 tells that what asked for an engine had no use for its options. A predictor
            that heeds them without a sweep counts its cases here.

    Raises:
        UsageError: the precision does not suit the device, a batch below 1, a budget that is not above 0, or a seed
            below 0.
    """

    def __init__(
        self,
        device: torch.device,
        *,
        precision: Precision = "auto",
        batch: int | None = None,
        budget: float | None = None,
        spread: bool = False,
        seed: int = 0,
    ) -> None:
        if batch is not None and batch < 1:
            raise UsageError(f"batch {batch} is below 1; expected a number of windows")
        if budget is not None and not 0 < budget < math.inf:
            raise UsageError(f"budget {budget:g} is not above 0 and finite; expected seconds")
        if seed < 0:
            raise UsageError(f"seed {seed} is below 0; expected 0 or more")
        self.device = device
        self.precision = choose_precision(precision, device)
        self.batch = batch
        self.budget = budget
        self.spread = spread
        self.seed = seed
        self.sweeps = 0

    def sweep(
        self,
        networks: nn.Module | Sequence[nn.Module],
        image: FloatArray,
        settings: SweepSettings,
        *,
        wanted: BoolArray | None = None,
        fill: float = 0.0,
        air: float = 0.0,
        advance: Advance | None = None,
    ) -> Swept:
        """Run networks over a volume and merge what they predict.

        Args:
            networks: in evaluation mode; each maps (n, channels, z, y, x) to (n, 1, z, y, x). Several are an ensemble:
                each member's prediction of a window enters the merging as one prediction. They are moved to the
                device, and their 3-d convolutions' weights are laid out channels last.
            image: normalised input, (z, y, x) or (channels, z, y, x) float32; it is not changed.
            settings: windows and merging.
            wanted: bool (z, y, x); windows that touch no True voxel of it, dilated by `settings.margin`, are skipped.
            fill: input value beyond the volume's far edge, where it is padded (SweepSettings.swept_shape).
            air: output value where no window went.
            advance: called after each window with (windows done, windows in all).

        Raises:
            MemoryLimitError: one window at a time, merged on the CPU, does not fit into memory.
            GeometryError: `wanted` has another shape than the image.
            UsageError: no network, one in training mode or a ModuleList, or an image that is neither 3-d nor 4-d.
            SynthCTError: a network's answer is no tensor, or has another shape than (n, 1, z, y, x).
        """
        began = time.monotonic()
        members = require_networks(networks)
        if image.ndim not in (3, 4):
            raise UsageError(
                f"a sweep was given an image of shape {image.shape}; expected (z, y, x) or (channels, z, y, x)"
            )
        planner = Planner((image.shape[-3], image.shape[-2], image.shape[-1]), settings, wanted)
        try:
            padded = _padded(image, settings.swept_shape(planner.shape), fill)
            batch = self.batch or self._automatic_batch(settings.patch)
            members = [prepare(network, self.device) for network in members]
            predictor = WindowPredictor(members, self.device, self.precision, settings.mirror_axes, batch)
            plan = planner.plan()
            with kept_heap() if self.device.type == "cpu" else nullcontext():
                if self.budget is not None and plan.starts:
                    first = plan.starts[:batch]
                    _, windows = next(batches(padded, first, settings.patch, batch, self.device))
                    plan = plan_within(self.budget, began, planner, predictor, windows)
                landing, fallbacks = self._run_where_it_fits(predictor, padded, plan, settings, air, advance)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            hope = "more memory" if self.device.type == "cpu" else "a larger device or --device cpu"
            raise MemoryLimitError(
                f"a sweep with a window of {settings.patch} over an image of {planner.shape} (z, y, x) does not fit "
                f"into the memory of {self.device}; expected {hope}"
            ) from error
        if predictor.part < batch:
            fallbacks.insert(0, f"batch {batch} to {predictor.part}")
        optional = {
            "step_asked": settings.step if plan.step != settings.step else None,
            "redone_fp32": predictor.redone or None,
            "fallbacks": fallbacks or None,
            "budget_s": self.budget,
        }
        notes = {
            "windows": len(plan.starts),
            "skipped": plan.skipped,
            "step": plan.step,
            "merging": settings.merging,
            "precision": self.precision,
            "batch": predictor.part,
            **{key: value for key, value in optional.items() if value is not None},
        }
        self.sweeps += 1
        spread = None if landing.spread is None else _cropped(landing.spread, planner.shape)
        return Swept(_cropped(landing.values, planner.shape), spread, notes)

    def _run_where_it_fits(
        self,
        predictor: WindowPredictor,
        padded: Tensor,
        plan: Plan,
        settings: SweepSettings,
        air: float,
        advance: Advance | None,
    ) -> tuple[Landing, list[str]]:
        """Run with sums on the device, and anew with sums on the CPU where that does not fit; returns that as well."""
        try:
            return self._run(predictor, padded, plan, settings, air, advance, self.device), []
        except (RuntimeError, MemoryError) as error:
            if self.device.type == "cpu" or not is_out_of_memory(error):
                raise
        # Here the error is gone, and with it what the failed run held.
        torch.cuda.empty_cache()
        landing = self._run(predictor, padded, plan, settings, air, advance, torch.device("cpu"))
        return landing, ["accumulation on the CPU"]

    def _run(
        self,
        predictor: WindowPredictor,
        padded: Tensor,
        plan: Plan,
        settings: SweepSettings,
        air: float,
        advance: Advance | None,
        accumulation: torch.device,
    ) -> Landing:
        """Predict and merge the windows of a plan; sums and pending windows lie on `accumulation`."""
        _, depth, height, width = padded.shape
        landing = Landing((depth, height, width), air=air, spread=self.spread, device=self.device)
        merger = make_merger(settings.merging, landing, settings.patch, accumulation)
        done = 0
        with torch.inference_mode():
            for starts, windows in batches(padded, plan.starts, settings.patch, predictor.part, self.device):
                predictions = predictor(windows).to(accumulation)
                for start, prediction in zip(starts, predictions, strict=True):
                    merger.add(start, prediction)
                    done += 1
                    if advance is not None:
                        advance(done, len(plan.starts))
            merger.close()
        landing.wait()
        return landing

    def _automatic_batch(self, patch: Triple) -> int:
        if self.device.type != "cuda":
            return 1
        free, _ = torch.cuda.mem_get_info(self.device)
        return int(np.clip(free / 2 / (CUDA_BYTES_PER_VOXEL * np.prod(patch)), 1, LARGEST_BATCH))


def _padded(image: FloatArray, shape: Triple, fill: float) -> Tensor:
    """(channels, z, y, x) of a shape that is no smaller; filled at the far ends."""
    channels = image[None] if image.ndim == 3 else image
    missing = [(0, after - size) for size, after in zip(channels.shape[1:], shape, strict=True)]
    if any(after for _, after in missing):
        channels = np.pad(channels, [(0, 0), *missing], constant_values=fill)
    writeable = np.require(channels, np.float32, ["C", "W"])  # torch warns of arrays that may not be written
    return torch.from_numpy(writeable)


def _cropped(padded: Tensor, shape: Triple) -> FloatArray:
    return np.ascontiguousarray(padded.numpy()[tuple(slice(size) for size in shape)])
