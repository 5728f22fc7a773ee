"""What a user can get wrong: one line on stderr that says so, the right exit code, nothing in the output folder."""

from __future__ import annotations

import pickle
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from commands.command_line import Outcome, files_below, synthct, without_privileges

from algorithms.interface import find_algorithm
from synthct.phantom import make_phantom
from synthct.volume import write_volume

STARTER = find_algorithm("lookup-table").starter


@pytest.fixture
def case(tmp_path: Path) -> Path:
    """A folder with one good case of 1.5 kB to 100 kB, to be spoilt by a test."""
    folder = tmp_path / "data" / "Task1" / "EX" / "1EXA001"
    folder.mkdir(parents=True)
    phantom = make_phantom("limb", seed=1, size=(40, 40, 12), spacing=(3.0, 3.0, 5.0))
    write_volume(phantom.image, folder / "mr.mha")
    write_volume(phantom.mask, folder / "mask.mha")
    return folder


def rewrite(path: Path, change: Callable[[sitk.Image], sitk.Image]) -> None:
    sitk.WriteImage(change(sitk.ReadImage(str(path))), str(path), True)


def spoil_empty_folder(case: Path) -> None:
    shutil.rmtree(case)
    case.mkdir()


def spoil_no_mask(case: Path) -> None:
    (case / "mask.mha").unlink()


