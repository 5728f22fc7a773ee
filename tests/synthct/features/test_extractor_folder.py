"""Extractor folders: what is written is what is opened; what was changed, renamed or made up is refused."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from synthct.errors import OutputError, UsageError, WeightsError
from synthct.features.backbones import build_backbone, read_settings
from synthct.features.folder import (
    ExtractorCard,
    extractor_folder,
    open_extractor,
    random_extractor,
    read_extractor_card,
    save_extractor,
)
from synthct.features.normalisation import VolumeZScore
from synthct.intensity import LinearScale, ZScore
from synthct.networks.state import own_tensors
from synthct.weights import file_sha256

UNITS = ZScore(mean=20.0, std=400.0, low=-900.0, high=1500.0)
NETWORK = {
    "kind": "hybrid",
    "features": [4, 8, 8],
    "kernels": [[1, 3, 3], [3, 3, 3], [3, 3, 3]],
    "strides": [[1, 1, 1], [1, 2, 2], [2, 2, 2]],
    "encoder_blocks": 1,
    "decoder_blocks": 1,
    "upsampling": "transposed",
    "output_channels": 3,
}


def write(folder: Path, **changes: Any) -> ExtractorCard:
    backbone = build_backbone("nnunet", read_settings("nnunet", NETWORK), seed=3)
    card: dict[str, Any] = {
        "kind": "nnunet",
        "network": NETWORK,
        "normalisation": UNITS,
        "layers": ("encoder.0", "decoder.1"),
        "spacing": (3.0, 1.0, 1.0),
        "labels": {1: "bone", 2: "muscle"},
        "source": "a test",
    }
    return save_extractor(folder, own_tensors(backbone.stored), **{**card, **changes})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "extractor")
    return tmp_path / "extractor"


def change(folder: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads((folder / "extractor.json").read_text())
    edit(content)
    (folder / "extractor.json").write_text(json.dumps(content))


def hu() -> torch.Tensor:
    return torch.randn(1, 1, 4, 8, 8, generator=torch.Generator().manual_seed(1)) * 400


def test_what_is_written_is_opened(folder: Path) -> None:
    extractor = open_extractor(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["extractor.json", "weights.safetensors"]
    assert extractor.layers == ("encoder.0", "decoder.1")
    assert extractor.sha256 == file_sha256(folder / "weights.safetensors")
    assert extractor.normalisation == UNITS
    assert (extractor.name, extractor.random, extractor.starter) == ("nnunet extractor", False, False)
    assert (extractor.spacing, extractor.labels) == ((3.0, 1.0, 1.0), {1: "bone", 2: "muscle"})
    assert extractor.multiple == (2, 4, 4)
    same = random_extractor("nnunet", 3, network=NETWORK, normalisation=UNITS, layers=extractor.layers)
    assert same.sha256 == extractor.sha256
    assert all(torch.equal(one, other) for one, other in zip(extractor(hu()), same(hu()), strict=True))


def test_other_layers_can_be_asked_for(folder: Path) -> None:
    extractor = open_extractor(folder, layers=["decoder.0", "encoder.2"])
    assert [tuple(features.shape) for features in extractor(hu())] == [(1, 8, 4, 4, 4), (1, 8, 2, 2, 2)]
    with pytest.raises(UsageError, match=r"layer 'decoder\.2' is unknown; expected one of encoder\.0"):
        open_extractor(folder, layers=["decoder.2"])


def test_opening_leaves_the_random_state_alone(folder: Path) -> None:
    state = torch.get_rng_state()
    open_extractor(folder)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("units", [UNITS, LinearScale(low=-1000, high=600, offset=-1000, scale=1600), VolumeZScore()])
def test_each_normalisation_comes_back(units: Any, tmp_path: Path) -> None:
    write(tmp_path / "extractor", normalisation=units)
    assert open_extractor(tmp_path / "extractor").normalisation == units


def test_random_weights_and_starters_say_so(tmp_path: Path) -> None:
    write(tmp_path / "extractor", random=True, starter=True)
    extractor = open_extractor(tmp_path / "extractor", layers=["encoder.0"])
    assert extractor.random
    assert extractor.starter
    assert extractor.name == "nnunet extractor with RANDOM weights"


def test_flips_are_the_cards(tmp_path: Path) -> None:
    write(tmp_path / "plain")
    write(tmp_path / "turned", flips=("x",))
    plain, turned = open_extractor(tmp_path / "plain"), open_extractor(tmp_path / "turned")
    assert torch.allclose(turned(hu())[0], plain(hu().flip(4))[0])
    assert not torch.allclose(turned(hu())[0], plain(hu())[0])


def test_changed_weights_are_refused(folder: Path) -> None:
    weights = folder / "weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(WeightsError, match=r"weights\.safetensors: sha256 is .*, extractor\.json declares"):
        open_extractor(folder)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_renamed_pickle_is_never_opened(zipped: bool, folder: Path) -> None:
    stream = io.BytesIO()
    torch.save({"a": torch.zeros(1)}, stream, _use_new_zipfile_serialization=zipped)
    (folder / "weights.safetensors").write_bytes(stream.getvalue())
    with pytest.raises(WeightsError, match=r"weights\.safetensors: is no safetensors file .*pickles are never opened"):
        open_extractor(folder)


def test_damage_with_a_true_hash_is_named(folder: Path) -> None:
    weights = folder / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    change(folder, lambda card: card.update(sha256=file_sha256(weights)))
    with pytest.raises(WeightsError, match=r"weights\.safetensors: cannot be read as safetensors"):
        open_extractor(folder)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (
            lambda card: card.update(kind="vgg"),
            "kind: Input should be 'nnunet', 'navi-airway', 'medicalnet' or 'convnext'",
        ),
        (lambda card: card.update(layers=["encoder.9"]), r"layer 'encoder\.9' is unknown"),
        (lambda card: card.update(layers=[]), "layers: Tuple should have at least 1 item"),
        (lambda card: card.pop("normalisation"), "normalisation: Field required"),
        (lambda card: card["normalisation"].update(std=0), r"normalisation\.z-score\.std: Input should be greater"),
        (lambda card: card["network"].update(depth=3), "network of kind nnunet: depth: Extra inputs"),
        (lambda card: card.update(sha256="1"), "sha256: String should match"),
        (lambda card: card.update(more=1), "more: Extra inputs are not permitted"),
        (lambda card: card.update(flips=["w"]), r"flips\.0: Input should be 'z', 'y' or 'x'"),
    ],
)
def test_cards_that_cannot_be_used(edit: Callable[[dict[str, Any]], object], message: str, folder: Path) -> None:
    change(folder, edit)
    with pytest.raises(WeightsError, match=rf"extractor\.json: {message}") as caught:
        open_extractor(folder)
    assert "\n" not in str(caught.value)


def test_weights_of_another_network_are_named(folder: Path) -> None:
    change(folder, lambda card: card["network"].update(output_channels=4))
    with pytest.raises(WeightsError, match=r"weights\.safetensors: decoder\.seg_layers.* has shape .*; expected"):
        open_extractor(folder)


@pytest.mark.parametrize(
    ("network", "complaint"),
    [
        ({"features": [2048, 4096, 4096], "kernels": [[15, 15, 15]] * 3}, r"weights\.safetensors: .* has shape"),
        ({"features": [9999] * 3}, r"extractor\.json: network of kind nnunet: features\.0: Input should be less"),
    ],
)
def test_a_declared_size_takes_no_memory(network: dict[str, Any], complaint: str, folder: Path) -> None:
    """Hundreds of GB by the card; the file's tensors are compared first."""
    change(folder, lambda card: card["network"].update(network))
    with pytest.raises(WeightsError, match=complaint) as caught:
        open_extractor(folder)
    assert "\n" not in str(caught.value)


def test_a_folder_of_the_users_that_is_called_starter(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`./starter` and `starter` are one path; where no extractor lies there, the packaged one is meant."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "starter").mkdir()
    assert extractor_folder(Path("./starter")).parent.name == "features"
    folder.rename(tmp_path / "starter")
    assert extractor_folder(Path("./starter")).resolve() == tmp_path / "starter"


def test_missing_files(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"absent/extractor\.json: no such file; expected an extractor folder"):
        open_extractor(tmp_path / "absent")
    (folder / "weights.safetensors").unlink()
    assert read_extractor_card(folder).kind == "nnunet"
    with pytest.raises(WeightsError, match=r"weights\.safetensors: no such file"):
        open_extractor(folder)
    shutil.rmtree(folder)
    folder.write_text("a file")
    with pytest.raises(OutputError, match="cannot be written"):
        write(folder)
