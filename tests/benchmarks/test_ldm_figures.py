"""Figures of ldm-brain's benchmark by hand, and what they are taken of."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from builders import make_volume
from ldm_pairs import SPACING, engine, head, save_tiny

from benchmarks.ldm_figures import (
    figures,
    forget_peak,
    mean_figures,
    mean_hu,
    peak_megabytes,
    reconstructed,
    sampled,
    with_layout,
    with_mr_of,
    with_sampling,
)
from synthct.anatomy import Region, Task
from synthct.dataset import Case
from synthct.errors import InputError
from synthct.weights import ModelFolder, open_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ModelFolder:
    return save_tiny(tmp_path_factory.mktemp("ldm") / "model")


def test_figures_by_hand() -> None:
    """A cube of 60 mm at 10 mm: its two outer layers are the outer 20 mm, 8 of 216 voxels the centre."""
    ct, mask = np.zeros((8, 8, 8), np.int16), np.zeros((8, 8, 8), np.uint8)
    mask[1:7, 1:7, 1:7] = 1
    ct[1:7, 1:7, 1] = 200
    hu = ct + np.int16(100)
    hu[3:5, 3:5, 3:5] = 40
    grid: dict[str, Any] = {"spacing": (10.0, 10.0, 10.0)}
    case = Case("1BA001", Task.MRI, Region.BRAIN, *(make_volume(each, **grid) for each in (ct, mask, ct)))
    found = figures(case, hu)
    assert found["mae_outer"] == pytest.approx(100)
    assert found["mae_centre"] == pytest.approx(40)
    assert found["mae"] == pytest.approx((100 * 208 + 40 * 8) / 216)
    assert found["dice_150"] == pytest.approx(1)  # 36 voxels of 200 HU, which are 300 in the prediction
    assert found["nsd_150"] == pytest.approx(1)
    assert found["dice_300"] is None  # bone in the prediction alone: the CT has none to find
    assert found["nsd_300"] is None
    without = figures(case, np.zeros_like(ct))
    assert without["mae"] == pytest.approx(200 * 36 / 216)
    assert without["dice_150"] == 0
    assert without["nsd_150"] == 0


def test_a_small_mask_has_no_centre_and_a_case_without_ct_no_figures() -> None:
    case = head("1BA001")
    assert figures(case, case.image.voxels)["mae_centre"] is None
    with pytest.raises(InputError, match="1BA001: has no CT"):
        figures(replace(case, reference=None), case.image.voxels)


def test_means_leave_out_what_is_undefined() -> None:
    rows: list[dict[str, float | None]] = [
        {"mae": 1.0, "dice": None, "nsd": None},
        {"mae": 4.0, "dice": 0.5, "nsd": None},
    ]
    assert mean_figures(rows) == {"mae": 2.5, "dice": 0.5, "nsd": None}
    assert mean_figures([]) == {}


def test_the_mean_of_samples_is_numpys_and_finished() -> None:
    first, second = np.full((1, 1, 3), 100, np.int16), np.array([[[301, 100, 100]]], np.int16)
    mean = mean_hu([first, second], np.array([[[1, 1, 0]]]))
    assert mean.dtype == np.int16
    assert mean.tolist() == [[[200, 100, -1000]]]  # 200.5 is rounded to the even number


def test_another_subjects_mr_comes_to_lie_on_the_mask() -> None:
    """The same head elsewhere in the room and cut otherwise gives the very same MR."""
    case = head("1BA001", seed=3)
    parts = {
        name: make_volume(volume.voxels[1:, :, 1:], spacing=(SPACING,) * 3, origin=(500.0, -70.0, 8.0))
        for name, volume in (("image", case.image), ("mask", case.mask))
    }
    found = with_mr_of(case, replace(case, **parts, reference=None))
    assert found.image.geometry == case.image.geometry
    assert np.allclose(found.image.voxels[1:, :, 1:], case.image.voxels[1:, :, 1:], atol=1e-3)
    assert found.mask is case.mask
    assert found.reference is case.reference


def test_reconstruction_goes_through_the_autoencoder_and_the_grid_alone_loses_nothing(model: ModelFolder) -> None:
    case = head("1BA001")
    assert case.reference is not None
    made = reconstructed(model, case, engine())
    inside = case.mask.voxels > 0
    assert np.array_equal(made["grid"][inside], case.reference.voxels[inside])
    assert (made["autoencoder"][~inside] == -1000).all()
    assert np.abs(made["autoencoder"][inside].astype(int) - case.reference.voxels[inside]).mean() > 50  # random weights
    assert np.ptp(made["autoencoder"][inside]) > 0
    with pytest.raises(InputError, match="has no CT"):
        reconstructed(model, replace(case, reference=None), engine())


def test_a_coarser_grid_costs_something(model: ModelFolder) -> None:
    coarse = replace(
        model, card=model.card.model_copy(update={"config": {**model.card.config, "spacing": [8.0, 8.0, 8.0]}})
    )
    case = head("1BA001")
    loss = figures(case, reconstructed(coarse, case, engine())["grid"])["mae"]
    assert loss is not None
    assert 20 < loss < 1000


def test_a_stages_folder_gives_the_same_reconstruction(model: ModelFolder, tmp_path: Path) -> None:
    stage = save_tiny(tmp_path / "autoencoder", stage=True)
    case = head("1BA001")
    whole, alone = (reconstructed(each, case, engine())["autoencoder"] for each in (model, stage))
    assert np.array_equal(whole, alone)
    assert with_layout(stage, "fit").card.config["layout"] == "fit"


def test_settings_are_changed_for_the_run_alone(model: ModelFolder) -> None:
    changed = with_sampling(with_layout(model, "fit"), steps=7)
    assert changed.card.config["sampling"]["steps"] == 7
    assert changed.card.config["sampling"]["layout"] == "fit"
    assert model.card.config["sampling"]["steps"] == 2
    assert open_model(model.path).card.config == model.card.config


def test_a_sample_is_the_predictors(model: ModelFolder) -> None:
    """The seed decides it; the steps are those of the card; the progress counts them."""
    case, seen = head("1BA001"), []
    changed = with_sampling(model, steps=3)
    first, seconds = sampled(changed, case, engine(4), advance=lambda done, total: seen.append((done, total)))
    again, other = (sampled(changed, case, engine(seed))[0] for seed in (4, 5))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert seconds > 0
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_peak_memory_is_measured_anew() -> None:
    device = torch.device("cpu")
    forget_peak(device)
    before = peak_megabytes(device)
    block = np.ones(1 << 26, np.uint8)
    with_block = peak_megabytes(device)
    del block
    forget_peak(device)
    assert with_block - before > 50
    assert with_block - peak_megabytes(device) > 50
