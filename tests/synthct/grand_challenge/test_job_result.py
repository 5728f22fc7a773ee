"""What a run leaves in /output: one .mha, and results.json as the template wrote it (CONTRACT 1.3 to 1.5)."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
from builders import SHAPE, make_volume, save_image

from synthct.errors import ContractError, OutputError
from synthct.grand_challenge.job import Job, read_job, write_result
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


def _files_below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_output_holds_one_image_and_the_list(job: Job, sct: Volume) -> None:
    path = write_result(job, sct)
    assert path == job.output_folder / "images" / "synthetic-ct" / "image.mha"
    assert _files_below(job.output_folder) == ["images/synthetic-ct/image.mha", "results.json"]
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
    assert len(_files_below(job.output_folder)) == 2


def test_rest_of_a_killed_run_is_cleared(job: Job, sct: Volume) -> None:
    save_image(job.output_folder / "images" / "synthetic-ct" / ".partial" / "1234-image.mha")
    write_result(job, sct)
    assert _files_below(job.output_folder) == ["images/synthetic-ct/image.mha", "results.json"]


def test_output_that_is_a_file(job: Job, sct: Volume) -> None:
    job.output_folder.write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        write_result(job, sct)
