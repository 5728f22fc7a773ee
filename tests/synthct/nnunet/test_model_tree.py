"""Folders and archives through one interface: what is found, what is read, what is refused."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path, PurePosixPath

import pytest

from synthct.errors import WeightsError
from synthct.nnunet.model_tree import ArchiveTree, FolderTree, open_tree

CONTENT = {"a/plans.json": b"one", "a/fold_0/x.pth": b"two", "b/c/plans.json": b"three", "plans.json": b"four"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, content in CONTENT.items():
        (tmp_path / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "tree" / name).write_bytes(content)
    return tmp_path / "tree"


def make_tar(path: Path, names: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as archive:
        for name, content in names.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def make_zip(path: Path, names: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in names.items():
            archive.writestr(name, content)
    return path


def test_a_folder_is_searched_part_by_part(folder: Path) -> None:
    tree = open_tree(folder)
    assert isinstance(tree, FolderTree)
    assert tree.find(("plans.json",)) == [PurePosixPath("plans.json")]
    assert tree.find(("*/plans.json", "plans.json")) == [PurePosixPath("a/plans.json"), PurePosixPath("plans.json")]
    with tree.open(PurePosixPath("a/fold_0/x.pth")) as stream:
        assert stream.read() == b"two"
    assert tree.describe(PurePosixPath("a/x")) == str(folder / "a" / "x")
    with pytest.raises(WeightsError, match=r"absent\.json: cannot be read \(No such file"):
        tree.open(PurePosixPath("absent.json"))


@pytest.mark.parametrize("name", ["m.tar", "m.tar.gz", "m.tgz", "m.zip"])
def test_an_archive_is_searched_at_every_depth(name: str, tmp_path: Path) -> None:
    make = make_zip if name.endswith("zip") else make_tar
    tree = open_tree(make(tmp_path / name, CONTENT))
    assert isinstance(tree, ArchiveTree)
    assert [str(found) for found in tree.find(("plans.json",))] == ["a/plans.json", "b/c/plans.json", "plans.json"]
    for member, content in CONTENT.items():
        with tree.open(PurePosixPath(member)) as stream:
            assert stream.read() == content
    assert tree.describe(PurePosixPath("a/plans.json")) == f"{tmp_path / name}: a/plans.json"
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_names_with_a_dot_in_front_are_the_same(tmp_path: Path) -> None:
    tree = ArchiveTree(make_tar(tmp_path / "m.tar", {"./a/plans.json": b"one"}))
    assert tree.find(("a/plans.json",)) == [PurePosixPath("a/plans.json")]
    assert tree.open(PurePosixPath("a/plans.json")).read() == b"one"


def test_the_stamp_changes_with_the_file(folder: Path, tmp_path: Path) -> None:
    tree, name = open_tree(folder), PurePosixPath("plans.json")
    before = tree.stamp(name)
    assert before == tree.stamp(name) != tree.stamp(PurePosixPath("a/plans.json"))
    (folder / "plans.json").write_bytes(b"other")
    assert tree.stamp(name) != before
    path = make_tar(tmp_path / "m.tar", CONTENT)
    packed = open_tree(path)
    assert packed.stamp(name) != packed.stamp(PurePosixPath("a/plans.json"))
    path.unlink()
    with pytest.raises(WeightsError, match=r"m\.tar: plans\.json: cannot be read"):
        packed.stamp(name)


@pytest.mark.parametrize("name", ["model.rar", "model.pth"])
def test_other_files_are_no_trees(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(WeightsError, match=rf"{name}: no such model; expected a folder, or a file ending in \.tar"):
        open_tree(tmp_path / name)


def test_a_zip_file_with_a_changed_byte_is_refused(tmp_path: Path) -> None:
    path = make_zip(tmp_path / "m.zip", {"plans.json": bytes(range(256)) * 20})
    content = bytearray(path.read_bytes())
    content[60] ^= 0xFF
    path.write_bytes(bytes(content))
    with pytest.raises(WeightsError, match=r"m\.zip: cannot be read as an archive"):
        open_tree(path).open(PurePosixPath("plans.json"))
