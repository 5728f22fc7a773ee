"""Feature matching by hand."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from synthct.losses.feature_matching import feature_matching


def maps(*values: float) -> Tensor:
    """One channel, a row of voxels."""
    return torch.tensor(values).reshape(1, 1, 1, 1, -1)


LOGITS = maps(100.0)


def test_by_hand() -> None:
    """Layers of (1 + 3) / 2 and 6 make 8 at the first scale, 4 and 0 make 4 at the second: 6 in the mean."""
    fake = [[maps(0.0, 5.0), maps(7.0), LOGITS], [maps(2.0, 2.0), maps(1.0), LOGITS]]
    real = [[maps(1.0, 2.0), maps(1.0), -LOGITS], [maps(-2.0, 6.0), maps(1.0), -LOGITS]]
    assert float(feature_matching(fake, real)) == 6.0


def test_the_number_of_scales_does_not_change_the_weight() -> None:
    fake, real = [maps(3.0), LOGITS], [maps(1.0), LOGITS]
    for scales in (1, 2, 3):
        assert float(feature_matching([fake] * scales, [real] * scales)) == 2.0


def test_a_large_layer_counts_as_much_as_a_small_one() -> None:
    """Each layer's difference is divided by its own number of elements, whatever its channels."""
    small = feature_matching([[maps(1.0), LOGITS]], [[maps(0.0), LOGITS]])
    large = feature_matching([[torch.ones(2, 64, 2, 8, 8), LOGITS]], [[torch.zeros(2, 64, 2, 8, 8), LOGITS]])
    assert float(small) == float(large) == 1.0


def test_logits_are_left_out() -> None:
    fake, real = [[maps(1.0), maps(5.0)]], [[maps(1.0), maps(-5.0)]]
    assert float(feature_matching(fake, real)) == 0.0


def test_the_gradient_reaches_the_synthetic_ct_alone() -> None:
    ours, theirs = maps(1.0, 5.0).requires_grad_(), maps(2.0, 3.0).requires_grad_()
    feature_matching([[ours, LOGITS], [ours, LOGITS]], [[theirs, LOGITS], [theirs, LOGITS]]).backward()
    assert ours.grad is not None
    assert ours.grad.flatten().tolist() == [-0.5, 0.5]
    assert theirs.grad is None


def test_differences_are_taken_in_float32() -> None:
    """256 and -1 are bf16 numbers, their difference of 257 is none: it would be 256."""
    loss = feature_matching([[maps(256.0).bfloat16(), LOGITS]], [[maps(-1.0).bfloat16(), LOGITS]])
    assert loss.dtype == torch.float32
    assert float(loss) == 257.0


@pytest.mark.parametrize(
    ("fake", "real", "complaint"),
    [
        ([], [], "0 scales against 0"),
        ([[maps(1.0), LOGITS]], [], "1 scales against 0"),
        ([[LOGITS]], [[LOGITS]], r"shapes \[\] against \[\]; expected .* before the logits"),
        ([[maps(1.0), LOGITS]], [[maps(1.0), maps(1.0), LOGITS]], "expected the same"),
        ([[maps(1.0, 2.0), LOGITS]], [[maps(1.0), LOGITS]], r"\(1, 1, 1, 1, 2\)\] against \[\(1, 1, 1, 1, 1\)"),
    ],
)
def test_maps_that_do_not_match(fake: list[list[Tensor]], real: list[list[Tensor]], complaint: str) -> None:
    """Broadcasting would make a number of them all the same."""
    with pytest.raises(ValueError, match=complaint):
        feature_matching(fake, real)
