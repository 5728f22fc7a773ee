"""The body outline of an ellipse in noise, whose outline is known."""

from __future__ import annotations

import numpy as np
import pytest
from builders import Array, make_volume

from synthct.errors import InputError
from synthct.outline import body_outline
from synthct.volume import Volume

CENTRE = (80.0, 96.0)
SEMI_AXES = (50.0, 70.0)


def _ellipse(shape: tuple[int, int, int], spacing: float, grow: float = 0.0) -> Array:
    y, x = np.mgrid[: shape[1], : shape[2]] * spacing
    flat = ((y - CENTRE[0]) / (SEMI_AXES[0] + grow)) ** 2 + ((x - CENTRE[1]) / (SEMI_AXES[1] + grow)) ** 2 <= 1
    return np.broadcast_to(flat, shape)


def _image(slices: int = 6, spacing: float = 1.0) -> tuple[Volume, Array, Array]:
    """An MR of an ellipse in mm with an air cavity in it; the ellipse, and the ellipse with the margin of 5 mm."""
    shape = (slices, round(160 / spacing), round(192 / spacing))
    body = _ellipse(shape, spacing)
    rng = np.random.default_rng(5)
    signal = np.where(body, 400.0, 0.0)
    middle = [round(centre / spacing) for centre in CENTRE]
    reach = round(12 / spacing)
    signal[:, middle[0] - reach : middle[0] + reach, middle[1] - reach : middle[1] + reach] = 0.0
    voxels = np.abs(signal + rng.normal(0.0, 30.0, shape)).astype(np.float32)
    return make_volume(voxels, spacing=(spacing, spacing, 3.0)), body, _ellipse(shape, spacing, grow=5.0)


def _dice(first: Array, second: Array) -> float:
    return float(2 * np.logical_and(first, second).sum() / (first.sum() + second.sum()))


@pytest.mark.parametrize("spacing", [1.0, 2.0])
def test_ellipse_with_its_margin(spacing: float) -> None:
    image, body, expected = _image(spacing=spacing)
    outline = body_outline(image)
    assert outline.geometry == image.geometry
    assert outline.voxels.dtype == np.uint8
    assert set(np.unique(outline.voxels)) == {0, 1}
    assert _dice(outline.voxels, expected) > 0.97
    assert outline.voxels[body].all()  # all of the body, its cavity too


def test_border_does_not_wander_far() -> None:
    image, _, _ = _image()
    outline = body_outline(image).voxels
    assert not outline[~_ellipse(outline.shape, 1.0, grow=9.0)].any()


@pytest.mark.parametrize("slices", [1, 2, 3])
def test_few_slices(slices: int) -> None:
    image, _, expected = _image(slices=slices)
    assert _dice(body_outline(image).voxels, expected) > 0.97


def test_smaller_second_object_is_left_out() -> None:
    image, _, expected = _image()
    image.voxels[:, 2:12, 2:12] = 400.0  # a bottle beside the patient
    outline = body_outline(image).voxels
    assert not outline[:, :10, :10].any()
    assert _dice(outline, expected) > 0.97


@pytest.mark.parametrize("value", [0, 7, -1000])
@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_empty_image(value: int, dtype: type[np.generic]) -> None:
    with pytest.raises(InputError, match="no body stands out"):
        body_outline(make_volume(np.full((5, 20, 20), value, dtype)))


def test_image_given_is_not_changed() -> None:
    image, _, _ = _image()
    before = image.voxels.copy()
    body_outline(image)
    assert np.array_equal(image.voxels, before)
