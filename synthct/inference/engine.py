"""The sweep: a network over the windows of a volume, merged by a Gaussian-weighted mean. Devices appear only here."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from synthct.errors import MemoryLimitError, UsageError
from synthct.inference.windows import sliding_windows
from synthct.memory import is_out_of_memory

__all__ = ["choose_device", "sweep"]

FloatArray = npt.NDArray[np.float32]
Triple = tuple[int, int, int]

GAUSSIAN_SIGMA = 1 / 8
"""Standard deviation of the window weight as a fraction of the patch: nnU-Net's value."""


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


def sweep(
    network: nn.Module,
    image: FloatArray,
    *,
    patch: Triple,
    step: float,
    device: torch.device,
    fill: float = 0.0,
    wanted: npt.NDArray[np.bool_] | None = None,
    advance: Callable[[int, int], None] | None = None,
) -> FloatArray:
    """Run a network of one channel in, one channel out over a volume.

    Args:
        network: in evaluation mode, on `device`; windows of shape (1, 1, z, y, x).
        image: normalised input, (z, y, x) float32.
        patch: window, (z, y, x).
        step: distance of windows as a fraction of the patch, by nnU-Net's even rule.
        device: where the network runs.
        fill: value of the input beyond the volume's edge, where an axis is shorter than the patch.
        wanted: bool (z, y, x); windows that hold no True voxel are skipped and left at 0. None runs them all.
        advance: called after each window with (windows done, windows in all).

    Returns:
        Network output, (z, y, x) float32: mean over overlapping windows with Gaussian weights.

    Raises:
        MemoryLimitError: one window does not fit into the device's memory.
    """
    padded_shape = tuple(max(size, edge) for size, edge in zip(image.shape, patch, strict=True))
    padded = np.full(padded_shape, fill, np.float32)
    padded[tuple(slice(size) for size in image.shape)] = image
    total = np.zeros(padded_shape, np.float32)
    weights = np.zeros(padded_shape, np.float32)
    window_weight = _gaussian(patch)
    windows = [
        tuple(slice(first, first + edge) for first, edge in zip(start, patch, strict=True))
        for start in sliding_windows(image.shape, patch, step)
    ]
    if wanted is not None:
        windows = [window for window in windows if wanted[window].any()]
    for done, window in enumerate(windows, start=1):
        output = _forward(network, padded[window], device)
        total[window] += output * window_weight
        weights[window] += window_weight
        if advance is not None:
            advance(done, len(windows))
    merged = np.divide(total, weights, out=total, where=weights > 0)
    return merged[tuple(slice(size) for size in image.shape)]


def _forward(network: nn.Module, window: FloatArray, device: torch.device) -> FloatArray:
    try:
        with torch.inference_mode():
            output: Tensor = network(torch.from_numpy(window.copy())[None, None].to(device))
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise MemoryLimitError(
            f"a window of {window.shape} (z, y, x) does not fit into the memory of {device}; expected a larger device "
            "or --device cpu"
        ) from error
    return np.asarray(output[0, 0].float().cpu().numpy(), dtype=np.float32)


def _gaussian(patch: Triple) -> FloatArray:
    weight = np.ones(patch, np.float64)
    for axis, edge in enumerate(patch):
        centred = np.arange(edge) - (edge - 1) / 2
        profile = np.exp(-0.5 * (centred / (GAUSSIAN_SIGMA * edge)) ** 2)
        weight *= profile.reshape([-1 if axis == other else 1 for other in range(3)])
    return np.asarray(np.clip(weight / weight.max(), 1e-3, None), dtype=np.float32)
