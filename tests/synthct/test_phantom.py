"""What make_phantom promises: equal bytes, types, ranges, geometry, the mask, the acquisition, and its errors."""

from __future__ import annotations

import hashlib
from typing import Any, get_args

import numpy as np
import pytest
from phantom_cases import phantom
from scipy import ndimage

import synthct.phantom
from synthct.errors import UsageError
from synthct.phantom import PHANTOM_KINDS, PhantomCase, PhantomKind, PhantomTask, make_phantom
from synthct.volume import require_same_grid

SMALL: dict[str, Any] = {"size": (56, 56, 14), "spacing": (6.0, 5.0, 9.0)}
TASKS: tuple[PhantomTask, ...] = get_args(PhantomTask)


def volumes(case: PhantomCase) -> dict[str, Any]:
    return {name: getattr(case, name) for name in ("image", "reference", "mask", "segmentation")}


def digest(case: PhantomCase) -> str:
    total = hashlib.sha256()
    for volume in volumes(case).values():
        total.update(volume.voxels.tobytes())
        total.update(repr(volume.geometry).encode())
    return total.hexdigest()


def test_public_names() -> None:
    assert sorted(synthct.phantom.__all__) == sorted(set(synthct.phantom.__all__))
    assert all(hasattr(synthct.phantom, name) for name in synthct.phantom.__all__)
    assert get_args(PhantomKind) == PHANTOM_KINDS == ("limb", "head", "pelvis", "abdomen", "thorax")


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("kind", PHANTOM_KINDS)
def test_equal_arguments_give_equal_bytes(kind: PhantomKind, task: PhantomTask) -> None:
    first = digest(make_phantom(kind, task=task, seed=3, **SMALL))
    assert first == digest(make_phantom(kind, task=task, seed=3, **SMALL))
    assert first != digest(make_phantom(kind, task=task, seed=4, **SMALL))


def test_default_size_is_deterministic() -> None:
    assert digest(make_phantom("limb")) == digest(phantom("limb"))


@pytest.mark.parametrize("kind", PHANTOM_KINDS)
def test_global_random_state_neither_matters_nor_changes(kind: PhantomKind) -> None:
    np.random.seed(1)
    first = digest(make_phantom(kind, **SMALL))
    state = np.random.get_state()[1].tobytes()  # type: ignore[index]
    np.random.seed(2)
    assert first == digest(make_phantom(kind, **SMALL))
    np.random.seed(1)
    assert np.random.get_state()[1].tobytes() == state  # type: ignore[index]


@pytest.mark.parametrize("name", ["image", "reference", "mask", "segmentation"])
def test_seeds_differ_in_every_volume(name: str) -> None:
    first, second = phantom("abdomen"), phantom("abdomen", "mri", 1)
    assert not np.array_equal(volumes(first)[name].voxels, volumes(second)[name].voxels)
    assert first.image.geometry.origin != second.image.geometry.origin


@pytest.mark.parametrize("kind", PHANTOM_KINDS)
def test_task_changes_nothing_but_the_image(kind: PhantomKind) -> None:
    mr, cbct = phantom(kind), phantom(kind, "cbct")
    for name in ("reference", "mask", "segmentation"):
        np.testing.assert_array_equal(volumes(mr)[name].voxels, volumes(cbct)[name].voxels)
    assert mr.image.geometry == cbct.image.geometry
    assert not np.array_equal(mr.image.voxels, cbct.image.voxels)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("kind", PHANTOM_KINDS)
def test_types_ranges_and_grid(kind: PhantomKind, task: PhantomTask) -> None:
    case = phantom(kind, task)
    for volume in volumes(case).values():
        require_same_grid(case.image, volume)
        assert volume.voxels.flags.c_contiguous
    assert case.image.voxels.dtype == case.reference.voxels.dtype == np.int16
    assert case.mask.voxels.dtype == case.segmentation.voxels.dtype == np.uint8
    assert case.reference.voxels.min() >= -1024
    assert case.reference.voxels.max() <= 3071
    assert set(np.unique(case.mask.voxels)) == {0, 1}
    if task == "mri":
        assert case.image.voxels.min() >= 0
        assert 900 < case.image.voxels.max() < 2000
    else:
        assert case.image.voxels.min() >= -1024
        assert case.image.voxels.max() <= 3071


