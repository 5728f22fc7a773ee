"""Model folders: what is found first, what is refused, and that starters are never silent."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from mounts import mounted_disk

from synthct.anatomy import Region, Task
from synthct.errors import DiskFullError, WeightsError
from synthct.model_source import StarterWarning, find_source, starter_allowed
from synthct.weights import ModelFolder, file_sha256, load_tensors, open_model, save_model

ALGORITHM = "lookup-table"


def _model(path: Path, value: float = 1.0, **card: Any) -> ModelFolder:
    settings: dict[str, Any] = {"algorithm": ALGORITHM, "tasks": (Task.MRI,), "regions": (Region.ABDOMEN,)}
    return save_model(path, {"table": torch.full((4,), value)}, half=False, **(settings | card))


def _find(model: Path | None, starter: Path, *, use_starter: bool = False, **case: Any) -> ModelFolder:
    return find_source(model, {ALGORITHM: starter}, use_starter=use_starter).open(**case)


def _edit(path: Path, **changes: Any) -> None:
    card = json.loads((path / "model.json").read_text())
    (path / "model.json").write_text(json.dumps(card | changes))


def test_saved_model_opens(tmp_path: Path) -> None:
    saved = _model(tmp_path / "m", 2.5, trained_on="nothing", config={"bins": 4})
    opened = open_model(tmp_path / "m", algorithm=ALGORITHM)
    assert opened == saved
    assert opened.card.sha256 == file_sha256(tmp_path / "m" / "weights.safetensors")
    assert opened.card.config == {"bins": 4}
    assert load_tensors(opened)["table"].tolist() == [2.5] * 4
    assert sorted(path.name for path in (tmp_path / "m").iterdir()) == ["model.json", "weights.safetensors"]


def test_weights_may_be_read_by_whoever_may_read_the_card(tmp_path: Path) -> None:
    """A container runs as another user than the one who trained."""
    folder = _model(tmp_path / "m").path
    modes = {path.stat().st_mode & 0o777 for path in folder.iterdir()}
    (tmp_path / "new").touch()
    assert modes == {(tmp_path / "new").stat().st_mode & 0o777}


def test_sha256_of_known_content(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")  # the example of FIPS 180-2
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert file_sha256(tmp_path / "abc") == expected


def test_named_folder_comes_before_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named, other = _model(tmp_path / "named", 1.0), _model(tmp_path / "environment", 2.0)
    monkeypatch.setenv("MODEL_DIR", str(other.path))
    assert _find(named.path, tmp_path / "starter").path == named.path
    assert _find(None, tmp_path / "starter").path == other.path


def test_nothing_found_is_exit_4_although_a_starter_lies_there(tmp_path: Path) -> None:
    _model(tmp_path / "starter", starter=True)
    with pytest.raises(WeightsError, match="--starter") as caught:
        _find(None, tmp_path / "starter")
    assert caught.value.exit_code == 4


@pytest.mark.parametrize(("value", "allowed"), [("1", True), (" 1 ", True), ("", False), ("0", False), ("yes", False)])
def test_starter_variable(monkeypatch: pytest.MonkeyPatch, value: str, allowed: bool) -> None:
    assert starter_allowed() is False
    monkeypatch.setenv("SYNTHCT_STARTER", value)
    assert starter_allowed() is allowed


def test_starter_warns_each_time(tmp_path: Path) -> None:
    starter = _model(tmp_path / "starter", starter=True, trained_on="phantoms of seed 7")
    for _ in range(2):
        with pytest.warns(StarterWarning, match=r"STARTER.*phantoms of seed 7") as caught:
            assert _find(None, starter.path, use_starter=True).path == starter.path
        assert len(caught) == 1


def test_starter_in_another_folder_warns_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copied = _model(tmp_path / "copied", starter=True)
    with pytest.warns(StarterWarning):
        _find(copied.path, tmp_path / "none")
    monkeypatch.setenv("MODEL_DIR", str(copied.path))
    with pytest.warns(StarterWarning):
        _find(None, tmp_path / "none")


def test_named_folder_comes_before_the_starter(tmp_path: Path) -> None:
    named, starter = _model(tmp_path / "named"), _model(tmp_path / "starter", starter=True)
    assert _find(named.path, starter.path, use_starter=True).path == named.path


def test_algorithm_without_starter(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="has no starter weights"):
        _find(None, tmp_path / "starter", use_starter=True)


def test_one_flipped_byte(tmp_path: Path) -> None:
    model = _model(tmp_path)
    content = bytearray(model.weights.read_bytes())
    content[-1] ^= 1
    model.weights.write_bytes(content)
    with pytest.raises(WeightsError, match=r"sha256 is [0-9a-f]{16}\.\.\., model\.json declares [0-9a-f]{16}"):
        open_model(tmp_path)


@pytest.mark.parametrize("how", ["pickle", "torch", "empty", "short", "long header"])
def test_other_content_named_safetensors(tmp_path: Path, how: str) -> None:
    model = _model(tmp_path)
    if how == "torch":
        torch.save({"table": torch.zeros(4)}, model.weights)
    else:
        content = {
            "pickle": pickle.dumps({"table": list(range(100))}),
            "empty": b"",
            "short": b"\x02",
            "long header": (1 << 40).to_bytes(8, "little") + b"{}",
        }
        model.weights.write_bytes(content[how])
    _edit(tmp_path, sha256=file_sha256(model.weights))
    with pytest.raises(WeightsError, match="no safetensors"):
        open_model(tmp_path)


def test_header_that_safetensors_refuses(tmp_path: Path) -> None:
    model = _model(tmp_path)
    model.weights.write_bytes((2).to_bytes(8, "little") + b"{]")
    _edit(tmp_path, sha256=file_sha256(model.weights))
    with pytest.raises(WeightsError, match="cannot be read as safetensors"):
        load_tensors(open_model(tmp_path))


def test_wrong_algorithm(tmp_path: Path) -> None:
    _model(tmp_path, algorithm="spade-afp")
    with pytest.raises(WeightsError, match="model of spade-afp; expected one of lookup-table"):
        open_model(tmp_path, algorithm=ALGORITHM)


@pytest.mark.parametrize("name", ["weights.safetensors", "model.json"])
def test_missing_file(tmp_path: Path, name: str) -> None:
    _model(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(WeightsError, match="no such file") as caught:
        open_model(tmp_path)
    assert str(tmp_path / name) in str(caught.value)


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no such file"):
        _find(tmp_path / "absent", tmp_path / "starter")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"colour": "red"}, "colour"),
        ({"sha256": "0" * 63}, "sha256"),
        ({"sha256": "G" * 64}, "sha256"),
        ({"tasks": ["pet"]}, "tasks"),
        ({"regions": ["XX"]}, "regions"),
        ({"format": 2}, "format"),
        ({"algorithm": None}, "algorithm"),
    ],
)
def test_card_with_a_wrong_field_names_it(tmp_path: Path, change: dict[str, Any], named: str) -> None:
    _model(tmp_path)
    _edit(tmp_path, **change)
    with pytest.raises(WeightsError, match=rf"model\.json: {named}") as caught:
        open_model(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"7", b"\xff", b"[" * 100_000, b'{"a":' * 20_000])
def test_card_that_is_no_card(tmp_path: Path, content: bytes) -> None:
    _model(tmp_path)
    (tmp_path / "model.json").write_bytes(content)
    with pytest.raises(WeightsError, match=r"model\.json"):
        open_model(tmp_path)


def test_coverage(tmp_path: Path) -> None:
    model = _model(tmp_path, tasks=(Task.MRI,), regions=(Region.ABDOMEN, Region.THORAX))
    model.require(Task.MRI, Region.THORAX)
    model.require(Task.MRI, None)  # an unknown region is no reason to refuse
    for task, region in ((Task.CBCT, Region.ABDOMEN), (Task.MRI, Region.BRAIN), (Task.CBCT, None)):
        assert not model.card.covers(task, region)
        model.require(task, region, force=True)
        with pytest.raises(
            WeightsError, match=r"for task mri, region AB, TH; the case is .*\(synthct predict --force runs"
        ) as caught:
            model.require(task, region)
        assert str(task) in str(caught.value).partition("the case is")[2]


def test_half_precision_round_trip(tmp_path: Path) -> None:
    tensors = {"a": torch.tensor([0.1, -2.0, 65504.0]), "steps": torch.tensor([1, 70_000]), "none": torch.zeros(0)}
    model = save_model(tmp_path, tensors, half=True, algorithm=ALGORITHM, tasks=(Task.MRI,), regions=())
    back = load_tensors(model)
    assert back["a"].dtype == torch.float32
    assert back["a"].tolist() == [0.0999755859375, -2.0, 65504.0]  # the fp16 number nearest to 0.1
    assert back["steps"].tolist() == [1, 70_000]
    full = save_model(tmp_path / "full", tensors, half=False, algorithm=ALGORITHM, tasks=(Task.MRI,), regions=())
    assert full.weights.stat().st_size == model.weights.stat().st_size + 3 * 2
    assert torch.equal(load_tensors(full)["a"], tensors["a"])


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    with mounted_disk(tmp_path / "disk") as disk:
        with pytest.raises(DiskFullError, match=r"weights\.safetensors: cannot be written"):
            save_model(disk, {"t": torch.zeros(1 << 16)}, half=False, algorithm=ALGORITHM, tasks=(), regions=())
        assert list(disk.iterdir()) == []


def test_values_beyond_fp16_stay_finite(tmp_path: Path) -> None:
    variance = torch.tensor([1.0, 1e6])
    model = save_model(tmp_path, {"var": variance}, half=True, algorithm=ALGORITHM, tasks=(), regions=())
    assert torch.equal(load_tensors(model)["var"], variance)


def test_tensors_that_are_no_block(tmp_path: Path) -> None:
    tensor = torch.arange(6.0).reshape(2, 3).T
    model = save_model(tmp_path, {"t": tensor.requires_grad_()}, half=False, algorithm=ALGORITHM, tasks=(), regions=())
    assert load_tensors(model)["t"].tolist() == [[0.0, 3.0], [1.0, 4.0], [2.0, 5.0]]
