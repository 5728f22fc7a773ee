"""`synthct features convert --kind convnext`: from a file to features of HU; what is refused leaves nothing behind."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from commands.command_line import files_below, synthct
from convnext_files import DEPTHS, WIDTHS, write_tensors
from safetensors.torch import save_file

from synthct.features.convnext import ConvNextBackbone, ConvNextSettings
from synthct.features.convnext_names import read_convnext_tensors
from synthct.features.folder import open_extractor, read_extractor_card
from synthct.networks.state import fill_network

OPTIONS = ["--kind", "convnext", "--size", "32"]


def test_a_pth_and_a_safetensors_file_become_the_same_extractor(tmp_path: Path) -> None:
    """The original repository's form under `model`, and timm's in safetensors."""
    torch.save({"model": OrderedDict(write_tensors("original", seed=2)), "epoch": 3}, tmp_path / "tiny.pth")
    save_file(write_tensors("timm-conv", seed=2), tmp_path / "tiny.safetensors")
    chosen = ["--layers", "stage3,stage2", "--slice-axis", "y", "--slice-step", "2", "--trained-on", "photographs"]
    for name in ("tiny.pth", "tiny.safetensors"):
        outcome = synthct("features", "convert", tmp_path / name, tmp_path / name[5:], *OPTIONS, *chosen)
        assert outcome.code == 0, outcome.err
        assert "convnext, 2 layers (sha256 " in outcome.out + outcome.err
        assert files_below(tmp_path / name[5:]) == ["extractor.json", "weights.safetensors"]
    cards = [read_extractor_card(tmp_path / name) for name in ("pth", "safetensors")]
    assert cards[0].sha256 == cards[1].sha256
    assert cards[0].source.startswith("tiny.pth (sha256 ")
    assert cards[0].layers == ("stage3", "stage2")
    assert (cards[0].random, cards[0].trained_on) == (False, "photographs")
    settings = ConvNextSettings(depths=DEPTHS, widths=WIDTHS, size=32, slice_axis="y", slice_step=2)
    assert ConvNextSettings.model_validate(cards[0].network) == settings

    hu = torch.randn(1, 1, 6, 4, 50, generator=torch.Generator().manual_seed(7)) * 300
    extractor = open_extractor(tmp_path / "pth")
    assert not extractor.random
    found = extractor(hu)
    assert [tuple(features.shape) for features in found] == [(1, 8, 2, 2, 2), (1, 8, 2, 4, 4)]
    network = ConvNextBackbone(settings)
    fill_network(network, read_convnext_tensors(write_tensors("torchvision", seed=2), "file")[1], "file")
    maps = dict(network.maps((hu.clamp(-1000, 3000) + 1000) / 4000))
    assert torch.equal(found[0], maps["stage3"])
    assert torch.equal(found[1], maps["stage2"])


def test_size_0_keeps_the_slices_own_size(tmp_path: Path) -> None:
    save_file(write_tensors("torchvision"), tmp_path / "tiny.safetensors")
    options = ["--kind", "convnext", "--size", "0", "--intensity", "slice-min-max"]
    assert synthct("features", "convert", tmp_path / "tiny.safetensors", tmp_path / "out", *options).code == 0
    settings = ConvNextSettings.model_validate(read_extractor_card(tmp_path / "out").network)
    assert settings == ConvNextSettings(depths=DEPTHS, widths=WIDTHS, size=None, intensity="slice-min-max")
    assert open_extractor(tmp_path / "out")(torch.zeros(1, 1, 1, 40, 64))[0].shape == (1, 4, 1, 10, 16)


@pytest.mark.parametrize(
    ("options", "code", "reason"),
    [
        ([*OPTIONS, "--depth", "18"], 2, "--depth 18 is for --kind medicalnet; SRC was said to be convnext"),
        (
            ["--kind", "medicalnet", "--slice-axis", "y"],
            2,
            "--slice-axis y is for --kind convnext; SRC was said to be m",
        ),
        (
            ["--kind", "navi-airway", "--size", "0"],
            2,
            "--size 0 is for --kind convnext; SRC was said to be navi-airway",
        ),
        (["--kind", "convnext", "--size", "16"], 2, "network of kind convnext: size: Input should be greater than or"),
        ([*OPTIONS, "--slice-step", "-1"], 2, "network of kind convnext: slice_step: Input should be greater than 0"),
        ([*OPTIONS, "--layers", "stage5"], 2, "layer 'stage5' is unknown; expected one of stage1, stage2, stage3, st"),
        ([*OPTIONS, "--mean", "0", "--std", "1", "--low", "0", "--high", "1"], 2, "do not fit --kind convnext"),
        (["--kind", "medicalnet"], 4, "tiny.pth: holds no conv1.weight"),
    ],
)
def test_what_cannot_be_meant_is_one_line_and_writes_nothing(
    options: list[str], code: int, reason: str, tmp_path: Path
) -> None:
    torch.save(write_tensors("torchvision"), tmp_path / "tiny.pth")
    outcome = synthct("features", "convert", tmp_path / "tiny.pth", tmp_path / "out", *options)
    assert (outcome.code, len(outcome.err.splitlines())) == (code, 1), outcome.err
    assert reason in outcome.reason
    assert files_below(tmp_path / "out") == []


def test_files_that_are_no_convnext_are_one_line_and_write_nothing(tmp_path: Path) -> None:
    lacking = write_tensors("timm")
    del lacking["stages.2.blocks.1.mlp.fc2.bias"]
    torch.save(lacking, tmp_path / "lacking.pth")
    save_file({"conv1.weight": torch.zeros(2)}, tmp_path / "other.safetensors")
    for name, reason in (
        ("lacking.pth", "lacking.pth: holds no stages.2.blocks.1.mlp.fc2.bias (1 missing)"),
        ("other.safetensors", "other.safetensors: holds none of features.0.0.weight (torchvision), stem.0.weight"),
        ("absent.pth", "absent.pth: no such file; expected a .pth or .safetensors file"),
    ):
        outcome = synthct("features", "convert", tmp_path / name, tmp_path / "out", *OPTIONS)
        assert (outcome.code, len(outcome.err.splitlines())) == (4, 1), outcome.err
        assert reason in outcome.reason
        assert files_below(tmp_path / "out") == []


def test_an_opened_extractor_takes_other_layers(tmp_path: Path) -> None:
    torch.save(write_tensors("torchvision"), tmp_path / "tiny.pth")
    assert synthct("features", "convert", tmp_path / "tiny.pth", tmp_path / "out", *OPTIONS).code == 0
    hu = torch.zeros(1, 1, 1, 32, 32)
    assert open_extractor(tmp_path / "out").layers == ("stage1", "stage2", "stage3", "stage4")
    (fourth,) = open_extractor(tmp_path / "out", layers=["stage4"])(hu)
    assert fourth.shape == (1, WIDTHS[3], 1, 1, 1)
