"""Gradient consistency by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from algorithms.creps_cgan.consistency import gradient_consistency


def profile(*values: float) -> Tensor:
    """(1, 1, 2, 2, x): varies along x alone, so that the gradient magnitudes are |differences of neighbours|."""
    return torch.tensor(values).expand(1, 1, 2, 2, -1).contiguous()


def test_by_hand() -> None:
    """|g| 1 0 2 against 0 1 0: deviations 0 -1 1 and -1/3 2/3 -1/3, so cov -1, squares 2 and 2/3."""
    loss = gradient_consistency(profile(0.0, 1.0, 1.0, 3.0), profile(0.0, 0.0, 1.0, 1.0))
    assert loss.item() == pytest.approx(1 + 1 / math.sqrt(2 * 2 / 3))


def test_voxels_where_both_are_flat_do_not_count() -> None:
    """|g| 1 2 0 0 against 4 1 0 0: of the first two alone the correlation is -1."""
    image, prediction = profile(0.0, 1.0, 3.0, 3.0, 3.0), profile(0.0, 4.0, 5.0, 5.0, 5.0)
    assert gradient_consistency(image, prediction).item() == pytest.approx(2.0, abs=1e-6)


def test_contrast_may_turn_over_and_stretch() -> None:
    """Bone is dark in MR and bright in CT: only the edges count."""
    image = torch.rand(2, 1, 4, 5, 6, generator=torch.Generator().manual_seed(0))
    assert gradient_consistency(image, 1.5 - 3.0 * image).item() == pytest.approx(0.0, abs=1e-5)
    assert gradient_consistency(image, image.flip(4)).item() > 0.3


def test_magnitude_is_the_length_of_three_differences() -> None:
    """Two of them: |(1, 2, 2)| = 3, then |(-2, -2, 6)| = sqrt 44; two values correlate by 1 or by -1."""
    image = torch.zeros(1, 1, 2, 2, 3)
    image[0, 0, 1, 0, 0], image[0, 0, 0, 1, 0], image[0, 0, 0, 0, 1:] = 1.0, 2.0, 2.0
    image[0, 0, 0, 0, 2] = 8.0
    other = profile(0.0, 3.0, 3.0 + math.sqrt(44.0))
    third = profile(0.0, math.sqrt(44.0), 3.0 + math.sqrt(44.0))
    assert gradient_consistency(image, other).item() == pytest.approx(0.0, abs=1e-5)
    assert gradient_consistency(image, third).item() == pytest.approx(2.0, abs=1e-5)


def test_it_is_a_mean_over_the_batch() -> None:
    image = torch.cat((profile(0.0, 1.0, 1.0, 3.0), profile(0.0, 1.0, 1.0, 3.0)))
    prediction = torch.cat((profile(0.0, 0.0, 1.0, 1.0), profile(0.0, 2.0, 2.0, 6.0)))
    assert gradient_consistency(image, prediction).item() == pytest.approx((1 + math.sqrt(3) / 2) / 2)


def test_flat_images() -> None:
    """Neither has an edge: 0. One alone has: 1, and nothing to learn from; no NaN in either gradient."""
    flat, edge = profile(1.0, 1.0, 1.0, 1.0), profile(0.0, 1.0, 1.0, 3.0)
    for image, value, expected in ((flat, flat, 0.0), (flat, edge, 1.0), (edge, flat, 1.0)):
        prediction = value.clone().requires_grad_()
        loss = gradient_consistency(image, prediction)
        loss.backward()
        assert loss.item() == pytest.approx(expected)
        assert prediction.grad is not None
        assert torch.isfinite(prediction.grad).all()
        assert float(prediction.grad.abs().max()) < 1e-6 or image is edge


def test_descent_finds_the_edges() -> None:
    """From noise, plain gradient steps bring the prediction's edges to the image's."""
    draw = torch.Generator().manual_seed(1)
    image = torch.zeros(1, 1, 4, 8, 8)
    image[..., 2:6, 3:] = 1.0
    prediction = torch.rand(1, 1, 4, 8, 8, generator=draw).requires_grad_()
    optimiser = torch.optim.Adam([prediction], lr=0.02)
    first = gradient_consistency(image, prediction).item()
    for _ in range(200):
        optimiser.zero_grad()
        loss = gradient_consistency(image, prediction)
        loss.backward()
        optimiser.step()
    assert (first > 0.8, loss.item() < 0.1) == (True, True)


def test_half_precision_is_compared_in_single() -> None:
    image = profile(0.0, 1.0, 1.0, 3.0)
    loss = gradient_consistency(image, image.to(torch.bfloat16))
    assert (loss.dtype, loss.item()) == (torch.float32, pytest.approx(0.0, abs=1e-6))


def test_the_gradient_of_a_flat_prediction_stays_small() -> None:
    """A hundredth of an HU of noise beside strong edges: what is left of it must not be blown up."""
    torch.manual_seed(0)
    image = torch.rand(1, 1, 6, 8, 8)
    flat = (0.04 + 1e-5 * torch.randn(1, 1, 6, 8, 8)).requires_grad_()
    gradient_consistency(image, flat).backward()
    assert flat.grad is not None
    assert 0 < float(flat.grad.abs().max()) < 100
