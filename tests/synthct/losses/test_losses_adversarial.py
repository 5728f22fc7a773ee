"""The adversarial term by hand."""

from __future__ import annotations

import math

import pytest
import torch

from synthct.losses.adversarial import real_or_fake, squared_real_or_fake


@pytest.mark.parametrize("logit", [-3.0, 0.0, 2.0])
def test_both_answers_by_hand(logit: float) -> None:
    """ln(1 + e^-x) for calling it real, ln(1 + e^x) for calling it fake."""
    logits = torch.full((2, 1, 1, 3, 3), logit)
    assert float(real_or_fake(logits, is_real=True)) == pytest.approx(math.log1p(math.exp(-logit)))
    assert float(real_or_fake(logits, is_real=False)) == pytest.approx(math.log1p(math.exp(logit)))


def test_it_is_the_mean_over_all_logits() -> None:
    """0 costs ln 2; a logit of ln 3 costs ln(4/3) as real and ln 4 as fake."""
    logits = torch.tensor([0.0, math.log(3.0)]).reshape(2, 1, 1, 1, 1)
    assert float(real_or_fake(logits, is_real=True)) == pytest.approx((math.log(2) + math.log(4 / 3)) / 2)
    assert float(real_or_fake(logits, is_real=False)) == pytest.approx((math.log(2) + math.log(4)) / 2)


def test_gradient_is_probability_minus_answer() -> None:
    """At 0 the probability is 1/2; each of two logits carries half the mean."""
    for is_real, expected in ((True, -0.25), (False, 0.25)):
        logits = torch.zeros(2, requires_grad=True)
        real_or_fake(logits, is_real=is_real).backward()
        assert logits.grad is not None
        assert logits.grad.tolist() == [expected, expected]


def test_far_logits_stay_finite_in_half_precision() -> None:
    """16 bits would overflow in the exponential; the cost of being sure and wrong is the logit itself."""
    logits = torch.tensor([60000.0], dtype=torch.float16)
    wrong = real_or_fake(logits, is_real=False)
    assert wrong.dtype == torch.float32
    assert float(wrong) == 60000.0 - 60000.0 % 32  # float16 has steps of 32 there
    assert float(real_or_fake(logits, is_real=True)) == 0.0


def test_least_squares_by_hand() -> None:
    """Logits -1 and 2: (4 + 1) / 2 as real, (1 + 4) / 2 as fake; 1 is what real is to be called, 0 fake."""
    logits = torch.tensor([-1.0, 2.0]).reshape(1, 1, 1, 1, 2)
    assert float(squared_real_or_fake(logits, is_real=True)) == pytest.approx(2.5)
    assert float(squared_real_or_fake(logits, is_real=False)) == pytest.approx(2.5)
    for answer in (True, False):
        assert float(squared_real_or_fake(torch.full((3,), float(answer)), is_real=answer)) == 0.0
        assert float(squared_real_or_fake(torch.full((3,), float(not answer)), is_real=answer)) == 1.0


def test_least_squares_leave_negative_logits_as_they_are_and_stay_finite() -> None:
    """MONAI's loss puts a leaky ReLU before them, so -20 would count as -1."""
    logits = torch.tensor([-20.0], requires_grad=True)
    loss = squared_real_or_fake(logits, is_real=True)
    loss.backward()
    assert float(loss.detach()) == 441.0
    assert logits.grad is not None
    assert logits.grad.tolist() == [-42.0]
    assert float(squared_real_or_fake(torch.tensor([300.0], dtype=torch.float16), is_real=False)) == 90000.0
