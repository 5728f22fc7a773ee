"""Simulated head pairs: a small head made of shells, whose tissues must look as they are said to."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import numpy.typing as npt
import pytest
import SimpleITK as sitk
from builders import make_volume
from typer.testing import CliRunner

from benchmarks.head_pairs import (
    CT_NOISE_HU,
    MR_NOISE,
    MR_SCALE,
    app,
    body_of,
    crop_to_head,
    find_label_maps,
    make_pair,
    read_labels,
)
from benchmarks.head_tissues import COMPACT_HU, SKIN_MM, TISSUES, draw_signals
from synthct.anatomy import Region
from synthct.dataset import find_cases, load_case
from synthct.errors import InputError
from synthct.volume import Volume, write_volume

SPACING = 3.0
EDGE = 52
SHELLS = ((0, 511), (8, 507), (14, 515), (22, 24), (26, 3), (36, 2))
"""Depth in mm from which on a label lies, from the skin to the white matter."""
HEAD_MM = 66.0

Labels = npt.NDArray[np.int32]


def radius_mm() -> npt.NDArray[np.float64]:
    """Distance of each voxel from the middle."""
    places = (np.arange(EDGE) - (EDGE - 1) / 2) * SPACING
    z, y, x = np.meshgrid(places, places, places, indexing="ij")
    return np.sqrt(z**2 + y**2 + x**2)


def shells() -> Labels:
    """A round head with a sinus of 8 mm in its deep soft tissue and a speck in the air."""
    depth = HEAD_MM - radius_mm()
    labels = np.zeros(depth.shape, np.int32)
    for start, label in SHELLS:
        labels[depth > start] = label
    labels[EDGE // 2 - 2 : EDGE // 2 + 1, EDGE // 2 - 2 : EDGE // 2 + 1, EDGE // 2 - 2 : EDGE // 2 + 1] = 0
    labels[1, 1, 1] = 24
    return labels


def head() -> Volume:
    return make_volume(shells(), spacing=(SPACING,) * 3, origin=(-60.0, -61.0, -62.0))


@pytest.fixture(scope="module")
def drawn() -> tuple[Labels, npt.NDArray[np.int16], npt.NDArray[np.int16], npt.NDArray[np.uint8]]:
    """Labels cropped as the pair is, MR, CT and mask."""
    labels = head()
    cropped, _ = crop_to_head(labels, body_of(labels.voxels, labels.spacing_zyx))
    mr, ct, mask = make_pair(labels, np.random.default_rng(0))
    assert mr.geometry == ct.geometry == mask.geometry == cropped.geometry
    return cropped.voxels, mr.voxels, ct.voxels, mask.voxels


def save_maps(folder: Path, *numbers: int, labels: Labels | None = None) -> Path:
    """Label maps as files."""
    folder.mkdir(exist_ok=True)
    for number in numbers:
        voxels = (shells() if labels is None else labels).astype(np.int16)
        write_volume(make_volume(voxels, spacing=(SPACING,) * 3), folder / f"head_{number:02d}.nii.gz")
    return folder


def deep(labels: Labels, label: int) -> npt.NDArray[np.bool_]:
    """Voxels of a label that touch no other one: free of partial volume."""
    same = labels == label
    inner = same.copy()
    for axis in range(3):
        inner &= np.roll(same, 1, axis) & np.roll(same, -1, axis)
    return inner


def test_a_label_map_is_turned_so_that_z_points_up_y_back_and_x_left(tmp_path: Path) -> None:
    """A corner voxel keeps its place in mm whatever the order of the axes in the file."""
    voxels = np.zeros((4, 5, 6), np.int16)  # nibabel: first axis to the left, second down, third to the front
    voxels[3, 1, 2] = 24
    affine = np.array([[-1.0, 0, 0, 50], [0, 0, 1, -60], [0, -1, 0, 70], [0, 0, 0, 1]])
    nibabel.save(nibabel.Nifti1Image(voxels, affine), tmp_path / "head_01.nii.gz")
    found = read_labels(tmp_path / "head_01.nii.gz")
    assert found.geometry.direction == (1, 0, 0, 0, 1, 0, 0, 0, 1)
    assert found.voxels.shape == (5, 6, 4)
    place = np.argwhere(found.voxels == 24)[0][::-1] * found.geometry.spacing + found.geometry.origin
    assert place.tolist() == [-47.0, 58.0, 69.0]  # right 47, anterior -58, superior 69, in LPS


@pytest.mark.parametrize(("value", "line"), [(0.5, "no label"), (-1.0, "no label"), (0.0, "all voxels are 0")])
def test_what_is_no_label_map_is_refused(tmp_path: Path, value: float, line: str) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(np.full((3, 3, 3), value, np.float32)), str(tmp_path / "head_01.nii.gz"))
    with pytest.raises(InputError, match=line):
        read_labels(tmp_path / "head_01.nii.gz")


def test_the_body_is_one_piece_without_holes_and_without_specks() -> None:
    """A hollow box and a speck beside it; the ear's speck, 2 mm off, is joined to it."""
    labels = np.zeros((12, 20, 20), np.int32)
    labels[2:10, 4:14, 4:14] = 507
    labels[4:8, 6:12, 6:12] = 0
    labels[5, 5, 16] = 511
    labels[0, 19, 19] = 24
    body = body_of(labels, (1.0, 1.0, 1.0))
    assert body[2:10, 4:14, 4:14].all()
    assert body[5, 5, 16]
    assert not body[0, 19, 19]
    assert not body[:, 16:].any()


