"""Masked losses, by shapes that can be worked out by hand."""

from __future__ import annotations

import pytest
import torch

from synthct.losses.pixel import masked_l1, masked_mean


def volume(*values: float) -> torch.Tensor:
    """One channel, a row of voxels."""
    return torch.tensor(values, dtype=torch.float32).view(1, 1, 1, 1, -1)


def test_only_what_the_mask_holds_counts() -> None:
    loss = masked_l1(volume(1, 5, 100, 7), volume(0, 2, 0, 7), volume(1, 1, 0, 1))
    assert float(loss) == pytest.approx((1 + 3 + 0) / 3)


def test_weights_may_be_fractions() -> None:
    assert float(masked_mean(volume(4, 8), volume(0.25, 0.5))) == pytest.approx((1 + 4) / 0.75)


def test_every_sample_counts_the_same_whatever_its_mask() -> None:
    error = torch.cat([volume(6, 6, 6, 6), volume(2, 9, 9, 9)])
    weight = torch.cat([volume(1, 1, 1, 1), volume(1, 0, 0, 0)])
    assert float(masked_mean(error, weight)) == pytest.approx((6 + 2) / 2)


def test_an_empty_mask_adds_nothing_and_has_a_gradient_of_0() -> None:
    prediction = volume(3, 4).requires_grad_()
    loss = masked_l1(prediction, volume(0, 0), volume(0, 0))
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert prediction.grad is not None
    assert prediction.grad.abs().sum() == 0
    both = masked_mean(torch.cat([volume(6, 6), volume(9, 9)]), torch.cat([volume(1, 1), volume(0, 0)]))
    assert float(both) == 3.0


def test_two_halves_of_a_batch_have_the_mean_of_the_whole() -> None:
    draw = torch.Generator().manual_seed(1)
    a, b = (torch.randn(4, 1, 3, 5, 5, generator=draw) for _ in range(2))
    weight = (torch.rand(4, 1, 3, 5, 5, generator=draw) < 0.3).float()
    halves = [masked_l1(a[part], b[part], weight[part]) for part in (slice(0, 2), slice(2, 4))]
    assert float(masked_l1(a, b, weight)) == pytest.approx(float(sum(halves)) / 2)