def spoil_truncated(case: Path) -> None:
    content = (case / "mr.mha").read_bytes()
    (case / "mr.mha").write_bytes(content[: len(content) // 2])


def header(size: str, element: str, compressed: bool, length: int) -> bytes:
    lines = [
        "ObjectType = Image",
        "NDims = 3",
        "BinaryData = True",
        "BinaryDataByteOrderMSB = False",
        f"CompressedData = {compressed}",
        *([f"CompressedDataSize = {length}"] if compressed else []),
        "ElementSpacing = 1 1 1",
        f"DimSize = {size}",
        f"ElementType = {element}",
        "ElementDataFile = LOCAL",
    ]
    return ("\n".join(lines) + "\n").encode()


def spoil_128_gb(case: Path) -> None:
    (case / "mr.mha").write_bytes(header("4000 4000 4000", "MET_SHORT", False, 0))


def spoil_inflating(case: Path) -> None:
    packed = zlib.compress(bytes(300 << 20), 9)
    (case / "mr.mha").write_bytes(header("40 40 12", "MET_SHORT", True, len(packed)) + packed)


def spoil_nan(case: Path) -> None:
    def change(image: sitk.Image) -> sitk.Image:
        voxels = sitk.GetArrayFromImage(image).astype(np.float32)
        voxels[3, 4, 5] = np.nan
        changed = sitk.GetImageFromArray(voxels)
        changed.CopyInformation(image)
        return changed

    rewrite(case / "mr.mha", change)


def spoil_4d(case: Path) -> None:
    rewrite(case / "mr.mha", lambda image: sitk.JoinSeries(image, image))


def spoil_rgb(case: Path) -> None:
    def change(image: sitk.Image) -> sitk.Image:
        grey = sitk.Cast(image, sitk.sitkUInt8)
        return sitk.Compose(grey, grey, grey)

    rewrite(case / "mr.mha", change)


def spoil_mask_size(case: Path) -> None:
    rewrite(case / "mask.mha", lambda image: image[1:, :, :])


def spoil_mask_zero(case: Path) -> None:
    rewrite(case / "mask.mha", lambda image: image * 0)


SPOILT: dict[str, tuple[Callable[[Path], None], list[str]]] = {
    "empty folder": (spoil_empty_folder, ["data", "no case"]),
    "missing mask": (spoil_no_mask, ["1EXA001", "mask.mha", "--mask auto"]),
    "truncated": (spoil_truncated, ["mr.mha"]),
    "announces 128 GB": (spoil_128_gb, ["mr.mha", "--voxel-limit"]),
    "inflates past its header": (spoil_inflating, ["mr.mha", "38400"]),
    "NaN": (spoil_nan, ["mr.mha", "1 voxels", "NaN"]),
    "4-D": (spoil_4d, ["mr.mha", "4", "3"]),
    "RGB": (spoil_rgb, ["mr.mha", "3", "1"]),
    "mask of another size": (spoil_mask_size, ["mask.mha", "mr.mha", "39", "40"]),
    "mask all zero": (spoil_mask_zero, ["mask.mha", "zero"]),
}


def require_clean_failure(outcome: Outcome, code: int, words: list[str], output: Path) -> None:
    assert outcome.code == code, outcome.err
    errors = [line for line in outcome.err.splitlines() if not line.startswith("warning: ")]
    assert len(errors) == 1, outcome.err
    assert outcome.reason.startswith("error: ")
    assert [word for word in words if word not in outcome.reason] == [], outcome.reason
    assert outcome.out == ""
    assert files_below(output) == []


@pytest.mark.parametrize("name", SPOILT)
def test_predict_refuses(name: str, case: Path, tmp_path: Path) -> None:
    spoil, words = SPOILT[name]
    spoil(case)
    output = tmp_path / "output"
    outcome = synthct("predict", "lookup-table", tmp_path / "data", output, "--starter")
    require_clean_failure(outcome, 3, words, output)


@pytest.mark.parametrize("name", [name for name in SPOILT if name != "empty folder"])
def test_run_refuses_on_the_platform(name: str, case: Path, tmp_path: Path) -> None:
    spoil, _ = SPOILT[name]
    spoil(case)
    source, output = tmp_path / "input", tmp_path / "output"
    for stem, folder in (("mr", "mri"), ("mask", "body")):
        (source / "images" / folder).mkdir(parents=True)
        if (case / f"{stem}.mha").exists():
            shutil.copy(case / f"{stem}.mha", source / "images" / folder / f"{stem}-1EXA001.mha")
    (source / "region.json").write_text('"Extremity"')
    outcome = synthct("run", "lookup-table", INPUT_FOLDER=str(source), OUTPUT_FOLDER=str(output), SYNTHCT_STARTER="1")
    assert outcome.code in (3, 6)
    assert outcome.reason.startswith("error: ")
    assert files_below(output) == []


def test_good_case_passes(case: Path, tmp_path: Path) -> None:
    outcome = synthct("predict", "lookup-table", tmp_path / "data", tmp_path / "output", "--starter")
    assert outcome.code == 0, outcome.err
    assert files_below(tmp_path / "output") == ["1EXA001.mha", "manifest.json"]
    assert case.is_dir()


def test_read_only_output_is_refused(case: Path, tmp_path: Path) -> None:
    output = tmp_path / "output"
    output.mkdir()
    output.chmod(0o555)
    outcome = synthct("predict", "lookup-table", tmp_path / "data", output, "--starter", prefix=without_privileges())
    require_clean_failure(outcome, 3, ["output", "writable"], output)
    assert case.is_dir()


def copy_starter(tmp_path: Path) -> Path:
    return Path(shutil.copytree(STARTER, tmp_path / "model"))


def test_one_flipped_byte_in_the_weights_is_refused(case: Path, tmp_path: Path) -> None:
    weights = copy_starter(tmp_path) / "weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[-7] ^= 1
    weights.write_bytes(bytes(content))
    outcome = synthct("predict", "lookup-table", case, tmp_path / "output", "--model", tmp_path / "model")
    require_clean_failure(outcome, 4, ["weights.safetensors", "sha256"], tmp_path / "output")


def test_pickle_named_safetensors_is_refused_and_never_opened(case: Path, tmp_path: Path) -> None:
    class Mark:
        def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
            return Path.touch, (tmp_path / "opened",)

    weights = copy_starter(tmp_path) / "weights.safetensors"
    weights.write_bytes(pickle.dumps(Mark()))
    outcome = synthct("predict", "lookup-table", case, tmp_path / "output", "--model", tmp_path / "model")
    require_clean_failure(outcome, 4, ["weights.safetensors", "no safetensors file"], tmp_path / "output")
    assert not (tmp_path / "opened").exists()


def test_no_weights_at_all_is_refused(case: Path, tmp_path: Path) -> None:
    outcome = synthct("predict", "lookup-table", case, tmp_path / "output")
    require_clean_failure(outcome, 4, ["lookup-table", "--model", "--starter"], tmp_path / "output")


def test_model_for_another_task_is_refused_unless_forced(tmp_path: Path) -> None:
    folder = tmp_path / "2EXA001"
    folder.mkdir()
    phantom = make_phantom("limb", task="cbct", seed=1, size=(40, 40, 12), spacing=(3.0, 3.0, 5.0))
    write_volume(phantom.image, folder / "cbct.mha")
    write_volume(phantom.mask, folder / "mask.mha")
    output = tmp_path / "output"
    outcome = synthct("predict", "lookup-table", folder, output, "--starter")
    require_clean_failure(outcome, 4, ["mri", "cbct", "--force"], output)
    forced = synthct("predict", "lookup-table", folder, output, "--starter", "--force")
    assert forced.code == 0, forced.err
    assert "warning: --force: cbct, EX lies outside" in forced.err
    assert '"forced": true' in (output / "manifest.json").read_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["predict", "pix2pix", "in", "out"], ["pix2pix", "pix2pix-pelvis"]),
        (["predict", "lookup-table", "in", "out", "--region", "knee"], ["knee", "HN"]),
        (["predict", "lookup-table", "in", "out", "--starter", "--model", "m"], ["--model", "--starter"]),
        (["train", "lookup-table", "in", "out", "--preset", "defalt"], ["defalt", "default"]),
        (["sample", "out", "--kind", "head", "--layout", "1999"], []),
        (["nonsense"], []),
    ],
)
def test_wrong_usage_exits_with_2(arguments: list[str], words: list[str], tmp_path: Path) -> None:
    outcome = synthct(*arguments, cwd=tmp_path)
    assert outcome.code == 2, outcome.err
    assert [word for word in words if word not in outcome.err] == []
    assert files_below(tmp_path) == []