def test_a_head_is_cut_with_a_margin_and_stays_where_it_was() -> None:
    labels = np.zeros((40, 40, 40), np.int32)
    labels[20:30, 15:25, 0:10] = 507
    labels[0, 39, 39] = 24
    whole = make_volume(labels, spacing=(2.0, 2.0, 2.0), origin=(5.0, 6.0, 7.0))
    cropped, body = crop_to_head(whole, body_of(labels, (2.0, 2.0, 2.0)))
    assert cropped.voxels.shape == (18, 18, 14)  # 4 voxels of margin where the map has them
    assert cropped.geometry.origin == (5.0, 28.0, 39.0)
    assert np.array_equal(body, cropped.voxels > 0)


def test_hu_of_tissues(drawn: tuple[Labels, ...]) -> None:
    labels, _, ct, _ = drawn
    medians = {label: float(np.median(ct[deep(labels, label)])) for label in (2, 3)}
    assert medians[2] == pytest.approx(30, abs=6)
    assert medians[3] == pytest.approx(38, abs=6)
    assert np.median(ct[labels == 24]) == pytest.approx(10, abs=8)
    bone = ct[deep(labels, 515)]
    assert COMPACT_HU[0] - 40 < bone.min() < bone.max() < COMPACT_HU[1] + 40
    assert bone.std() > 3 * CT_NOISE_HU  # it differs from place to place
    middle = tuple(edge // 2 for edge in labels.shape)
    assert labels[middle] == 0
    assert ct[middle] < -900  # a sinus is air, and inside the mask


def test_t1_signals_are_in_their_order(drawn: tuple[Labels, ...]) -> None:
    labels, mr, _, _ = drawn
    white, grey = (float(np.median(mr[deep(labels, label)])) for label in (2, 3))
    bone, fluid = float(np.median(mr[deep(labels, 515)])), float(np.median(mr[labels == 24]))
    fat = float(np.quantile(mr[np.isin(labels, (507, 511))], 0.99))
    assert fat > white > grey > fluid > bone
    assert bone < 0.15 * white


def test_noise_is_gaussian_in_ct_and_rician_in_mr(drawn: tuple[Labels, ...]) -> None:
    """In air the MR follows Rayleigh: the mean is 1.253 and the deviation 0.655 of the noise's."""
    _, mr, ct, mask = drawn
    air = mask == 0
    assert ct[air].mean() == pytest.approx(-1000, abs=1)
    assert ct[air].std() == pytest.approx(CT_NOISE_HU, rel=0.05)
    assert mr[air].std() / mr[air].mean() == pytest.approx(0.655 / 1.253, abs=0.05)
    gain = mr[air].mean() / (1.253 * MR_NOISE * MR_SCALE)
    assert 0.65 < gain < 1.45


def test_the_mask_is_the_head_and_five_millimetres(drawn: tuple[Labels, ...]) -> None:
    labels, mr, ct, mask = drawn
    assert (mr.dtype, ct.dtype, mask.dtype) == (np.int16, np.int16, np.uint8)
    assert (mask[labels > 0] == 1).all()
    volume = mask.sum() * SPACING**3
    assert volume == pytest.approx(4 / 3 * np.pi * (HEAD_MM + 4) ** 3, rel=0.05)


def test_below_the_skin_there_is_fat_that_both_images_show() -> None:
    labels = head()
    body = body_of(labels.voxels, labels.spacing_zyx)
    hu, mr = draw_signals(labels, body, np.random.default_rng(1))
    depth = HEAD_MM - radius_mm()
    layer = (labels.voxels == 511) & (depth > SKIN_MM + 2.5)
    assert np.median(hu[layer]) < -60
    assert np.median(mr[layer]) > 1.1
    soft = labels.voxels == 507
    share = (hu[soft] < -50).mean()
    assert 0.05 < share < 0.8  # in patches between the muscles
    assert np.corrcoef(hu[soft], mr[soft])[0, 1] < -0.9


def test_dense_spongy_bone_is_dark_in_mr() -> None:
    labels = shells()
    labels[labels == 507] = 516
    volume = make_volume(labels, spacing=(SPACING,) * 3)
    hu, mr = draw_signals(volume, body_of(labels, volume.spacing_zyx), np.random.default_rng(2))
    spongy = labels == 516
    assert hu[spongy].min() >= 200
    assert hu[spongy].max() <= 500
    assert np.corrcoef(hu[spongy], mr[spongy])[0, 1] < -0.7


def test_the_seed_decides_every_bit_and_heads_differ() -> None:
    first, again, other = (make_pair(head(), np.random.default_rng(seed)) for seed in ([0, 1], [0, 1], [0, 2]))
    for one, same in zip(first, again, strict=True):
        assert np.array_equal(one.voxels, same.voxels)
    assert not np.array_equal(first[0].voxels, other[0].voxels)
    noise = [float(pair[0].voxels[pair[2].voxels == 0].mean()) for pair in (first, other)]
    assert abs(noise[0] / noise[1] - 1) > 0.05  # a scanner has no unit: no table carries over


def test_a_coarser_grid_covers_the_same_head() -> None:
    fine, coarse = make_pair(head(), np.random.default_rng(0)), make_pair(head(), np.random.default_rng(0), 9.0)
    assert coarse[1].voxels.shape == tuple(round(edge / 3) for edge in fine[1].voxels.shape)
    extent = [np.array(pair[1].geometry.size) * pair[1].geometry.spacing for pair in (fine, coarse)]
    assert np.allclose(extent[0], extent[1])
    inside = [float(pair[1].voxels[pair[2].voxels > 0].mean()) for pair in (fine, coarse)]
    assert inside[0] == pytest.approx(inside[1], abs=60)


def test_labels_that_nobody_knows_are_named(tmp_path: Path) -> None:
    labels = shells()
    labels[EDGE // 2, EDGE // 2, EDGE // 2 + 8] = 999
    with pytest.raises(InputError, match=r"head_07\.nii\.gz: holds label 999, which is not known"):
        make_pair(read_labels(save_maps(tmp_path, 7, labels=labels) / "head_07.nii.gz"), np.random.default_rng(0))


def test_a_real_label_map_holds_known_labels_alone(data_root: Path) -> None:
    maps = find_label_maps(data_root / "head-labels")
    assert sorted(maps) == [1, 3, 5, 7, 9, 11, 13, 14]
    known = {label for tissue in TISSUES for label in tissue.ids}
    found = set(np.unique(np.asarray(nibabel.load(maps[1]).dataobj)).astype(int).tolist())  # type: ignore[attr-defined]
    assert found <= known
    assert {511, 507, 515, 516} <= found


def test_the_command_writes_a_data_set_that_says_simulated(tmp_path: Path) -> None:
    maps = save_maps(tmp_path / "labels", 3, 11)
    runner = CliRunner()
    both = runner.invoke(app, [str(maps), str(tmp_path / "all"), "--spacing", "6"])
    assert both.exit_code == 0, both.output
    one = runner.invoke(app, [str(maps), str(tmp_path / "one"), "--spacing", "6", "--cases", "11"])
    assert one.exit_code == 0, one.output
    note = json.loads((tmp_path / "all" / "dataset.json").read_text())
    assert note["simulated"] is True
    found = find_cases(tmp_path / "all")
    assert [files.id for files in found] == ["1BA003", "1BA011"]
    assert all(files.region is Region.BRAIN for files in found)
    alone, beside = load_case(find_cases(tmp_path / "one")[0]), load_case(found[1])
    assert alone.id == "1BA011"
    assert np.array_equal(alone.image.voxels, beside.image.voxels)
    assert alone.reference is not None
    assert beside.reference is not None
    assert np.array_equal(alone.reference.voxels, beside.reference.voxels)


@pytest.mark.parametrize(
    ("change", "code", "line"),
    [
        (["nowhere", "new"], 3, "no such folder"),
        (["empty", "new"], 3, "holds no label map"),
        (["labels", "new", "--cases", "4"], 2, "expected numbers of label maps with commas between: 3"),
        (["labels", "new", "--spacing", "0"], 2, "--spacing 0 mm cannot be had"),
        (["labels", "full"], 3, "is not empty and no folder of simulated cases"),
    ],
)
def test_what_cannot_be_meant_is_told_in_one_line(tmp_path: Path, change: list[str], code: int, line: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("mine")
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "head_03.nii.gz").write_bytes(b"not read")
    paths = [str(tmp_path / name) for name in change[:2]]
    result = CliRunner().invoke(app, [*paths, *change[2:]])
    assert result.exit_code == code
    assert line in result.output
    assert not (tmp_path / "new").exists()
