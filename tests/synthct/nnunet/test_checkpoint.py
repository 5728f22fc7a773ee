"""Checkpoints: numbers of numpy are loaded, anything that would run is not."""

from __future__ import annotations

import io
import pickle
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from synthct.errors import WeightsError
from synthct.nnunet.checkpoint import load_checkpoint

CONTENT: dict[str, Any] = {
    "network_weights": {"weight": torch.arange(6.0).reshape(2, 3)},
    "init_args": {"configuration": "3d_fullres", "device": torch.device("cpu")},
}


class Intruder:
    """Pickles as a command that makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (subprocess.check_call, (["touch", str(self.path)],))


def saved(content: object) -> io.BytesIO:
    stream = io.BytesIO()
    torch.save(content, stream)
    stream.seek(0)
    return stream


@pytest.mark.parametrize("number", [np.float64(0.25), np.float32(0.5), np.int64(7), np.bool_(True), np.float16(0.5)])
def test_numpy_numbers_in_the_log_are_loaded(number: Any) -> None:
    loaded = load_checkpoint(saved({**CONTENT, "logging": {"dice": [[number] * 3]}, "_best_ema": number}), "a.pth")
    assert loaded["_best_ema"] == number
    assert loaded["logging"]["dice"] == [[number] * 3]
    assert torch.equal(loaded["network_weights"]["weight"], CONTENT["network_weights"]["weight"])
    assert loaded["init_args"]["configuration"] == "3d_fullres"


def test_numbers_that_numpy_1_wrote_are_loaded() -> None:
    """The published checkpoint names numpy.core; numpy 2 calls it numpy._core."""
    content = saved({**CONTENT, "_best_ema": np.float64(0.75)}).getvalue()
    assert content.count(b"numpy._core.multiarray\n") == 1
    older = io.BytesIO()
    import zipfile

    with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(older, "w") as target:
        for name in source.namelist():
            target.writestr(name, source.read(name).replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    older.seek(0)
    assert load_checkpoint(older, "a.pth")["_best_ema"] == 0.75


def test_a_hostile_pickle_is_not_run(tmp_path: Path) -> None:
    target = tmp_path / "was-here"
    bad = {**CONTENT, "logging": Intruder(target)}
    with pytest.raises(
        WeightsError, match=r"evil\.pth: cannot be loaded as tensors and numbers .*nothing in it was run"
    ):
        load_checkpoint(saved(bad), "evil.pth")
    with pytest.raises(WeightsError, match=r"evil\.pth: cannot be loaded"):
        load_checkpoint(io.BytesIO(pickle.dumps(bad)), "evil.pth")
    assert not target.exists()
    with saved(bad) as stream:  # the pickle does what it says: only the loader stops it
        torch.load(stream, weights_only=False)
    assert target.exists()


def test_the_reason_is_one_line() -> None:
    with pytest.raises(WeightsError) as caught:
        load_checkpoint(saved({**CONTENT, "logging": Path("x")}), "a.pth")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300
    assert caught.value.exit_code == 4


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\x03\x04" + bytes(50)])
def test_damaged_files(content: bytes) -> None:
    with pytest.raises(WeightsError, match=r"a\.pth: cannot be loaded"):
        load_checkpoint(io.BytesIO(content), "a.pth")


def test_a_cut_off_file() -> None:
    content = saved({**CONTENT, "more": torch.zeros(10000)}).getvalue()
    with pytest.raises(WeightsError, match=r"a\.pth: cannot be loaded"):
        load_checkpoint(io.BytesIO(content[: len(content) // 2]), "a.pth")


@pytest.mark.parametrize(
    ("content", "missing"),
    [
        ({"network_weights": {}}, "no init_args"),
        ({"state_dict": {}}, "no network_weights and no init_args"),
        ([1, 2], "no network_weights and no init_args"),
    ],
)
def test_another_programs_checkpoint(content: object, missing: str) -> None:
    with pytest.raises(WeightsError, match=rf"a\.pth: holds {missing}; expected a checkpoint of nnU-Net v2"):
        load_checkpoint(saved(content), "a.pth")
