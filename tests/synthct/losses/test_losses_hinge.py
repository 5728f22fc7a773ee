"""The hinge loss by hand."""

from __future__ import annotations

import pytest
import torch

from synthct.losses.adversarial import hinge_generator, hinge_real_or_fake


def logits(*values: float) -> torch.Tensor:
    return torch.tensor(values).reshape(1, 1, 1, 1, -1)


@pytest.mark.parametrize(
    ("logit", "as_real", "as_fake"),
    [(10.0, 0.0, 11.0), (1.0, 0.0, 2.0), (0.5, 0.5, 1.5), (0.0, 1.0, 1.0), (-1.0, 2.0, 0.0), (-10.0, 11.0, 0.0)],
)
def test_both_answers_by_hand(logit: float, as_real: float, as_fake: float) -> None:
    """Beyond the margin of 1 on the right side it costs nothing; on the wrong side it grows with the logit."""
    judged = torch.full((2, 1, 1, 3, 3), logit)
    assert float(hinge_real_or_fake(judged, is_real=True)) == as_real
    assert float(hinge_real_or_fake(judged, is_real=False)) == as_fake


def test_the_generator_has_no_hinge() -> None:
    """Where the discriminator says 10 everywhere it is -10 exactly; a hinge or a tanh would give 0 or -1."""
    assert float(hinge_generator(torch.full((1, 1, 2, 3, 3), 10.0))) == -10.0
    assert float(hinge_generator(torch.full((1, 1, 2, 3, 3), -3.0))) == 3.0


def test_it_is_the_mean_over_all_logits() -> None:
    """-2, 0 and 4: (3 + 1 + 0) / 3 as real, (0 + 1 + 5) / 3 as fake, minus 2 / 3 for the generator."""
    judged = logits(-2.0, 0.0, 4.0)
    assert float(hinge_real_or_fake(judged, is_real=True)) == pytest.approx(4 / 3)
    assert float(hinge_real_or_fake(judged, is_real=False)) == pytest.approx(2.0)
    assert float(hinge_generator(judged)) == pytest.approx(-2 / 3)


def test_gradients() -> None:
    """The discriminator learns from what is inside the margin alone, the generator from all alike."""
    for is_real, expected in ((True, [-0.25, -0.25, 0.0, -0.25]), (False, [0.0, 0.25, 0.25, 0.25])):
        judged = torch.tensor([-2.0, 0.0, 4.0, 0.5], requires_grad=True)
        hinge_real_or_fake(judged, is_real=is_real).backward()
        assert judged.grad is not None
        assert judged.grad.tolist() == expected
    judged = torch.tensor([-2.0, 0.0, 4.0, 50.0], requires_grad=True)
    hinge_generator(judged).backward()
    assert judged.grad is not None
    assert judged.grad.tolist() == [-0.25] * 4


def test_it_is_float32_in_half_precision() -> None:
    """256 is a bf16 number, 1 + 256 is none: it would be 256."""
    judged = torch.full((3,), 256.0, dtype=torch.bfloat16)
    for loss, expected in (
        (hinge_generator(judged), -256.0),
        (hinge_real_or_fake(judged, is_real=False), 257.0),
        (hinge_real_or_fake(-judged, is_real=True), 257.0),
    ):
        assert loss.dtype == torch.float32
        assert float(loss) == expected
