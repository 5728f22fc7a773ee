"""ConvNeXt's tensors by other people's names: read alike, compared with their networks, refused where unfit."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from convnext_files import DEPTHS, LIBRARIES, WIDTHS, write_tensors
from torch import Tensor

from synthct.errors import UsageError, WeightsError
from synthct.features.convert import convert_tensors
from synthct.features.convnext import CONVNEXT_NORMALISATION, ConvNextBackbone, ConvNextSettings
from synthct.features.convnext_names import read_convnext_tensors
from synthct.features.folder import open_extractor
from synthct.intensity import ZScore
from synthct.networks.state import fill_network

COMPARISON = """
import torch
torch.library.register_fake = lambda *_arguments, **_options: lambda function: function
from synthct.features.convnext import ConvNextBackbone
from synthct.features.convnext_names import read_convnext_tensors
from synthct.networks.state import fill_network
{build}
for weight in network.eval().parameters():
    torch.nn.init.normal_(weight, std=0.3)
settings, tensors = read_convnext_tensors(network.state_dict(), "published")
assert (settings.depths, settings.widths) == ((1, 2, 1, 1), (4, 8, 8, 16))
ours = ConvNextBackbone(settings)
fill_network(ours, tensors, "published")
image = torch.rand(1, 1, 1, 224, 224)
rgb = torch.cat([(image[:, :, 0] - m) / s for m, s in ((0.485, 0.229), (0.456, 0.224), (0.406, 0.225))], 1)
with torch.no_grad():
    theirs = stages(rgb)
    for (name, found), expected in zip(ours.maps(image), theirs, strict=True):
        assert expected.std() > 0.1
        print(name, float((found[:, :, 0] - expected).abs().max()))
"""
BUILD = {
    "torchvision": """
from torchvision.models.convnext import CNBlockConfig, ConvNeXt
stage = CNBlockConfig
network = ConvNeXt([stage(4, 8, 1), stage(8, 8, 2), stage(8, 16, 1), stage(16, None, 1)])
def stages(image):
    outputs = [image := layer(image) for layer in network.features]
    return outputs[1::2]
""",
    "timm": """
from timm.models.convnext import ConvNeXt
network = ConvNeXt(depths=(1, 2, 1, 1), dims=(4, 8, 8, 16))
def stages(image):
    return network.forward_intermediates(image, intermediates_only=True)
