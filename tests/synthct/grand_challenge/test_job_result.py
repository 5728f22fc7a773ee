"""What a run leaves in /output: one .mha, and results.json as the template wrote it (CONTRACT 1.3 to 1.5)."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
from builders import SHAPE, make_volume, save_image
from mounts import mounted_disk

from synthct.errors import ContractError, DiskFullError, OutputError
from synthct.grand_challenge.job import Job, read_job
from synthct.grand_challenge.result import Result, prepare_output
from synthct.grand_challenge.result import write_result as write_whole_result
from synthct.volume import Volume

SPACING, ORIGIN = (0.75, 1.25, 2.5), (-12.5, 40.0, 7.0)


@pytest.fixture
def job(tmp_path: Path) -> Job:
    source = tmp_path / "input"
    save_image(source / "images" / "mri" / "image.nii.gz")
    save_image(source / "images" / "body" / "outline.mha")
    (source / "region.json").write_text('"Head and Neck"')
    return read_job(source, tmp_path / "output")


@pytest.fixture
def sct() -> Volume:
    return make_volume(np.arange(60, dtype=np.int16).reshape(SHAPE) - 1000, spacing=SPACING, origin=ORIGIN)


def write_result(job: Job, sct: Volume) -> Path:
    return write_whole_result(job, sct, {"cases": ["image"]}).sct


def _files_below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_output_holds_one_image_and_the_list(job: Job, sct: Volume) -> None:
    path = write_result(job, sct)
    assert path == job.output_folder / "images" / "synthetic-ct" / "image.mha"
    assert _files_below(job.output_folder) == ["images/synthetic-ct/image.mha", "manifest.json", "results.json"]
    assert not list(job.output_folder.rglob(".partial"))


def test_results_json_is_the_templates(job: Job, sct: Volume) -> None:
    source, target = job.region_file.parent, job.output_folder
    write_result(job, sct)
    assert json.loads((target / "results.json").read_text()) == [
        {
            "outputs": [{"type": "metaio_image", "filename": f"{target}/images/synthetic-ct/image.mha"}],
            "inputs": [
                {"type": "metaio_image", "filename": f"{source}/images/mri/image.nii.gz"},
                {"type": "metaio_image", "filename": f"{source}/images/body/outline.mha"},
                {"type": "String", "filename": f"{source}/region.json"},
            ],
            "error_messages": [],
        }
    ]


def test_results_json_names_absolute_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sct: Volume) -> None:
    for folder in ("cbct", "body"):
        save_image(tmp_path / "images" / folder / "a.mha")
    (tmp_path / "region.json").write_text('"Brain"')
    monkeypatch.chdir(tmp_path)
    write_result(read_job(Path(), Path("output")), sct)
    (entry,) = json.loads((tmp_path / "output" / "results.json").read_text())
    for item in entry["outputs"] + entry["inputs"]:
        assert Path(item["filename"]).is_absolute()
        assert Path(item["filename"]).is_file()


def test_template_reader_reads_the_sct(job: Job, sct: Volume) -> None:
    with warnings.catch_warnings():  # what its dependencies say on import is not ours
        warnings.simplefilter("ignore")
        evalutils_io = pytest.importorskip("evalutils.io", reason="evalutils 0.4.2 is in the extra dev")
    write_result(job, sct)
    (entry,) = json.loads((job.output_folder / "results.json").read_text())
    path = Path(entry["outputs"][0]["filename"])
    loader = evalutils_io.SimpleITKLoader()
    (row,) = loader.load(fname=path)
    assert row["path"] == path
    image = loader.load_image(path)
    assert row["hash"] == loader.hash_image(image)
    assert image.GetPixelIDTypeAsString() == "16-bit signed integer"
    assert (image.GetSize(), image.GetSpacing(), image.GetOrigin()) == ((5, 4, 3), SPACING, ORIGIN)
    assert image.GetPixel(4, 3, 2) == 59 - 1000
    assert b"ElementType = MET_SHORT" in path.read_bytes()[:1000]
    assert b"CompressedData = True" in path.read_bytes()[:1000]


@pytest.mark.parametrize("name", ["images/synthetic-ct/other.mha", "images/deep/er/x.tif", "images/y.nii.gz"])
def test_second_image_is_refused(job: Job, sct: Volume, name: str) -> None:
    other = save_image(job.output_folder / name, np.ones(SHAPE, np.uint8))
    with pytest.raises(ContractError, match="another image is in the output") as caught:
        write_result(job, sct)
    assert str(other) in str(caught.value)
    assert _files_below(job.output_folder) == [name]


def test_same_image_is_written_anew(job: Job, sct: Volume) -> None:
    write_result(job, sct.with_voxels(np.zeros(SHAPE, np.int16)))
    first = (job.output_folder / "images" / "synthetic-ct" / "image.mha").read_bytes()
    assert write_result(job, sct).read_bytes() != first
    assert len(_files_below(job.output_folder)) == 3


def test_rest_of_a_killed_run_is_cleared(job: Job, sct: Volume) -> None:
    for folder in (job.output_folder, job.output_folder / "images" / "synthetic-ct"):
        save_image(folder / ".partial" / "1234" / "image.mha")
    write_result(job, sct)
    assert _files_below(job.output_folder) == ["images/synthetic-ct/image.mha", "manifest.json", "results.json"]


def test_output_that_is_a_file(job: Job, sct: Volume) -> None:
    job.output_folder.write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        write_result(job, sct)


def test_manifest_lies_beside_the_list(job: Job, sct: Volume) -> None:
    write_result(job, sct)
    assert json.loads((job.output_folder / "manifest.json").read_text()) == {"cases": ["image"]}


@pytest.mark.parametrize("name", ["results.json", "manifest.json"])
def test_list_that_cannot_be_written_takes_the_image_with_it(job: Job, sct: Volume, name: str) -> None:
    (job.output_folder / name / "in the way").mkdir(parents=True)
    with pytest.raises(OutputError, match="cannot be written"):
        write_result(job, sct)
    assert _files_below(job.output_folder) == []
    assert not (job.output_folder / "images").exists()
    assert not (job.output_folder / ".partial").exists()


def test_image_that_cannot_be_moved_takes_the_lists_with_it(job: Job, sct: Volume) -> None:
    (job.output_folder / "images" / "synthetic-ct" / "image.mha" / "in the way").mkdir(parents=True)
    with pytest.raises(OutputError, match=r"images/synthetic-ct/image\.mha: cannot be written"):
        write_result(job, sct)
    assert _files_below(job.output_folder) == []


@pytest.mark.parametrize("size", [8 << 10, 64 << 10])
def test_full_disk_leaves_nothing_and_names_the_image(job: Job, size: int) -> None:
    noise = np.random.default_rng(0).integers(-1000, 3000, (20, 50, 50), dtype=np.int16)
    with mounted_disk(job.output_folder, size=size):
        with pytest.raises(DiskFullError, match=r"output/images/synthetic-ct/image\.mha: cannot be written whole"):
            write_result(job, make_volume(noise))
        assert list(job.output_folder.iterdir()) == []


def test_image_folder_on_a_disk_of_its_own(job: Job, sct: Volume) -> None:
    folder = job.output_folder / "images" / "synthetic-ct"
    with mounted_disk(folder):
        path = write_result(job, sct)
        assert _files_below(job.output_folder) == ["images/synthetic-ct/image.mha", "manifest.json", "results.json"]
        assert not list(job.output_folder.rglob(".partial"))
        assert path.stat().st_dev == folder.stat().st_dev != job.output_folder.stat().st_dev
        path.unlink()
        noise = np.random.default_rng(0).integers(-1000, 3000, (20, 50, 50), dtype=np.int16)
        with pytest.raises(DiskFullError):
            write_result(job, make_volume(noise))
        assert _files_below(job.output_folder) == []
    assert list(folder.iterdir()) == []


def test_other_image_is_refused_before_the_work(job: Job) -> None:
    save_image(job.output_folder / "images" / "synthetic-ct" / "other.mha")
    with pytest.raises(ContractError, match="another image is in the output"):
        prepare_output(job)


def test_result_removes_its_own_files_and_no_others(job: Job, sct: Volume) -> None:
    result: Result = write_whole_result(job, sct, {})
    (job.output_folder / "other.txt").write_text("kept")
    (job.output_folder / "results.json").write_text("written by another")
    (job.output_folder / "manifest.json").unlink()
    assert result.remove() == [result.sct]
    assert _files_below(job.output_folder) == ["other.txt", "results.json"]
    assert result.remove() == []


def test_an_earlier_result_of_the_same_input_is_removed_before_work_begins(job: Job, sct: Volume) -> None:
    """A run that fails must not leave an old sCT that passes for its own."""
    write_result(job, sct)
    (job.output_folder / "notes.txt").write_text("the user's")
    prepare_output(job)
    assert _files_below(job.output_folder) == ["notes.txt"]
