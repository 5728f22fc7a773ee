"""The three networks: their maps equal what hooks see in nnU-Net's own network, and what MONAI's ResNets compute."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import monai.networks.nets as monai_nets
import pytest
import torch
from nnunet_models import make_plans, write_nnunet_model
from torch import Tensor

from synthct.errors import UsageError
from synthct.features.convert import convert_nnunet
from synthct.features.folder import open_extractor, random_extractor
from synthct.features.medicalnet import MedicalNetBackbone, MedicalNetSettings
from synthct.features.navi_airway import NaviAirwayBackbone, NaviAirwaySettings
from synthct.features.nnunet import NnunetBackbone
from synthct.intensity import LinearScale
from synthct.networks.state import fill_network, own_tensors
from synthct.networks.unet import UNetPlan

COMPACT = UNetPlan(kind="plain", upsampling="transposed", output_channels=7)


def maps_of(backbone: NnunetBackbone | MedicalNetBackbone | NaviAirwayBackbone, image: Tensor) -> dict[str, Tensor]:
    with torch.no_grad():
        return dict(backbone.eval().maps(image))


def hooked(network: torch.nn.Module, image: Tensor) -> dict[str, Tensor]:
    """Outputs of the stages of nnU-Net's own network during its own forward pass."""
    found: dict[str, Tensor] = {}

    def keep(name: str) -> Callable[..., None]:
        return lambda _module, _inputs, output: found.update({name: output.clone()})

    for part in ("encoder", "decoder"):
        for number, stage in enumerate(network.get_submodule(part).get_submodule("stages").children()):
            stage.register_forward_hook(keep(f"{part}.{number}"))
    with torch.no_grad():
        network(image)
    return found


@pytest.mark.parametrize("kind", ["plain", "hybrid", "residual"])
def test_nnunets_maps_are_the_stages_outputs(kind: str, tmp_path: Path) -> None:
    networks = write_nnunet_model(tmp_path / "model", make_plans(kind))
    convert_nnunet(tmp_path / "model", tmp_path / "extractor")
    every = [f"encoder.{number}" for number in range(4)] + [f"decoder.{number}" for number in range(3)]
    extractor = open_extractor(tmp_path / "extractor", layers=every)
    hu = torch.randn(1, 1, 8, 24, 16, generator=torch.Generator().manual_seed(1)) * 500
    expected = hooked(networks["0"], (hu.clamp(-900, 1500) - 20) / 400)
    assert sorted(expected) == sorted(every)
    for name, features in zip(every, extractor(hu), strict=True):
        assert features.std() > 0.01
        assert float((features - expected[name]).abs().max()) <= 1e-5, name


def test_nine_layers_of_the_compact_plan() -> None:
    """Encoder stages 0-3 and decoder stages 0-4; strides 8, 32, 32 in all (ALGORITHMS 1.1 and 1.3)."""
    with torch.device("meta"):
        backbone = NnunetBackbone(COMPACT)
    assert backbone.default_layers == (*(f"encoder.{n}" for n in range(4)), *(f"decoder.{n}" for n in range(5)))
    assert len(backbone.default_layers) == 9
    assert backbone.multiple == (8, 32, 32)
    with torch.device("meta"):
        maps = dict(backbone.maps(torch.zeros(1, 1, 16, 64, 96)))
    shapes = {name: tuple(maps[name].shape[1:]) for name in ("encoder.0", "encoder.5", "decoder.0", "decoder.4")}
    assert shapes == {
        "encoder.0": (32, 16, 64, 96),
        "encoder.5": (320, 2, 2, 3),
        "decoder.0": (320, 2, 4, 6),
        "decoder.4": (32, 16, 64, 96),
    }
    assert maps["encoder.3"].shape[1:] == (256, 4, 8, 12)


def test_deep_stages_are_computed_only_for_the_decoder() -> None:
    calls: list[int] = []
    extractor = random_extractor("nnunet", 1, network={**SMALL, "kind": "plain"}, layers=["encoder.1"])
    for number, stage in enumerate(extractor.get_submodule("backbone.unet.encoder.stages").children()):
        stage.register_forward_hook(lambda *_, number=number: calls.append(number))
    extractor(torch.zeros(1, 1, 4, 8, 8))
    assert calls == [0, 1]
    calls.clear()
    extractor.layers = ("decoder.0",)
    extractor(torch.zeros(1, 1, 4, 8, 8))
    assert calls == [0, 1, 2]


SMALL = {
    "features": (4, 8, 8),
    "kernels": ((1, 3, 3), (3, 3, 3), (3, 3, 3)),
    "strides": ((1, 1, 1), (1, 2, 2), (2, 2, 2)),
    "encoder_blocks": 1,
    "decoder_blocks": 1,
}


def monai_maps(network: torch.nn.Module, image: Tensor) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for name in ("layer1", "layer2", "layer3", "layer4"):
        network.get_submodule(name).register_forward_hook(lambda *call, name=name: found.update({name: call[2]}))
    with torch.no_grad():
        network(image)
    return found


