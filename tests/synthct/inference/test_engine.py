"""The sweep on the CPU with real, tiny networks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from builders import Array
from torch import Tensor, nn

from synthct.errors import MemoryLimitError, UsageError
from synthct.inference.engine import Engine, choose_device
from synthct.inference.settings import SweepSettings

CPU = torch.device("cpu")
Triple = tuple[int, int, int]


def sweep(
    network: nn.Module,
    image: Array,
    *,
    patch: Triple,
    step: float,
    device: torch.device,
    fill: float = 0.0,
    wanted: Array | None = None,
    advance: Callable[[int, int], None] | None = None,
) -> Array:
    """One network, Gaussian merging, no margin: the values alone."""
    settings = SweepSettings(patch=patch, step=step, margin=0)
    return Engine(device).sweep(network.eval(), image, settings, wanted=wanted, fill=fill, advance=advance).values


class _Index(nn.Module):
    """Answers window number n with the constant n, counted from 1, and keeps the shapes it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[int, ...]] = []

    def forward(self, window: Tensor) -> Tensor:
        self.seen.append(tuple(window.shape))
        return torch.full_like(window, float(len(self.seen)))


class _Greedy(nn.Module):
    """Asks for a pebibyte."""

    def forward(self, window: Tensor) -> Tensor:
        return torch.empty(1 << 50, dtype=torch.uint8) + window


class _Broken(nn.Module):
    """Fails for a reason that has nothing to do with memory."""

    def forward(self, window: Tensor) -> Tensor:
        return window @ torch.ones(3, 7)


def _image(shape: Triple) -> Array:
    return np.random.default_rng(3).normal(0, 100, shape).astype(np.float32)


@pytest.mark.parametrize("shape", [(8, 8, 8), (9, 13, 17), (3, 20, 5), (1, 1, 1), (30, 4, 4)])
@pytest.mark.parametrize("step", [0.3, 0.5, 1.0])
def test_identity_network_returns_the_input(shape: Triple, step: float) -> None:
    image = _image(shape)
    merged = sweep(nn.Identity(), image, patch=(8, 8, 8), step=step, device=CPU)
    assert merged.shape == shape
    assert merged.dtype == np.float32
    np.testing.assert_allclose(merged, image, rtol=0, atol=1e-3)


def test_windows_without_overlap_keep_their_values() -> None:
    merged = sweep(_Index(), _image((4, 4, 8)), patch=(4, 4, 4), step=1.0, device=CPU)
    np.testing.assert_allclose(merged[:, :, :4], 1.0, rtol=1e-6)
    np.testing.assert_allclose(merged[:, :, 4:], 2.0, rtol=1e-6)


def test_merging_weights_by_hand() -> None:
    """Windows [0, 4) and [2, 6) along x; a Gaussian of sigma 4/8 = 0.5 around 1.5 and around 3.5."""
    merged = sweep(_Index(), _image((1, 1, 6)), patch=(1, 1, 4), step=0.5, device=CPU)[0, 0]
    near, far = np.exp(-0.5 * (0.5 / 0.5) ** 2), np.exp(-0.5 * (1.5 / 0.5) ** 2)
    at_2 = (1 * near + 2 * far) / (near + far)
    at_3 = (1 * far + 2 * near) / (near + far)
    np.testing.assert_allclose(merged, [1, 1, at_2, at_3, 2, 2], rtol=1e-5)
    assert 1.0 < at_2 < 1.1
    assert at_2 + at_3 == pytest.approx(3.0)


def test_weights_never_vanish_at_the_corners() -> None:
    image = np.full((32, 32, 32), 1e3, np.float32)
    merged = sweep(nn.Identity(), image, patch=(32, 32, 32), step=1.0, device=CPU)
    np.testing.assert_allclose(merged, image, rtol=1e-5)


