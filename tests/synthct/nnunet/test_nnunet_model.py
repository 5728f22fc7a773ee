"""nnU-Net's checkpoints through our plan and names: the same logits as through nnU-Net's own network class."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from nnunet_models import make_plans, nnunet_network, write_nnunet_model

from synthct.errors import UsageError, WeightsError
from synthct.networks.state import fill_network, own_tensors
from synthct.networks.unet import UNetPlan, build_unet
from synthct.nnunet.model import NnunetModel, read_nnunet_model
from synthct.nnunet.model_files import find_folds, find_model_files
from synthct.nnunet.state import (
    channels_of,
    checkpoint_tensors,
    rename_upsampling,
    upsampling_of,
)

pytestmark = pytest.mark.filterwarnings("ignore:Detected old nnU-Net plans format:UserWarning:nnunetv2")
TOLERANCE = 1e-5


def logits_of(model: NnunetModel, image: torch.Tensor) -> torch.Tensor:
    network = build_unet(model.plan).eval()
    fill_network(network, model.tensors, "test")
    with torch.no_grad():
        result: torch.Tensor = network(image)
    return result


@pytest.mark.parametrize("kind", ["plain", "hybrid", "residual", "old"])
def test_the_same_logits_as_nnunets_own_network(kind: str, tmp_path: Path) -> None:
    plans = make_plans("plain" if kind == "old" else kind, old=kind == "old")
    networks = write_nnunet_model(tmp_path / "model", plans, outputs=5)
    model = read_nnunet_model(find_model_files(tmp_path / "model"))
    image = torch.randn(2, 1, 8, 24, 16, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = networks["0"](image)
    assert model.plan.kind == ("plain" if kind == "old" else kind)
    assert model.plan.features == ((4, 8, 12, 12) if kind == "old" else (4, 8, 12, 16))
    assert (model.plan.encoder_blocks, model.plan.decoder_blocks) == ((2, 1, 2, 1), (1, 2, 1))
    assert (model.plan.upsampling, model.plan.output_channels) == ("transposed", 5)
    assert expected.std() > 0.1
    assert float((logits_of(model, image) - expected).abs().max()) <= TOLERANCE
    assert model.trainer == "nnUNetTrainer"


def test_each_fold_has_its_own_weights_and_archives_are_as_good(tmp_path: Path) -> None:
    networks = write_nnunet_model(tmp_path / "model", make_plans(), folds=("0", "2", "all"))
    assert find_folds(tmp_path / "model") == ("0", "2", "all")
    path = tmp_path / "model.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(file for file in (tmp_path / "model").rglob("*") if file.is_file()):
            archive.write(file, Path("Dataset042_Test") / file.relative_to(tmp_path / "model"))
    image = torch.randn(1, 1, 8, 16, 16, generator=torch.Generator().manual_seed(2))
    for fold, network in networks.items():
        with torch.no_grad():
            expected = network(image)
        for place in (tmp_path / "model", path):
            found = logits_of(read_nnunet_model(find_model_files(place, fold=fold)), image)
            assert float((found - expected).abs().max()) <= TOLERANCE
    with pytest.raises(WeightsError, match=r"fold_1/checkpoint_final\.pth: no such file"):
        find_model_files(tmp_path / "model", fold="1")


def test_each_weight_is_named_once() -> None:
    network = nnunet_network(make_plans(), 3)
    state = network.state_dict()
    kept = checkpoint_tensors(dict(state), "test")
    assert sorted(kept) == sorted(own_tensors(network))
    assert len(state) > 2 * len(kept)
    assert sum(tensor.numel() for tensor in kept.values()) == sum(p.numel() for p in network.parameters())
    wrapped = checkpoint_tensors({f"_orig_mod.module.{name}": tensor for name, tensor in state.items()}, "test")
    assert sorted(wrapped) == sorted(kept)
    assert channels_of(kept, "test") == (1, 3)


def test_the_trilinear_decoder_is_told_by_its_kernels_and_renamed(tmp_path: Path) -> None:
    """The translation fork up-samples first and then convolves; what it calls the module is not for us to know."""
    plan = UNetPlan(
        kind="residual",
        features=(4, 8, 12, 16),
        kernels=((1, 3, 3), (3, 3, 3), (3, 3, 3), (3, 3, 3)),
        strides=((1, 1, 1), (1, 2, 2), (2, 2, 2), (2, 2, 2)),
        encoder_blocks=(2, 1, 2, 1),
        decoder_blocks=(1, 2, 1),
        upsampling="trilinear",
    )
    network = build_unet(plan).eval()
    tensors = {
        re.sub(r"(transpconvs\.[0-9])\.conv\.", r"\1.1.", name): tensor for name, tensor in own_tensors(network).items()
    }
    assert "decoder.transpconvs.0.1.weight" in tensors
    write_nnunet_model(tmp_path / "model", make_plans("residual"), outputs=1)
    content = {"network_weights": tensors, "init_args": {"configuration": "3d_fullres"}}
    torch.save(content, tmp_path / "model" / "fold_0" / "checkpoint_final.pth")
    model = read_nnunet_model(find_model_files(tmp_path / "model"))
    assert model.plan == plan
    image = torch.randn(1, 1, 8, 16, 16, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        assert float((logits_of(model, image) - network(image)).abs().max()) <= TOLERANCE
    with pytest.raises(UsageError, match=r"--upsampling transposed does not fit .*expected trilinear"):
        read_nnunet_model(find_model_files(tmp_path / "model"), upsampling="transposed")


def test_strides_of_three_leave_the_choice_to_the_user() -> None:
    tensors = {f"decoder.transpconvs.{number}.weight": torch.zeros(4, 4, 3, 3, 3) for number in range(2)}
    strides = [(1, 1, 1), (3, 3, 3), (3, 3, 3)]
    with pytest.raises(WeightsError, match=r"a\.pth: the kernels .*one of the two \(--upsampling\)"):
        upsampling_of(tensors, strides, "a.pth")
    assert upsampling_of(tensors, strides, "a.pth", asked="trilinear") == "trilinear"
    assert upsampling_of(tensors, strides, "a.pth", asked="transposed") == "transposed"
    with pytest.raises(WeightsError, match=r"the kernels of decoder\.transpconvs\.N are none"):
        upsampling_of({}, strides, "a.pth")
    renamed = rename_upsampling({**tensors, "decoder.transpconvs.1.bias": torch.zeros(4)})
    assert sorted(renamed) == [
        f"decoder.transpconvs.{end}" for end in ("0.conv.weight", "1.conv.bias", "1.conv.weight")
    ]


def test_a_configuration_that_was_not_trained_is_refused(tmp_path: Path) -> None:
    write_nnunet_model(tmp_path / "model", make_plans())
    files = find_model_files(tmp_path / "model")
    assert read_nnunet_model(files, configuration="3d_fullres").configuration.name == "3d_fullres"
    with pytest.raises(UsageError, match=r"--configuration 3d_lowres does not fit .*expected 3d_fullres"):
        read_nnunet_model(files, configuration="3d_lowres")


def test_a_checkpoint_that_names_no_configuration_asks_for_it(tmp_path: Path) -> None:
    networks = write_nnunet_model(tmp_path / "model", make_plans())
    content = {"network_weights": networks["0"].state_dict(), "init_args": {}}
    torch.save(content, tmp_path / "model" / "fold_0" / "checkpoint_final.pth")
    files = find_model_files(tmp_path / "model")
    with pytest.raises(WeightsError, match="names no configuration"):
        read_nnunet_model(files)
    assert read_nnunet_model(files, configuration="3d_fullres").trainer == "unknown trainer"


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda tensors: tensors.pop("decoder.stages.0.convs.0.norm.bias"), "holds no .*norm.bias \\(1 missing\\)"),
        (lambda tensors: tensors.update(extra=torch.zeros(1)), "holds extra \\(1 such\\), which"),
        (
            lambda tensors: tensors.update({"decoder.seg_layers.2.weight": torch.zeros(3, 5, 1, 1, 1)}),
            r"seg_layers\.2\.weight has shape \(3, 5, 1, 1, 1\); expected \(3, 4, 1, 1, 1\)",
        ),
    ],
)
def test_tensors_that_do_not_fit_are_named(edit: Any, message: str, tmp_path: Path) -> None:
    write_nnunet_model(tmp_path / "model", make_plans())
    model = read_nnunet_model(find_model_files(tmp_path / "model"))
    edit(model.tensors)
    with pytest.raises(WeightsError, match=f"a.pth: .*{message}"):
        fill_network(build_unet(model.plan), model.tensors, "a.pth")


@pytest.mark.parametrize(
    ("content", "message"),
    [([1], "holds list; expected tensors by name"), ({}, "holds dict"), ({"a": 1}, "a is int; expected a tensor")],
)
def test_weights_that_are_no_tensors(content: object, message: str) -> None:
    with pytest.raises(WeightsError, match=message):
        checkpoint_tensors(content, "a.pth")


def test_a_network_without_unet_layers_is_named() -> None:
    with pytest.raises(WeightsError, match=r"a\.pth: holds no encoder and decoder\.seg_layers"):
        channels_of({"conv.weight": torch.zeros(1, 1, 1, 1, 1)}, "a.pth")