@pytest.mark.parametrize("kind", PHANTOM_KINDS)
def test_geometry_is_not_trivial(kind: PhantomKind) -> None:
    geometry = phantom(kind).image.geometry
    assert geometry.direction == (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
    assert all(abs(value - round(value, 3)) > 0 for value in geometry.origin)
    assert len(set(geometry.spacing)) > 1


def test_size_and_spacing_can_be_chosen() -> None:
    case = make_phantom("limb", size=(40, 33, 12), spacing=(3.5, 4.0, 6.0))
    assert case.image.voxels.shape == (12, 33, 40)
    assert case.image.geometry.spacing == (3.5, 4.0, 6.0)
    assert make_phantom("limb", size=(20, 20, 20)).image.geometry.spacing == phantom("limb").image.geometry.spacing
    assert make_phantom("limb", spacing=(9.0, 9.0, 9.0)).image.geometry.size == phantom("limb").image.geometry.size


@pytest.mark.parametrize("size", [(8, 8, 8), (64, 8, 9)])
@pytest.mark.parametrize("kind", PHANTOM_KINDS)
def test_smallest_fields_of_view_work(kind: PhantomKind, size: tuple[int, int, int]) -> None:
    for task in TASKS:
        assert make_phantom(kind, task=task, size=size).image.geometry.size == size


@pytest.mark.parametrize("task", TASKS)
def test_field_without_any_body_works(task: PhantomTask) -> None:
    # One voxel centre in 5 m meets nothing: no bone for streaks to start at, an empty mask.
    case = make_phantom("limb", task=task, size=(8, 8, 8), spacing=(5000.0, 5000.0, 5000.0))
    assert not case.mask.voxels.any()
    assert case.reference.voxels.mean() == pytest.approx(-1000, abs=8)


def test_field_of_view_crops_the_same_body() -> None:
    whole = make_phantom("limb", size=(128, 128, 40))
    part = make_phantom("limb", size=(64, 64, 20))
    inner = whole.segmentation.voxels[10:30, 32:96, 32:96]
    assert np.mean(inner == part.segmentation.voxels) > 0.999
    np.testing.assert_allclose(
        np.array(part.image.geometry.origin) - np.array(whole.image.geometry.origin), (32.0, 32.0, 30.0), atol=1e-9
    )


@pytest.mark.parametrize(("kind", "ids"), [("abdomen", (5, 2, 3, 1, 30)), ("thorax", (12, 14, 51)), ("head", (90, 91))])
def test_volumes_in_ml_do_not_depend_on_resolution(kind: PhantomKind, ids: tuple[int, ...]) -> None:
    fine = phantom(kind)
    size, spacing = fine.image.geometry.size, fine.image.geometry.spacing
    coarse = make_phantom(
        kind,
        size=(round(size[0] / 1.4), round(size[1] / 1.4), size[2]),
        spacing=(spacing[0] * 1.4, spacing[1] * 1.4, spacing[2]),
    )
    for label in ids:
        millilitres = [
            np.count_nonzero(case.segmentation.voxels == label) * np.prod(case.image.geometry.spacing) / 1000
            for case in (fine, coarse)
        ]
        assert millilitres[0] > 1.0
        assert millilitres[1] == pytest.approx(millilitres[0], rel=0.10), f"id {label}"


@pytest.mark.parametrize("kind", PHANTOM_KINDS)
def test_mask_is_the_body_and_a_margin(kind: PhantomKind) -> None:
    case = phantom(kind)
    mask, hu = case.mask.voxels > 0, case.reference.voxels
    assert np.mean(mask[hu > -400]) == 1.0  # no tissue outside
    assert not case.segmentation.voxels[~mask].any()
    spacing = case.image.geometry.spacing
    for z in range(0, mask.shape[0], 7):
        body = ndimage.binary_fill_holes(ndimage.median_filter(hu[z], size=3) > -500)
        away = ndimage.distance_transform_edt(~body, sampling=(spacing[1], spacing[0]))
        assert away[mask[z]].max(initial=0.0) < 5.0 + 3 * max(spacing[:2])
        assert np.count_nonzero(mask[z]) > np.count_nonzero(body) or not body.any()
    # The body lies free inside the field: the mask touches no side in the plane.
    assert not mask[:, [0, -1]].any()
    assert not mask[:, :, [0, -1]].any()


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("kind", PHANTOM_KINDS)
def test_cbct_is_degraded_but_the_same_body(kind: PhantomKind, seed: int) -> None:
    case = phantom(kind, "cbct", seed)
    inside = case.mask.voxels > 0
    cbct, ct = case.image.voxels[inside].astype(float), case.reference.voxels[inside].astype(float)
    assert 20 < np.abs(cbct - ct).mean() < 150
    assert np.corrcoef(cbct, ct)[0, 1] > 0.9
    muscle = (ct > 20) & (ct < 90)
    assert cbct[muscle].std() > 2 * ct[muscle].std()
    outside = case.image.voxels[~inside].astype(float)
    assert outside.mean() == pytest.approx(-1000, abs=25)
    assert outside.std() > 3


def test_air_around_the_body_is_noisy_and_clipped() -> None:
    case = phantom("pelvis")
    outside = case.reference.voxels[case.mask.voxels == 0].astype(float)
    assert outside.mean() == pytest.approx(-1000, abs=2)
    assert 8 < outside.std() < 14
    assert case.image.voxels[case.mask.voxels == 0].mean() == pytest.approx(15, abs=4)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"kind": "foot"}, ["'foot'", "limb, head, pelvis, abdomen, thorax"]),
        ({"kind": ""}, ["''", "thorax"]),
        ({"kind": "limb", "task": "pet"}, ["'pet'", "mri, cbct"]),
        ({"kind": "limb", "seed": -1}, ["seed -1", "0 or more"]),
        ({"kind": "limb", "size": (7, 64, 64)}, ["(7, 64, 64)", "8 or more"]),
        ({"kind": "limb", "size": (64, 64)}, ["(64, 64)", "three"]),
        ({"kind": "limb", "size": (64.5, 64, 64)}, ["64.5", "whole"]),
        ({"kind": "limb", "size": (float("nan"), 64, 64)}, ["nan", "whole"]),
        ({"kind": "limb", "spacing": (1.0, 0.0, 1.0)}, ["(1.0, 0.0, 1.0)", "above 0"]),
        ({"kind": "limb", "spacing": (1.0, -2.0, 1.0)}, ["-2.0", "above 0"]),
        ({"kind": "limb", "spacing": (1.0, float("nan"), 1.0)}, ["nan", "above 0"]),
        ({"kind": "limb", "spacing": (1.0, float("inf"), 1.0)}, ["inf", "above 0"]),
        ({"kind": "limb", "spacing": (1.0, 1.0)}, ["(1.0, 1.0)", "three"]),
    ],
)
def test_bad_arguments_are_named_in_one_line(arguments: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        make_phantom(**arguments)
    message = str(caught.value)
    assert "\n" not in message
    assert all(word in message for word in words), message