def test_shape_smaller_than_the_patch_is_filled() -> None:
    network = _Index()
    sweep(network, _image((2, 8, 3)), patch=(4, 4, 4), step=1.0, device=CPU)
    assert network.seen == [(1, 1, 4, 4, 4)] * 2

    class _Sum(nn.Module):
        def forward(self, window: Tensor) -> Tensor:
            return window.sum().expand(window.shape)

    ones = np.ones((1, 2, 2), np.float32)
    merged = sweep(_Sum(), ones, patch=(2, 2, 2), step=1.0, device=CPU, fill=-5.0)
    np.testing.assert_allclose(merged, np.full((1, 2, 2), 4 * 1.0 + 4 * -5.0))


def test_windows_without_a_wanted_voxel_are_skipped() -> None:
    wanted = np.zeros((4, 4, 12), bool)
    wanted[0, 0, 11] = True
    network, steps = _Index(), []
    merged = sweep(
        network,
        _image((4, 4, 12)),
        patch=(4, 4, 4),
        step=1.0,
        device=CPU,
        wanted=wanted,
        advance=lambda done, total: steps.append((done, total)),
    )
    assert len(network.seen) == 1
    assert steps == [(1, 1)]
    assert not merged[:, :, :8].any()
    np.testing.assert_allclose(merged[:, :, 8:], 1.0)


def test_every_wanted_voxel_comes_from_the_network() -> None:
    rng = np.random.default_rng(8)
    image, wanted = np.ones((11, 12, 13), np.float32), rng.random((11, 12, 13)) > 0.99
    merged = sweep(nn.Identity(), image, patch=(4, 5, 6), step=0.5, device=CPU, wanted=wanted)
    np.testing.assert_allclose(merged[wanted], 1.0, rtol=1e-5)


def test_nothing_wanted() -> None:
    steps: list[tuple[int, int]] = []
    merged = sweep(
        _Broken(),
        _image((4, 4, 4)),
        patch=(4, 4, 4),
        step=1.0,
        device=CPU,
        wanted=np.zeros((4, 4, 4), bool),
        advance=lambda done, total: steps.append((done, total)),
    )
    assert not merged.any()
    assert steps == []


def test_progress_counts_every_window() -> None:
    steps: list[tuple[int, int]] = []
    sweep(
        nn.Identity(),
        _image((8, 8, 8)),
        patch=(4, 4, 8),
        step=1.0,
        device=CPU,
        advance=lambda done, total: steps.append((done, total)),
    )
    assert steps == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_input_given_is_not_changed() -> None:
    image = _image((5, 6, 7))
    before = image.copy()
    sweep(nn.ReLU(inplace=True), image, patch=(4, 4, 4), step=0.5, device=CPU)
    assert np.array_equal(image, before)


def test_network_that_works_in_place_does_not_feed_the_next_window() -> None:
    class _Negate(nn.Module):
        def forward(self, window: Tensor) -> Tensor:
            return window.neg_()

    image = _image((10, 4, 4))  # windows along z are contiguous in memory
    merged = sweep(_Negate(), image, patch=(4, 4, 4), step=0.5, device=CPU)
    np.testing.assert_allclose(merged, -image, rtol=0, atol=1e-3)


def test_lack_of_memory_is_exit_5() -> None:
    with pytest.raises(MemoryLimitError, match=r"window of \(4, 4, 4\)") as caught:
        sweep(_Greedy(), _image((4, 4, 4)), patch=(4, 4, 4), step=1.0, device=CPU)
    assert caught.value.exit_code == 5


def test_other_failures_keep_their_type() -> None:
    with pytest.raises(RuntimeError, match=r"shape|size"):
        sweep(_Broken(), _image((4, 4, 4)), patch=(4, 4, 4), step=1.0, device=CPU)


def test_devices() -> None:
    assert choose_device("cpu") == CPU
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(UsageError, match="'tpu' is unknown"):
        choose_device("tpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_cuda_without_a_device() -> None:
    with pytest.raises(UsageError, match="no usable CUDA device"):
        choose_device("cuda")