@pytest.mark.parametrize(("depth", "shortcut"), [(10, "B"), (18, "A"), (34, "A"), (50, "B")])
def test_medicalnet_is_the_resnet_that_monai_builds(depth: int, shortcut: str) -> None:
    """Names and values; MONAI's has no dilation, so ours goes without too."""
    torch.manual_seed(depth)
    theirs = getattr(monai_nets, f"resnet{depth}")(
        spatial_dims=3,
        n_input_channels=1,
        conv1_t_stride=2,
        feed_forward=False,
        shortcut_type=shortcut,
        bias_downsample=False,
    ).eval()
    ours = MedicalNetBackbone(MedicalNetSettings.model_validate({"depth": depth, "dilated": False}))
    tensors = own_tensors(theirs)
    for name in tensors:
        if name.endswith(("running_mean", "running_var")):
            tensors[name].uniform_(0.5, 1.5)
    assert sorted(own_tensors(ours)) == sorted(tensors)
    fill_network(ours, tensors, "monai")
    image = torch.randn(1, 1, 32, 32, 64)
    expected = monai_maps(theirs, image)
    for name, features in maps_of(ours, image).items():
        assert torch.allclose(features, expected[name], atol=1e-4, rtol=1e-4), name
    assert ours.multiple == (32, 32, 32)


def test_medicalnets_dilation_keeps_the_second_stages_grid() -> None:
    maps = maps_of(MedicalNetBackbone(MedicalNetSettings()), torch.randn(1, 1, 32, 32, 64))
    assert {name: tuple(features.shape[1:]) for name, features in maps.items()} == {
        "layer1": (64, 8, 8, 16),
        "layer2": (128, 4, 4, 8),
        "layer3": (256, 4, 4, 8),
        "layer4": (512, 4, 4, 8),
    }
    plain = MedicalNetBackbone(MedicalNetSettings(dilated=False))
    assert sorted(own_tensors(plain)) == sorted(own_tensors(MedicalNetBackbone(MedicalNetSettings())))
    assert maps_of(plain, torch.randn(1, 1, 32, 32, 64))["layer4"].shape == (1, 512, 1, 1, 2)


def test_medicalnets_dilation_is_4_at_the_end() -> None:
    """Ten layers, a single impulse: stage 4's two convolutions of 3 with dilation 4 reach 8 voxels, not more."""
    backbone = MedicalNetBackbone(MedicalNetSettings()).eval()
    grid = torch.zeros(1, 256, 1, 1, 33)
    with torch.no_grad():
        quiet = backbone.layer4(grid)
        grid[..., 16] = 1.0
        reached = (backbone.layer4(grid) - quiet).abs().amax(dim=(0, 1, 2, 3)) > 0
    assert reached.nonzero().flatten().tolist() == [8, 12, 16, 20, 24]


def test_the_last_layer_alone_is_an_option() -> None:
    extractor = random_extractor("medicalnet", 1, layers=["layer4"])
    assert [tuple(features.shape) for features in extractor(torch.zeros(1, 1, 9, 9, 9))] == [(1, 512, 2, 2, 2)]


def test_navi_airway_has_seven_maps_of_32_to_256_channels() -> None:
    backbone = NaviAirwayBackbone(NaviAirwaySettings())
    maps = maps_of(backbone, torch.randn(1, 1, 16, 16, 24))
    assert {name: tuple(features.shape[1:]) for name, features in maps.items()} == {
        "encoder.0": (32, 16, 16, 24),
        "encoder.1": (64, 8, 8, 12),
        "encoder.2": (128, 4, 4, 6),
        "encoder.3": (256, 2, 2, 3),
        "decoder.0": (128, 4, 4, 6),
        "decoder.1": (64, 8, 8, 12),
        "decoder.2": (32, 16, 16, 24),
    }
    assert backbone.default_layers == backbone.map_names == tuple(maps)
    assert backbone.multiple == (8, 8, 8)
    assert all(bool((features >= 0).all()) for features in maps.values())  # after the ReLU


def test_navi_airways_second_convolution_is_dilated_by_4_and_gated() -> None:
    backbone = NaviAirwayBackbone(NaviAirwaySettings(features=(8, 8)))
    block = backbone.get_submodule("encoder.0")
    assert block.get_submodule("conv2").dilation == (4, 4, 4)
    with torch.no_grad():
        gate = block.get_submodule("gate.3")
        gate.weight.zero_()  # type: ignore[operator,union-attr]
        gate.bias.fill_(-1e9)  # type: ignore[operator,union-attr]
    maps = maps_of(backbone, torch.randn(1, 1, 4, 4, 4))
    assert float(maps["encoder.0"].abs().max()) == 0.0


def test_navi_airways_units_are_its_own() -> None:
    extractor = random_extractor("navi-airway", 1, network={"features": (8, 8)})
    assert extractor.normalisation == LinearScale(low=-1000, high=600, offset=-1000, scale=1600)
    assert extractor.air == 0.0
    with pytest.raises(UsageError, match=r"navi-airway: settings: .*features 12 is no multiple of 8 groups"):
        random_extractor("navi-airway", 1, network={"features": (12, 24)})