""",
}


@pytest.mark.slow
@pytest.mark.parametrize("library", ["torchvision", "timm"])
def test_the_maps_are_the_published_networks(library: str) -> None:
    """In a process of its own, where torchvision's compiled operators are left out.

    They do not load beside torch for CPUs, and no ConvNeXt uses any.
    """
    if importlib.util.find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    code = COMPARISON.format(build=BUILD[library])
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=300)
    assert result.returncode == 0, result.stderr
    differences = [line.split() for line in result.stdout.splitlines()]
    assert [name for name, _ in differences] == ["stage1", "stage2", "stage3", "stage4"]
    assert all(float(difference) < 1e-5 for _, difference in differences)


def filled(library: str) -> ConvNextBackbone:
    settings, tensors = read_convnext_tensors(write_tensors(library, seed=5), "file")
    network = ConvNextBackbone(settings)
    fill_network(network, tensors, "file")
    return network


def test_all_namings_give_the_same_maps_bit_for_bit() -> None:
    image = torch.rand(1, 1, 2, 40, 40, generator=torch.Generator().manual_seed(6))
    with torch.no_grad():
        first, *others = ([features for _, features in filled(library).maps(image)] for library in LIBRARIES)
    assert len(others) == 3
    assert all(float(features.std()) > 0.01 for features in first)
    for maps in others:
        assert all(torch.equal(one, other) for one, other in zip(first, maps, strict=True))


@pytest.mark.parametrize("library", LIBRARIES)
def test_depths_and_widths_are_the_files(library: str) -> None:
    settings, tensors = read_convnext_tensors(write_tensors(library), "file")
    assert settings == ConvNextSettings(depths=DEPTHS, widths=WIDTHS)
    assert tensors["stages.2.1.expand.weight"].shape == (32, 8)
    assert tensors["stages.0.0.layer_scale"].shape == (4,)


def write(path: Path, library: str, edit: Callable[[dict[str, Tensor]], object] = lambda _tensors: None) -> Path:
    tensors = write_tensors(library)
    edit(tensors)
    torch.save(tensors, path)
    return path


def reshape(name: str, *shape: int) -> Callable[[dict[str, Tensor]], object]:
    return lambda tensors: tensors.update({name: torch.zeros(shape)})


@pytest.mark.parametrize(
    ("library", "edit", "message"),
    [
        (
            "torchvision",
            lambda tensors: tensors.pop("features.5.1.layer_scale"),
            r"holds no features\.5\.1\.layer_scale \(1 missing\)",
        ),
        (
            "timm",
            lambda tensors: [tensors.pop(name) for name in list(tensors) if name.startswith("stages.2.blocks.0.")],
            r"holds no stages\.2\.blocks\.0\.conv_dw\.weight; expected the first block of each of 4 stages",
        ),
        (
            "timm",
            lambda tensors: tensors.update({"stages.2.blocks.7.gamma": tensors["stages.2.blocks.1.gamma"]}),
            r"holds no stages\.2\.blocks\.2\.gamma \(9 missing\)",
        ),
        ("original", lambda tensors: tensors.pop("stages.3.0.pwconv1.bias"), r"holds no stages\.3\.0\.pwconv1\.bias"),
        (
            "original",
            lambda tensors: tensors.update({"stages.0.0.grn.gamma": torch.zeros(4)}),
            r"holds stages\.0\.0\.grn\.gamma \(1 such\), which a ConvNeXt has not",
        ),
        (
            "timm",
            lambda tensors: tensors.update({"norm.weight": torch.zeros(4)}),
            r"holds norm\.weight \(1 such\), which a ConvNeXt has not",
        ),
        (
            "torchvision",
            reshape("features.3.0.block.3.weight", 32, 9),
            r"features\.3\.0\.block\.3\.weight has shape \(32, 9\); expected \(32, 8\) for this network",
        ),
        ("timm", reshape("stem.0.weight", 4, 1, 4, 4), r"stem\.0\.weight has shape \(4, 1, 4, 4\); expected \(4, 3, 4"),
        ("timm", reshape("stages.1.blocks.0.conv_dw.weight", 5000, 1, 7, 7), r"4, 5000, .* channels \(Input should"),
        ("timm", reshape("stages.1.blocks.0.conv_dw.weight"), r"4, 0, .* channels \(Input should"),
        (
            "timm",
            lambda tensors: tensors.pop("stem.0.weight"),
            r"holds none of features\.0\.0\.weight \(torchvision\), stem\.0\.weight \(timm\), downsample_layers",
        ),
        (
            "timm",
            lambda tensors: tensors.update({"features.0.0.weight": torch.zeros(1)}),
            r"holds several of features\.0\.0\.weight",
        ),
    ],
)
def test_tensors_that_do_not_fit(
    library: str, edit: Callable[[dict[str, Tensor]], object], message: str, tmp_path: Path
) -> None:
    source = write(tmp_path / "tiny.pth", library, edit)
    with pytest.raises(WeightsError, match=rf"tiny\.pth: .*{message}") as caught:
        convert_tensors("convnext", source, tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_settings_of_the_user_and_shape_of_the_file(tmp_path: Path) -> None:
    source = write(tmp_path / "tiny.pth", "original")
    card = convert_tensors("convnext", source, tmp_path / "out", settings={"size": 48, "intensity": "slice-min-max"})
    assert ConvNextSettings.model_validate(card.network) == ConvNextSettings(
        depths=DEPTHS, widths=WIDTHS, size=48, intensity="slice-min-max"
    )
    assert card.normalisation == CONVNEXT_NORMALISATION
    with pytest.raises(WeightsError, match=r"tiny\.pth: holds no stages\.0\.1\.layer_scale"):
        convert_tensors("convnext", source, tmp_path / "deep", settings={"depths": (2, 1, 2, 1)})
    with pytest.raises(UsageError, match="--mean, --std, --low and --high do not fit --kind convnext"):
        convert_tensors("convnext", source, tmp_path / "units", normalisation=ZScore(mean=0, std=500))


def test_a_card_that_declares_more_than_its_tensors_takes_no_memory(tmp_path: Path) -> None:
    """Four stages of 64 blocks of 4096 channels would be 138 GB."""
    convert_tensors("convnext", write(tmp_path / "tiny.pth", "timm"), tmp_path / "out")
    path = tmp_path / "out" / "extractor.json"
    card = json.loads(path.read_text())
    card["network"] |= {"depths": [64] * 4, "widths": [4096] * 4}
    path.write_text(json.dumps(card))
    with pytest.raises(WeightsError, match=r"weights\.safetensors: holds no stages\.0\.1\.layer_scale"):
        open_extractor(tmp_path / "out")
