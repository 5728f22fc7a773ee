"""Where a model's files are found, in folders and in archives, and what is refused."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
import zipfile
from pathlib import Path, PurePosixPath

import pytest

from evaluation.segmenters.totalsegmentator import DATASET
from evaluation.structures import STRUCTURE_NAMES
from synthct.errors import WeightsError
from synthct.nnunet import model_tree
from synthct.nnunet.model_files import find_model_files, model_labels


def pack(folder: Path, path: Path) -> Path:
    """Everything below a folder in an archive, names relative to it."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for file in files:
                archive.write(file, file.relative_to(folder))
        return path
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as archive:
        for file in files:
            archive.add(file, str(file.relative_to(folder)))
    return path


@pytest.fixture
def bare_model(tmp_path: Path) -> Path:
    """A model folder whose checkpoint is any bytes."""
    model = tmp_path / "model"
    (model / "fold_0").mkdir(parents=True)
    (model / "plans.json").write_text('{"dataset_name": "Dataset001_Test"}')
    (model / "dataset.json").write_text('{"labels": {"background": 0, "liver": 1, "bone": 2}}')
    (model / "fold_0" / "checkpoint_final.pth").write_bytes(b"final")
    return model


def test_every_level_of_the_tree_leads_to_the_same_model(results_folder: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "nnunet").mkdir(parents=True)
    (home / "nnunet" / "results").symlink_to(results_folder)
    places = [results_folder, results_folder / DATASET, next((results_folder / DATASET).iterdir()), home]
    found = {find_model_files(place, dataset=DATASET).sha256 for place in places}
    assert len(found) == 1
    assert len(found.pop()) == 64


@pytest.mark.parametrize("name", ["model.tar", "model.tar.gz", "model.zip"])
def test_an_archive_is_as_good_as_its_folder(name: str, results_folder: Path, tmp_path: Path) -> None:
    folder = find_model_files(results_folder, dataset=DATASET)
    archive = find_model_files(pack(results_folder, tmp_path / name), dataset=DATASET)
    assert archive.sha256 == folder.sha256
    assert archive.plans == folder.plans
    assert archive.dataset == folder.dataset
    with archive.open_checkpoint() as packed, folder.open_checkpoint() as plain:
        assert packed.read() == plain.read()
    assert name in archive.checkpoint_path
    assert sorted(path.name for path in tmp_path.iterdir()) == [name]


def test_hostile_names_and_links_in_an_archive_lead_nowhere(bare_model: Path, tmp_path: Path) -> None:
    path = pack(bare_model, tmp_path / "model.tar")
    with tarfile.open(path, "a") as archive:
        for name in ("../../escaped.txt", "/tmp/escaped.txt"):  # noqa: S108  # the name is the point
            member = tarfile.TarInfo(name)
            member.size = 4
            archive.addfile(member, io.BytesIO(b"evil"))
        link = tarfile.TarInfo("fold_1/checkpoint_final.pth")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    files = find_model_files(path)
    assert files.checkpoint == PurePosixPath("fold_0/checkpoint_final.pth")
    assert files.sha256 == find_model_files(bare_model).sha256
    assert not list(tmp_path.rglob("escaped.txt"))
    assert not (tmp_path.parent / "escaped.txt").exists()


def test_members_are_bounded(bare_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = pack(bare_model, tmp_path / "model.zip")
    monkeypatch.setattr(model_tree, "MEMBER_LIMIT", 3)
    with pytest.raises(WeightsError, match="announces 5 bytes; expected at most 3"):
        find_model_files(path)


@pytest.mark.parametrize("name", ["model.tar", "model.tar.gz", "model.zip"])
def test_a_damaged_archive_is_named(name: str, results_folder: Path, tmp_path: Path) -> None:
    path = pack(results_folder, tmp_path / name)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 3])
    with pytest.raises(WeightsError, match=name):
        find_model_files(path, dataset=DATASET)
    path.write_bytes(b"no archive at all" * 100)
    with pytest.raises(WeightsError, match=f"{name}: cannot be read as an archive"):
        find_model_files(path, dataset=DATASET)


