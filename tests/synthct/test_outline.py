"""The body outline of an ellipse in noise, whose outline is known."""

from __future__ import annotations

import numpy as np
import pytest
from builders import Array, make_volume

from synthct.errors import InputError
from synthct.outline import body_inside, body_outline
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


@pytest.mark.parametrize("spacing", [1.0, 2.0])
def test_a_mask_with_a_margin_is_cut_down_to_the_body(spacing: float) -> None:
    image, body, larger = _image(spacing=spacing)
    found = body_inside(image, image.with_voxels(larger.astype(np.uint8)))
    assert found.dtype == bool
    assert not found[~larger].any()
    assert _dice(found, body) > 0.96
    assert _dice(found, body) > _dice(larger, body) + 0.02


def test_what_lies_outside_the_mask_is_not_looked_at() -> None:
    """A second leg, brighter and larger than the mask, and a mask of 2 % of the image."""
    image, body, larger = _image()
    small = larger.copy()
    small[:, :, :60] = False
    small[:, 60:] = False
    mask = image.with_voxels(small.astype(np.uint8))
    alone = body_inside(image, mask)
    other = image.voxels.copy()
    other[~small] = 900.0
    assert np.array_equal(body_inside(image.with_voxels(other), mask), alone)
    assert _dice(alone, body & small) > 0.95
    assert (alone & ~body).sum() < (small & ~body).sum() / 2


def test_a_mask_that_is_all_body_stays_but_for_its_rim() -> None:
    image, body, _ = _image()
    inner = np.zeros(body.shape, np.uint8)
    inner[:, 60:66, 40:150] = 1
    found = body_inside(image, image.with_voxels(inner))
    assert found.sum() >= 0.5 * inner.sum()
    assert not found[inner == 0].any()


@pytest.mark.filterwarnings("ignore:.*which is taken for the body")
def test_without_an_outline_the_mask_is_the_body() -> None:
    mask = np.zeros((3, 20, 20), np.uint8)
    mask[:, 4:9, 5:7] = 1
    flat = make_volume(np.full(mask.shape, 7, np.int16))
    with pytest.warns(UserWarning, match="image: no outline shows inside the mask, which is taken for the body"):
        found = body_inside(flat, flat.with_voxels(mask))
    assert np.array_equal(found, mask > 0)
    speck = np.zeros(mask.shape, np.int16)
    speck[:, 5:8, 6:9] = 900
    dot = make_volume(speck, spacing=(9.0, 9.0, 9.0))
    wide = np.ones(mask.shape, np.uint8)
    with pytest.warns(UserWarning, match=r"its outline fills [0-9]% of the mask, which is taken for the body"):
        assert body_inside(dot, dot.with_voxels(wide)).all()


def test_an_empty_mask_holds_no_body() -> None:
    image, _, _ = _image()
    assert not body_inside(image, image.with_voxels(np.zeros(image.voxels.shape, np.uint8))).any()
