"""What is found without a CT: each finding where it must worry, where it must not, and where nothing is known."""

from __future__ import annotations

import numpy as np
import pytest
from report_images import ball, images_of

from evaluation.report import reference_free as module
from evaluation.report.reference_free import Finding, reference_free, training_range

SHAPE = (20, 24, 24)
BODY = ball(SHAPE, 8)
WATER = np.where(BODY, 0, -1000).astype(np.int16)
MR = np.where(BODY, 500, 0).astype(np.int16)


def findings(*arguments: object, **options: object) -> dict[str, Finding]:
    return {found.name.split()[0]: found for found in reference_free(*arguments, **options)}  # type: ignore[arg-type]


def test_a_good_case_gives_no_reason_to_look() -> None:
    images = images_of(WATER, BODY, image=MR, spread=np.full(SHAPE, 10.0))
    found = findings(images, 0.0, (0.0, 2000.0))
    assert [each.worrying for each in found.values()] == [False] * 4
    assert found["Spread"].value == "mean 10 HU, 95th percentile 10 HU; above 100 HU in 0.0% of the body"
    assert found["HU"].value.endswith("lowest 0, highest 0 HU; 0.0% were clipped when the sCT was written")
    assert found["Outlines"].value.startswith("Dice 1.000, volume +0.0% of the image's")
    assert found["Input"].value == "0.0% of the body outside 0 to 2000; median 500"


def test_what_nothing_tells_is_not_known_and_not_fine() -> None:
    found = findings(images_of(WATER, BODY))
    assert [each.worrying for each in found.values()] == [None, False, None, None]
    assert [each.value for name, each in found.items() if name != "HU"] == ["not known"] * 3
    assert "no input image" in found["Input"].meaning
    assert "names no intensity range" in findings(images_of(WATER, BODY, image=MR))["Input"].meaning


def test_spread_is_counted_in_the_body_alone() -> None:
    spread = np.where(BODY, 10.0, 500.0)
    assert findings(images_of(WATER, BODY, spread=spread))["Spread"].worrying is False
    assert findings(images_of(WATER, BODY, spread=np.full(SHAPE, 150.0)))["Spread"].worrying is True


@pytest.mark.parametrize("value", [-1024, 3071])
def test_values_at_the_limits_worry(value: int) -> None:
    sct = WATER.copy()
    sct[9, 10:14, 10:14] = value
    found = findings(images_of(sct, BODY))["HU"]
    assert found.worrying is True
    assert found.value.startswith(f"{16 / BODY.sum():.1%} of the body")


def test_one_voxel_at_a_limit_is_named_and_does_not_worry() -> None:
    shape = (20, 40, 40)
    body = np.ones(shape, dtype=bool)
    sct = np.zeros(shape, dtype=np.int16)
    sct[0, 0, 0] = 3071
    found = findings(images_of(sct, body))["HU"]
    assert (found.worrying, found.value.startswith("under 0.1% of the body")) == (False, True)


def test_clipping_is_believed_only_as_a_number() -> None:
    images = images_of(WATER, BODY)
    assert findings(images, 0.3)["HU"].worrying is True
    for told in ("0.3", None, True, float("nan"), [0.3]):
        assert findings(images, told)["HU"].worrying is False
        assert "clipped" not in findings(images, told)["HU"].value


def test_a_body_that_the_sct_lacks_worries() -> None:
    half = WATER.copy()
    half[:, :, 14:] = -1000
    found = findings(images_of(half, BODY, image=MR))["Outlines"]
    assert found.worrying is True
    assert "-" in found.value.split("volume")[1].split("%")[0]  # less than the image shows


def test_outlines_of_a_large_image_are_compared_on_fewer_voxels(monkeypatch: pytest.MonkeyPatch) -> None:
    half = WATER.copy()
    half[:, :, 14:] = -1000
    whole = findings(images_of(half, BODY, image=MR))["Outlines"].value
    monkeypatch.setattr(module, "OUTLINE_VOXELS", WATER.size // 4)  # every second voxel: an eighth is left
    fewer = findings(images_of(half, BODY, image=MR))["Outlines"].value
    dices = [float(text.split()[1].rstrip(",")) for text in (whole, fewer)]
    distances = [float(text.split("within ")[1].split()[0]) for text in (whole, fewer)]
    assert whole != fewer
    assert dices[0] == pytest.approx(dices[1], abs=0.05)
    assert distances[0] == pytest.approx(distances[1], abs=2.0)  # mm: the wider step is in the spacing


def test_intensities_of_another_scanner_worry() -> None:
    images = images_of(WATER, BODY, image=MR)
    assert findings(images, None, (0.0, 400.0))["Input"].worrying is True
    scaled = np.where(BODY, 100, 0)
    scaled[8:12][BODY[8:12]] = 900
    assert findings(images_of(WATER, BODY, image=scaled), None, (0.0, 400.0))["Input"].worrying is True


def test_training_range_of_model_cards() -> None:
    of_image = {"image": {"low": 0, "high": 4000}, "ct": {"low": -1024, "high": 3071}}
    assert training_range({"config": of_image}) == (0, 4000)
    assert training_range({"config": {"low": 0.0, "high": 2000.0, "bins": 250}}) == (0, 2000)
    wrong = [{"low": 5, "high": 5}, {"low": "0", "high": 9}, {"low": 0, "high": float("inf")}]
    for config in (None, [], {}, {"image": {}}, *wrong):
        assert training_range({"config": config}) is None
    assert training_range({}) is None