@pytest.mark.parametrize(
    ("present", "expected"),
    [
        (["fold_1/checkpoint_final.pth", "fold_0/checkpoint_final.pth"], "fold_0/checkpoint_final.pth"),
        (["fold_0/checkpoint_best.pth", "fold_0/checkpoint_final.pth"], "fold_0/checkpoint_final.pth"),
        (["fold_0/checkpoint_best.pth", "fold_1/checkpoint_final.pth"], "fold_0/checkpoint_best.pth"),
        (["fold_10/checkpoint_final.pth", "fold_9/checkpoint_final.pth"], "fold_9/checkpoint_final.pth"),
        (["fold_all/checkpoint_final.pth", "fold_3/checkpoint_final.pth"], "fold_3/checkpoint_final.pth"),
        (["fold_all/checkpoint_best.pth"], "fold_all/checkpoint_best.pth"),
    ],
)
def test_which_checkpoint_is_taken(present: list[str], expected: str, bare_model: Path) -> None:
    shutil.rmtree(bare_model / "fold_0")
    for name in present:
        (bare_model / name).parent.mkdir(exist_ok=True)
        (bare_model / name).write_bytes(name.encode())
    assert find_model_files(bare_model).checkpoint == PurePosixPath(expected)


@pytest.mark.parametrize("name", ["plans.json", "dataset.json", "fold_0/checkpoint_final.pth"])
def test_each_file_counts_in_the_hash_and_is_missed(name: str, bare_model: Path) -> None:
    before = find_model_files(bare_model).sha256
    content = (bare_model / name).read_bytes()
    (bare_model / name).write_bytes(content + b" ")
    assert find_model_files(bare_model).sha256 != before
    (bare_model / name).unlink()
    with pytest.raises(WeightsError, match=Path(name).name):
        find_model_files(bare_model)


def test_what_is_no_model_is_refused(bare_model: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"absent: no such model; expected a folder, or a file ending in \.tar"):
        find_model_files(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(WeightsError, match=r"holds no nnU-Net model; expected plans\.json"):
        find_model_files(tmp_path / "empty")
    shutil.copytree(bare_model, tmp_path / "two" / "a")
    shutil.copytree(bare_model, tmp_path / "two" / "b")
    with pytest.raises(WeightsError, match=r"holds 2 nnU-Net models \(a, b\)"):
        find_model_files(tmp_path / "two")
    (bare_model / "plans.json").write_text("[1, 2]")
    with pytest.raises(WeightsError, match=r"plans\.json: holds list; expected a JSON object"):
        find_model_files(bare_model)
    (bare_model / "plans.json").write_text("{")
    with pytest.raises(WeightsError, match=r"plans\.json: cannot be read as JSON"):
        find_model_files(bare_model)


def test_names_of_the_labels(results_folder: Path, bare_model: Path) -> None:
    assert dict(model_labels(find_model_files(results_folder, dataset=DATASET))) == dict(STRUCTURE_NAMES)
    assert dict(model_labels(find_model_files(bare_model))) == {1: "liver", 2: "bone"}
    (bare_model / "dataset.json").write_text('{"labels": {"background": 0, "bone": [1], "ignore": 2}}')
    assert dict(model_labels(find_model_files(bare_model))) == {1: "bone"}


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        ({"background": 0, "whole": [1, 2], "core": 2}, "label 'whole' is a region of labels"),
        ({"background": 0, "liver": 2}, "2 labels from 0 to 2; expected 0"),
        ({"liver": 1, "bone": 2}, "2 labels from 1 to 2"),
        ({"background": 0}, "1 labels from 0 to 0"),
        ({"background": 0, "liver": "1"}, "label 'liver' is '1'; expected a whole number"),
        ({"background": 0, **{f"s{label}": label for label in range(1, 257)}}, "257 labels from 0 to 256"),
        (["background"], "holds no labels"),
    ],
)
def test_labels_that_cannot_be_used(labels: object, reason: str, bare_model: Path) -> None:
    (bare_model / "dataset.json").write_text(json.dumps({"labels": labels}))
    with pytest.raises(WeightsError, match=rf"dataset\.json: .*{reason}"):
        model_labels(find_model_files(bare_model))
