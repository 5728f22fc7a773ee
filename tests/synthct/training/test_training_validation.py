"""Validation by sweeping whole cases: the error and the picture, by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from synthct.inference.engine import Engine
from synthct.inference.settings import SweepSettings
from synthct.intensity import LinearScale
from synthct.training.cache import CachedCase, PreparedCase, hold_case
from synthct.training.patches import Fill
from synthct.training.validation import SweptValidation

SHAPE = (4, 8, 8)


class Shifted(nn.Module):
    """Adds 0.1 to its input."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image + 0.1


def make_case(name: str = "1EXA001", *, offset: float = 0.0) -> CachedCase:
    """The CT equals the image but for an offset; inside are three columns of each slice but the first."""
    image = np.random.default_rng(1).random(SHAPE).astype(np.float32)
    weight = np.zeros(SHAPE, np.uint8)
    weight[1:, :, :3] = 1
    reference = image + np.float32(offset)
    reference[weight == 0] = 50.0  # far off, where nobody looks
    return hold_case(name, "EX", PreparedCase(image, reference, weight))


def make_validation(*cases: CachedCase) -> SweptValidation:
    return SweptValidation(
        cases,
        network="generator",
        engine=Engine(torch.device("cpu")),
        settings=SweepSettings(patch=(4, 4, 4)),
        fill=Fill(image=0.0, reference=-1.0),
        to_hu=LinearScale(low=-1024, high=3071, scale=1000).invert,
    )


@pytest.mark.parametrize(("offset", "expected"), [(0.1, 0.0), (0.0, 100.0), (0.35, 250.0)])
def test_error_is_the_mean_inside_the_mask_in_hu(offset: float, expected: float) -> None:
    score = make_validation(make_case(offset=offset)).score({"generator": Shifted().eval()}, 0)
    assert list(score.values) == ["mae_hu"]
    assert score.values["mae_hu"] == pytest.approx(expected, abs=1e-3)


def test_each_case_is_judged_on_its_own() -> None:
    validation = make_validation(make_case(offset=0.1), make_case("1EXA002", offset=0.3))
    assert validation.cases == ("1EXA001", "1EXA002")
    found = [validation.score({"generator": Shifted().eval()}, index).values["mae_hu"] for index in range(2)]
    assert found == pytest.approx([0.0, 200.0], abs=1e-3)


def test_picture_shows_image_prediction_and_truth_side_by_side() -> None:
    score = make_validation(make_case(offset=0.1)).score({"generator": Shifted().eval()}, 0)
    ((title, picture),) = score.images.items()
    assert title == "1EXA001 image, sCT, CT"
    assert picture.shape == (SHAPE[1], 3 * SHAPE[2])
    assert picture.dtype == np.float32
    assert 0 <= picture.min() < picture.max() <= 1
    image, sct, ct = np.split(picture, 3, axis=1)
    np.testing.assert_allclose(sct, ct, atol=1e-5)
    assert np.all(ct[:, 3:] == 0)  # air outside the mask
    assert np.ptp(ct[:, :3]) > 0
    assert not np.allclose(image, ct)


def test_slice_without_body_has_a_picture_too() -> None:
    case = make_case()
    empty = np.zeros(SHAPE, np.uint8)
    empty[0] = 1
    bare = hold_case("1EXA001", "EX", PreparedCase(case.image, np.array(case.reference), empty))
    picture = next(iter(make_validation(bare).score({"generator": Shifted().eval()}, 0).images.values()))
    assert np.isfinite(picture).all()


def test_case_without_reference_cannot_be_judged() -> None:
    case = make_case()
    bare = hold_case("1EXA001", "EX", PreparedCase(case.image, None, case.weight))
    with pytest.raises(ValueError, match="1EXA001 has no reference"):
        make_validation(bare).score({"generator": Shifted().eval()}, 0)
