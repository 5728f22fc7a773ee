"""Folders that a container's own user cannot enter: the message names the folder and the user (exit code 3 or 4)."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from builders import save_image
from forked import in_child, read_only_folder

from synthct import routes
from synthct.anatomy import Region, Task
from synthct.errors import InputError, WeightsError
from synthct.grand_challenge.job import is_platform_folder, read_job
from synthct.model_source import find_source
from synthct.weights import save_model


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that another user may enter; pytest's own is closed to others."""
    with read_only_folder() as folder:
        folder.chmod(0o755)
        yield folder
        for path in [folder, *folder.rglob("*")]:
            path.chmod(0o755)


def words(folder: Path) -> str:
    """The message, to be matched by the process that met it."""
    return (
        rf"^{re.escape(str(folder))}: cannot be read \(Permission denied\); "
        rf"expected a folder that user id {os.geteuid()} may enter$"
    )


def save_input(folder: Path) -> Path:
    save_image(folder / "images" / "mri" / "a.mha")
    save_image(folder / "images" / "body" / "b.mha")
    return folder


def save_weights(folder: Path) -> Path:
    tensors = {"t": torch.zeros(1)}
    save_model(folder, tensors, half=False, algorithm="x", tasks=tuple(Task), regions=tuple(Region))
    return folder


def open_found(model: Path | None) -> Path:
    source = find_source(model, {"x": Path("none")}, use_starter=False)
    return source.open(Task.MRI, Region.ABDOMEN).path


@pytest.mark.parametrize("mode", [0o000, 0o444])
@pytest.mark.parametrize("name", ["", "images", "images/mri", "images/body"])
def test_closed_input(shared: Path, name: str, mode: int) -> None:
    source = save_input(shared / "input")
    (source / name).chmod(mode)

    def refused() -> None:
        with pytest.raises(InputError, match=words(source / name)) as caught:
            read_job(source, shared / "output", region=Region.ABDOMEN)
        assert caught.value.exit_code == 3

    in_child(refused, unprivileged=True)


def test_closed_input_is_no_folder_of_another_layout(shared: Path) -> None:
    source = save_input(shared / "input")
    source.chmod(0o000)

    def refused() -> None:
        with pytest.raises(InputError, match=words(source)):
            is_platform_folder(source)

    in_child(refused, unprivileged=True)


def test_input_that_can_be_entered_but_not_listed(shared: Path) -> None:
    source = save_input(shared / "input")
    source.chmod(0o111)

    def read() -> None:
        assert read_job(source, shared / "output", region=Region.ABDOMEN).files.image.name == "a.mha"

    in_child(read, unprivileged=True)


@pytest.mark.parametrize("mode", [0o000, 0o444])
@pytest.mark.parametrize("named", [True, False])
def test_closed_model(shared: Path, monkeypatch: pytest.MonkeyPatch, mode: int, named: bool) -> None:
    model = save_weights(shared / "model")
    monkeypatch.setattr(routes, "PLATFORM_FOLDERS", (model, shared / "none"))
    assert open_found(None) == model
    model.chmod(mode)

    def refused() -> None:
        with pytest.raises(WeightsError, match=words(model)) as caught:
            open_found(model if named else None)
        assert caught.value.exit_code == 4

    in_child(refused, unprivileged=True)


def test_closed_model_behind_a_route(shared: Path) -> None:
    inner = save_weights(shared / "models" / "abdomen")
    (shared / "models" / "routes.json").write_text('{"mri/AB": "abdomen"}')
    inner.chmod(0o000)

    def refused() -> None:
        with pytest.raises(WeightsError, match=words(inner)):
            open_found(shared / "models")

    in_child(refused, unprivileged=True)


def test_closed_card_is_a_file_not_a_folder(shared: Path) -> None:
    model = save_weights(shared / "model")
    (model / "model.json").chmod(0o000)

    def refused() -> None:
        with pytest.raises(
            WeightsError, match=r"model\.json: cannot be read \(Permission denied\); expected a readable"
        ):
            open_found(model)

    in_child(refused, unprivileged=True)


def test_empty_upload_without_weights_names_the_mount(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "PLATFORM_FOLDERS", (shared, shared / "none"))
    with pytest.raises(
        WeightsError,
        match=r"expected a model folder at /opt/ml/model, or --model DIR \(SYNTHCT_STARTER=1, or --starter, runs the",
    ):
        open_found(None)
    (shared / "b.bin").write_bytes(b"")
    (shared / "a.bin").write_bytes(b"")
    with pytest.raises(WeightsError, match=r"holds a\.bin, but neither model\.json nor routes\.json"):
        open_found(None)
