"""The picture of a case: it exists, shows every column, and shows different things in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from matplotlib import image as png

from evaluation.report.slices import write_case_picture
from evaluation.submission import ScoringCase
from synthct.anatomy import CaseId
from synthct.errors import InputError
from synthct.phantom import make_phantom
from synthct.volume import write_volume

Array = npt.NDArray[Any]
COLUMN, HEIGHT = 270, 540
"""Pixels: 3 inches a column and 6 inches in all at 90 dots per inch."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of one limb, its ground truth as ct/ and mask/, and an sCT that is 400 HU above the CT."""
    root = tmp_path_factory.mktemp("slices")
    phantom = make_phantom("limb", seed=1, size=(40, 40, 12), spacing=(3.0, 3.0, 5.0))
    above = phantom.reference.with_voxels((phantom.reference.voxels + 400).astype(np.int16))
    case = root / "data" / "Task1" / "EX" / "1EXA001"
    for folder in (case, root / "gt" / "ct", root / "gt" / "mask", root / "sct"):
        folder.mkdir(parents=True)
    write_volume(phantom.image, case / "mr.mha")
    for volume, paths in (
        (phantom.reference, [case / "ct.mha", root / "gt" / "ct" / "1EXA001.mha"]),
        (phantom.mask, [case / "mask.mha", root / "gt" / "mask" / "1EXA001.mha"]),
        (above, [root / "sct" / "1EXA001.mha"]),
    ):
        for path in paths:
            write_volume(volume, path)
    return root


def draw(data: Path, ground_truth: str, path: Path, *, sct: str = "sct/1EXA001.mha") -> Array:
    """Draw the case and read the picture back: (height, width, 3), 0 to 1."""
    ct, mask = (data / "gt" / name / "1EXA001.mha" for name in ("ct", "mask"))
    case = ScoringCase(CaseId.parse("1EXA001"), ct, mask, prediction=data / sct)
    assert write_case_picture(case, data / ground_truth, path) == path
    assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    return np.asarray(png.imread(path))[..., :3]


def test_data_set_gives_four_columns(data: Path, tmp_path: Path) -> None:
    picture = draw(data, "data", tmp_path / "1EXA001.png")
    assert picture.shape == (HEIGHT, 4 * COLUMN, 3)
    assert (tmp_path / "1EXA001.png").stat().st_size > 10_000
    assert [path.name for path in tmp_path.iterdir()] == ["1EXA001.png"]
    columns = [picture[:, number * COLUMN : (number + 1) * COLUMN] for number in range(3)]
    assert [round(float(column.var()), 3) for column in columns if column.var() < 0.01] == []
    for first, second in ((0, 1), (1, 2), (0, 2)):
        assert np.abs(columns[first] - columns[second]).mean() > 0.02


def test_ground_truth_folder_leaves_the_input_out(data: Path, tmp_path: Path) -> None:
    picture = draw(data, "gt", tmp_path / "1EXA001.png")
    assert picture.shape == (HEIGHT, 3 * COLUMN, 3)
    assert picture.var() > 0.01


def redness(picture: Array) -> float:
    """How many pixels of the body of the picture, without its colour bar, are clearly redder than blue."""
    body = picture[60:, : -COLUMN // 3]
    return float((body[..., 0] - body[..., 2] > 0.2).mean())


def test_difference_is_red_where_the_sct_is_above(data: Path, tmp_path: Path) -> None:
    above = draw(data, "gt", tmp_path / "above.png")
    same = draw(data, "gt", tmp_path / "same.png", sct="gt/ct/1EXA001.mha")
    assert redness(above) > 0.02
    assert redness(same) == 0.0


def test_case_without_prediction_is_refused(data: Path, tmp_path: Path) -> None:
    case = ScoringCase(
        CaseId.parse("1EXA001"), data / "gt" / "ct" / "1EXA001.mha", data / "gt" / "mask" / "1EXA001.mha"
    )
    with pytest.raises(InputError, match="1EXA001 has no prediction to draw"):
        write_case_picture(case, data / "gt", tmp_path / "1EXA001.png")
    assert list(tmp_path.iterdir()) == []
