"""Staged writing: whole or not at all, nothing left behind, and what a killed run left is cleared."""

from __future__ import annotations

import errno
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from forked import in_child, read_only_folder
from mounts import SMALL_DISK_BYTES, mounted_disk

from synthct.errors import DiskFullError, OutputError, UsageError
from synthct.files import PARTIAL_FOLDER, prepare_output_folder, staged_file, staged_folder, write_text


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with mounted_disk(tmp_path / "disk") as disk:
        yield disk


def test_text_is_written_whole_and_nothing_else_stays(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "a.json"
    assert write_text(path, "Größe\n") == path
    assert path.read_bytes() == "Größe\n".encode()
    assert list(path.parent.iterdir()) == [path]


def test_nothing_is_seen_before_the_end(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with staged_file(path) as staged:
        staged.write_text("new")
        assert path.read_text() == "old"
        assert staged.name == path.name
        assert staged.is_relative_to(tmp_path / PARTIAL_FOLDER)
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [UsageError("no"), ValueError("no"), KeyboardInterrupt()])
def test_a_failure_keeps_the_old_file_and_is_passed_on(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def write() -> None:
        with staged_file(path) as staged:
            staged.write_text("half")
            (staged.parent / "a second file").write_text("half")
            raise error

    with pytest.raises(type(error)):
        write()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_system_error_becomes_an_output_error(tmp_path: Path) -> None:
    with (
        pytest.raises(OutputError, match=r"a\.txt: cannot be written \(File too large\)"),
        staged_file(tmp_path / "a.txt"),
    ):
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    with pytest.raises(OutputError, match=r"a\.txt: cannot be written"), staged_file(tmp_path / "a.txt"):
        pass  # nothing was written, so there is nothing to rename
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_no_fault_of_the_input(tmp_path: Path, number: int) -> None:
    with pytest.raises(DiskFullError, match=r"a\.txt: cannot be written") as caught, staged_file(tmp_path / "a.txt"):
        raise OSError(number, os.strerror(number))
    assert caught.value.exit_code == 1
    assert os.strerror(number) in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_library_that_fails_on_a_full_disk_in_its_own_words(small_disk: Path) -> None:
    """The words are those of another trouble; the disk itself says whether it is full."""

    def write(share: float) -> None:
        with staged_file(small_disk / "a.txt") as staged:
            with suppress(OSError):
                staged.write_bytes(bytes(int(share * SMALL_DISK_BYTES)))
            raise OutputError("cannot be written whole")

    with pytest.raises(OutputError, match="cannot be written whole"):
        write(0.25)
    with pytest.raises(DiskFullError, match="cannot be written whole"):
        write(4)
    assert list(small_disk.iterdir()) == []


def test_a_full_disk_is_told_before_the_work(small_disk: Path) -> None:
    for number in range(10_000):  # until the disk takes no more files
        try:
            (small_disk / str(number)).write_bytes(b"")
        except OSError:
            break
    with pytest.raises(DiskFullError, match="expected room for it on the disk"):
        prepare_output_folder(small_disk)


def test_staged_folder_is_removed_with_all_that_lies_in_it(tmp_path: Path) -> None:
    with staged_folder(tmp_path) as own:
        (own / "deep").mkdir()
        (own / "deep" / "a.txt").write_text("half")
        assert own.is_relative_to(tmp_path / PARTIAL_FOLDER)
        with staged_folder(tmp_path) as other:
            assert other != own
        assert (own / "deep" / "a.txt").is_file()
    assert list(tmp_path.iterdir()) == []


def test_writers_to_one_folder_leave_each_other_alone(tmp_path: Path) -> None:
    failures: list[BaseException] = []

    def write(writer: int) -> None:
        try:
            for number in range(40):
                write_text(tmp_path / f"{writer}-{number}.txt", "text")
        except OutputError as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(list(tmp_path.iterdir())) == 320


def test_what_a_killed_run_left_is_removed_at_the_next_start(tmp_path: Path) -> None:
    def write() -> None:
        with staged_file(tmp_path / "a.mha") as staged:
            staged.write_bytes(b"half")
            os.kill(os.getpid(), signal.SIGKILL)

    in_child(write, exit_code=-signal.SIGKILL)
    assert [path.name for path in tmp_path.iterdir()] == [PARTIAL_FOLDER]
    assert prepare_output_folder(tmp_path) == tmp_path
    assert list(tmp_path.iterdir()) == []


def test_an_output_folder_is_made_and_keeps_what_it_holds(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    assert prepare_output_folder(folder) == folder
    assert folder.is_dir()
    write_text(folder / "a.txt", "kept")
    prepare_output_folder(folder)
    assert [path.name for path in folder.iterdir()] == ["a.txt"]


def test_a_link_named_partial_does_not_clear_what_it_points_to(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    write_text(precious / "a.txt", "kept")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / PARTIAL_FOLDER).symlink_to(precious)
    with pytest.raises(OutputError, match="cannot be written to"):
        prepare_output_folder(tmp_path / "out")
    assert (precious / "a.txt").read_text() == "kept"


@pytest.mark.parametrize("write", [prepare_output_folder, lambda folder: write_text(folder / "a.txt", "text")])
def test_a_folder_that_cannot_be_written_to_is_an_output_error(write: Callable[[Path], Path]) -> None:
    with read_only_folder() as folder:

        def refused() -> None:
            with pytest.raises(OutputError, match=r"Permission denied\); expected a writable folder"):
                write(folder)
            assert list(folder.iterdir()) == []

        in_child(refused, unprivileged=True)


@pytest.mark.parametrize("write", [prepare_output_folder, lambda folder: write_text(folder / "a.txt", "text")])
def test_a_file_in_place_of_the_folder_is_an_output_error(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    (tmp_path / "file").write_text("kept")
    with pytest.raises(OutputError, match="expected a writable folder"):
        write(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "kept"
