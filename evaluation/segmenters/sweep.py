"""nnU-Net's sliding window in bounded memory: rows of the volume are given away as soon as no window touches them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from evaluation.segmenters.interface import LabelArray
from synthct.inference.windows import sliding_windows

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

__all__ = ["finished_slabs", "first_largest"]

STEP = 0.5
GAUSSIAN_SIGMA = 1 / 8
GAUSSIAN_SCALE = 10.0
"""Weight at a window's centre; keeps the weights at its corners above the smallest half-precision number."""

Advance = Callable[[int, int], None]


def finished_slabs(
    network: nn.Module,
    image: Tensor,
    *,
    patch: tuple[int, ...],
    channels: int,
    device: torch.device,
    advance: Advance | None = None,
) -> Iterator[Tensor]:
    """Merged logits of a volume, some rows at a time (CONTRACT 3.4: step 0.5, Gaussian, no mirroring, half precision).

    The sums are those of nnU-Net, number for number: same windows in the same order, half-precision accumulators. Only
    `channels` x patch depth x y x x of them are kept at a time.

    Args:
        network: in evaluation mode, on `device`.
        image: preprocessed input, (1, z, y, x) float32 on the CPU.
        patch: window (z, y, x); (y, x) for a network of two dimensions, which sees every slice.
        channels: outputs of the network.
        device: where the network runs and the sums lie.
        advance: called after each window with (windows done, windows in all).

    Yields:
        Logits (channels, rows, y, x), float16 on the CPU; the rows follow one another from z = 0 to the last.

    Raises:
        torch.OutOfMemoryError: a window or the sums do not fit into the memory of `device`.
    """
    import torch

    window = (1, *patch) if len(patch) == 2 else patch
    padded, inner = _pad(image, window)
    z_size, y_size, x_size = padded.shape[1:]
    weight = _gaussian(patch).to(device)
    total = torch.zeros((channels, window[0], y_size, x_size), dtype=torch.half, device=device)
    count = torch.zeros((window[0], y_size, x_size), dtype=torch.half, device=device)
    starts = sliding_windows((z_size, y_size, x_size), (window[0], window[1], window[2]), STEP)
    done = top = 0
    for z, layer in itertools.groupby(starts, key=lambda start: start[0]):
        if z > top:
            yield from _rows(total, count, top, z, inner)
            _move_up(total, count, z - top)
            top = z
        for _, y, x in layer:
            here = (slice(None), slice(y, y + window[1]), slice(x, x + window[2]))
            block = padded[:, z : z + window[0], here[1], here[2]]
            # No name for the logits: it would keep those of one window alive while the network runs on the next.
            total[(slice(None), *here)] += _forward(network, block, len(patch), device).mul_(weight)
            count[here] += weight
            done += 1
            if advance is not None:
                advance(done, len(starts))
    yield from _rows(total, count, top, z_size, inner)


def first_largest(channels: Iterable[Tensor]) -> LabelArray | None:
    """Arg-max over channels that come one by one; the first of equal values wins, as with numpy.

    Args:
        channels: logits of one channel each, all (z, y, x), in the order of their labels.

    Returns:
        Labels (z, y, x); None where a logit is NaN or infinite.
    """
    import torch

    best: Tensor | None = None
    labels: LabelArray = np.zeros((0, 0, 0), np.uint8)
    for label, values in enumerate(channels):
        if not bool(torch.isfinite(values).all()):
            return None
        if best is None:
            best, labels = values.clone(), np.zeros(tuple(values.shape), np.uint8)
            continue
        larger = values > best
        labels[larger.numpy()] = label
        best = torch.where(larger, values, best)
    return labels


def _pad(image: Tensor, window: tuple[int, ...]) -> tuple[Tensor, tuple[slice, ...]]:
    """Fill up with 0 on both sides to at least one window; return also where the image lies in it."""
    from torch.nn import functional

    missing = [max(0, edge - size) for edge, size in zip(window, image.shape[1:], strict=True)]
    before = [amount // 2 for amount in missing]
    inner = tuple(slice(first, first + size) for first, size in zip(before, image.shape[1:], strict=True))
    widths = [side for amount, first in zip(missing, before, strict=True) for side in (amount - first, first)]
    return functional.pad(image, widths[::-1]), inner


def _rows(total: Tensor, count: Tensor, top: int, end: int, inner: tuple[slice, ...]) -> Iterator[Tensor]:
    """The rows top ... end - 1 without what was padded; none where all of them were padding."""
    first, last = max(top, inner[0].start), min(end, inner[0].stop)
    if first < last:
        rows = slice(first - top, last - top)
        yield (total[:, rows, inner[1], inner[2]] / count[rows, inner[1], inner[2]]).cpu()


def _move_up(total: Tensor, count: Tensor, rows: int) -> None:
    """Drop the first rows of the sums and make room at the end; channel by channel, to need no second copy."""
    for sums in (*total, count):
        sums[:-rows] = sums[rows:].clone()
        sums[-rows:] = 0


def _forward(network: nn.Module, window: Tensor, dimensions: int, device: torch.device) -> Tensor:
    """Logits of one window (1, z, y, x): (channels, z, y, x)."""
    import torch

    # nnU-Net uses mixed precision on a GPU and only there.
    precision: Any = torch.autocast(device.type) if device.type == "cuda" else nullcontext()
    with torch.no_grad(), precision:
        block = window.contiguous().to(device)
        if dimensions == 2:
            flat: Tensor = network(block.transpose(0, 1))[0]
            return flat[:, None]
        solid: Tensor = network(block[None])[0]
        return solid


@lru_cache(maxsize=2)
def _gaussian(patch: tuple[int, ...]) -> Tensor:
    """Weight of each voxel of a window, float16: nnU-Net's Gaussian, where 0 is replaced by the smallest weight."""
    import torch
    from scipy.ndimage import gaussian_filter

    impulse: npt.NDArray[np.float64] = np.zeros(patch)
    impulse[tuple(edge // 2 for edge in patch)] = 1
    smooth = gaussian_filter(impulse, [edge * GAUSSIAN_SIGMA for edge in patch], 0, mode="constant", cval=0)
    # A quotient by max / scale, not a product: they differ in the last bit.
    smooth /= smooth.max() / GAUSSIAN_SCALE
    weight = torch.from_numpy(smooth).to(torch.half)
    weight[weight == 0] = weight[weight > 0].min()
    return weight
