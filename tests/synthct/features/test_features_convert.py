"""`synthct features convert`: from nnU-Net's folders and other people's tensors; hostile and unfit ones are refused."""

from __future__ import annotations

import json
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from nnunet_models import make_plans, write_nnunet_model
from safetensors.torch import save_file
from typer.testing import CliRunner

from benchmarks.random_network import write_random_checkpoint
from evaluation.segmenters.nnunet import NnunetSegmenter
from synthct.cli.features import features
from synthct.errors import SynthCTError, UsageError, WeightsError
from synthct.features.backbones import build_backbone, read_settings
from synthct.features.folder import open_extractor, random_extractor, read_extractor_card
from synthct.features.normalisation import VolumeZScore
from synthct.intensity import LinearScale, ZScore
from synthct.networks.state import own_tensors
from synthct.nnunet.model_files import find_model_files

STATISTICS = ["--mean", "-50", "--std", "500", "--low", "-1000", "--high", "1600"]


def convert(*arguments: str | Path) -> str:
    """Run the command; what it raises is raised here."""
    result = CliRunner().invoke(features, ["convert", *map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def model(tmp_path: Path) -> Path:
    write_nnunet_model(tmp_path / "model", make_plans(), folds=("1", "3"))
    return tmp_path / "model"


def change(path: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


class Intruder:
    """Pickles as a command that makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (subprocess.check_call, (["touch", str(self.path)],))


def test_an_nnunet_model_becomes_an_extractor(model: Path, tmp_path: Path) -> None:
    output = convert(model, tmp_path / "out", "--trained-on", "three phantoms")
    card = read_extractor_card(tmp_path / "out")
    assert f"extractor folder {tmp_path / 'out'}: nnunet, 5 layers (sha256 {card.sha256[:12]})" in output
    assert card.normalisation == ZScore(mean=20, std=400, low=-900, high=1500)
    assert card.layers == ("encoder.0", "encoder.1", "decoder.0", "decoder.1", "decoder.2")
    assert (card.spacing, card.labels, card.flips) == ((3.0, 1.0, 1.0), {1: "organ 1", 2: "organ 2"}, ())
    assert card.network["features"] == [4, 8, 12, 16]
    assert "Dataset042_Test, nnUNetTrainer, 3d_fullres, fold_1" in card.source
    assert (card.trained_on, card.random, card.starter) == ("three phantoms", False, False)
    assert open_extractor(tmp_path / "out").multiple == (4, 8, 8)


def test_fold_layers_and_an_archive(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(file for file in model.rglob("*") if file.is_file()):
            archive.write(file, file.relative_to(model))
    options = ("--fold", "3", "--layers", "encoder.3, decoder.2", "--configuration", "3d_fullres")
    convert(path, tmp_path / "zip", *options)
    convert(model, tmp_path / "folder", *options)
    convert(model, tmp_path / "other")
    cards = [read_extractor_card(tmp_path / name) for name in ("zip", "folder", "other")]
    assert cards[0] == cards[1]
    assert cards[0].layers == ("encoder.3", "decoder.2")
    assert cards[0].sha256 != cards[2].sha256


def test_totalsegmentators_own_folders(tmp_path: Path) -> None:
    """Plans of the first releases, and a reader that turns images to RAS: y and x run the other way there."""
    model = write_random_checkpoint(tmp_path / "results", small=True)
    convert(model, tmp_path / "out")
    card = read_extractor_card(tmp_path / "out")
    assert card.flips == ("y", "x")
    assert card.normalisation == ZScore(mean=-50.387, std=503.392, low=-1004, high=1588)
    assert len(card.labels) == 117
    assert card.network["output_channels"] == 118
    convert(model, tmp_path / "lps", "--orientation", "lps")
    assert read_extractor_card(tmp_path / "lps").flips == ()
    turned, plain = open_extractor(tmp_path / "out"), open_extractor(tmp_path / "lps")
    hu = torch.randn(1, 1, 8, 8, 12) * 400
    assert torch.allclose(turned(hu)[0], plain(hu.flip(3, 4))[0])


def test_an_extractor_is_known_as_the_judge_that_it_was_made_of(model: Path, tmp_path: Path) -> None:
    """The judge's own hash, of the same fold; another fold is another network."""
    for fold in ("1", "3"):
        convert(model, tmp_path / fold, "--fold", fold)
    judge = NnunetSegmenter(find_model_files(model))
    assert open_extractor(tmp_path / "1").origin_sha256 == judge.weights
    assert read_extractor_card(tmp_path / "1").origin_sha256 == judge.weights
    assert open_extractor(tmp_path / "3").origin_sha256 == find_model_files(model, fold="3").sha256 != judge.weights
    assert open_extractor(tmp_path / "1").sha256 != judge.weights
    assert random_extractor("nnunet", 0).origin_sha256 is None


def test_a_size_that_plans_declare_takes_no_memory(tmp_path: Path) -> None:
    """113 GB for one layer, and more for others; the checkpoint's tensors are compared first."""
    plans = make_plans()
    write_nnunet_model(tmp_path / "model", plans)
    arguments = plans["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"]
    for widest, complaint in ((9999, "features.3: Input should be less"), (4096, "has shape")):
        arguments |= {"features_per_stage": [512, 1024, 2048, widest], "kernel_sizes": [[15, 15, 15]] * 4}
        (tmp_path / "model" / "plans.json").write_text(json.dumps(plans))
        with pytest.raises(WeightsError, match=complaint) as caught:
            convert(tmp_path / "model", tmp_path / "out")
        assert "\n" not in str(caught.value)


def test_ct_statistics_are_asked_for(model: Path, tmp_path: Path) -> None:
    plain = make_plans(scheme="ZScoreNormalization")
    (model / "plans.json").write_text(json.dumps(plain))
    with pytest.raises(
        UsageError, match=r"normalises by ZScoreNormalization, .* expected --mean, --std, --low and --h"
    ):
        convert(model, tmp_path / "out")
    with pytest.raises(UsageError, match=r"--low missing; expected all of --mean, --std, --low, --high"):
        convert(model, tmp_path / "out", "--mean", "1", "--std", "2", "--high", "3")
    for wrong in (["--mean", "0", "--std", "0"], ["--mean", "nan", "--std", "1"]):
        with pytest.raises(UsageError, match=r"--mean .*std .*: Input should be"):
            convert(model, tmp_path / "out", *wrong, "--low", "0", "--high", "1")
    convert(model, tmp_path / "out", *STATISTICS)
    assert read_extractor_card(tmp_path / "out").normalisation == ZScore(mean=-50, std=500, low=-1000, high=1600)


def test_a_hostile_checkpoint_is_not_run(model: Path, tmp_path: Path) -> None:
    target = tmp_path / "was-here"
    path = model / "fold_1" / "checkpoint_final.pth"
    content = torch.load(path, weights_only=False)
    for key in ("logging", "network_weights", "init_args"):
        torch.save({**content, key: Intruder(target)}, path)
        with pytest.raises(
            WeightsError, match=r"fold_1/checkpoint_final\.pth: cannot be loaded .*nothing in it was run"
        ):
            convert(model, tmp_path / "out")
    torch.save(Intruder(target), tmp_path / "resnet.pth")
    with pytest.raises(WeightsError, match=r"resnet\.pth: cannot be loaded .*nothing in it was run"):
        convert(tmp_path / "resnet.pth", tmp_path / "out", "--kind", "medicalnet")
    assert not target.exists()
    assert not (tmp_path / "out" / "extractor.json").exists()
    torch.load(path, weights_only=False)  # the pickle does what it says: only the loader stops it
    assert target.exists()


@pytest.mark.parametrize(
    ("file", "edit", "message"),
    [
        ("plans.json", lambda plans: plans.update(transpose_forward=[1, 0, 2]), "transpose_forward is"),
        ("plans.json", lambda plans: plans["configurations"].pop("3d_fullres"), "has no configuration 3d_fullres"),
        ("plans.json", lambda plans: plans.pop("foreground_intensity_properties_per_channel"), "foreground_intensity"),
    ],
)
def test_plans_that_cannot_be_used(
    file: str, edit: Callable[[dict[str, Any]], object], message: str, model: Path, tmp_path: Path
) -> None:
    change(model / file, edit)
    with pytest.raises(WeightsError, match=rf"plans\.json: .*{message}"):
        convert(model, tmp_path / "out")


def test_labels_that_are_regions_are_left_out(model: Path, tmp_path: Path) -> None:
    change(model / "dataset.json", lambda content: content.update(labels={"background": 0, "all": [1, 2], "core": 2}))
    convert(model, tmp_path / "out")
    assert read_extractor_card(tmp_path / "out").labels == {}


def test_medicalnets_published_form(tmp_path: Path) -> None:
    """Under `state_dict`, each name after `module.`, a head on top, no counters of batches."""
    backbone = build_backbone("medicalnet", read_settings("medicalnet", {"depth": 18}), seed=5)
    tensors = {
        f"module.{name}": tensor
        for name, tensor in own_tensors(backbone).items()
        if not name.endswith("num_batches_tracked")
    }
    tensors["module.conv_seg.0.weight"] = torch.zeros(3)
    torch.save({"state_dict": tensors, "epoch": 90}, tmp_path / "resnet_18.pth")
    convert(tmp_path / "resnet_18.pth", tmp_path / "out", "--kind", "medicalnet", "--depth", "18")
    extractor = open_extractor(tmp_path / "out", layers=["layer4"])
    assert extractor.normalisation == VolumeZScore()
    card = read_extractor_card(tmp_path / "out")
    assert card.network == {"depth": 18, "dilated": True}
    assert "resnet_18.pth (sha256" in card.source
    hu = torch.randn(1, 1, 16, 16, 16, generator=torch.Generator().manual_seed(2)) * 300
    expected = dict(backbone.eval().maps((hu - hu.mean()) / hu.std(correction=0)))["layer4"]
    assert torch.allclose(extractor(hu)[0], expected, atol=1e-4)
    with pytest.raises(WeightsError, match=r"resnet_18\.pth: holds no layer2\.0\.downsample.*15 missing"):
        convert(tmp_path / "resnet_18.pth", tmp_path / "ten", "--kind", "medicalnet")


def test_navi_airway_from_safetensors(tmp_path: Path) -> None:
    backbone = build_backbone("navi-airway", read_settings("navi-airway", None), seed=6)
    save_file(own_tensors(backbone), str(tmp_path / "navi.safetensors"))
    convert(tmp_path / "navi.safetensors", tmp_path / "out", "--kind", "navi-airway")
    card = read_extractor_card(tmp_path / "out")
    assert len(card.layers) == 7
    assert card.normalisation == LinearScale(low=-1000, high=600, offset=-1000, scale=1600)
    convert(tmp_path / "navi.safetensors", tmp_path / "own", "--kind", "navi-airway", *STATISTICS)
    assert read_extractor_card(tmp_path / "own").normalisation == ZScore(mean=-50, std=500, low=-1000, high=1600)
    (tmp_path / "navi.safetensors").write_bytes(b"not at all")
    with pytest.raises(WeightsError, match=r"navi\.safetensors: cannot be read as safetensors"):
        convert(tmp_path / "navi.safetensors", tmp_path / "bad", "--kind", "navi-airway")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--kind", "medicalnet", "--fold", "0"], "--fold 0 is for --kind nnunet; SRC was said to be medicalnet"),
        (["--kind", "navi-airway", "--depth", "18"], "--depth 18 is for --kind medicalnet"),
        (["--depth", "18"], "--depth 18 is for --kind medicalnet; SRC was said to be nnunet"),
        (["--kind", "medicalnet", "--depth", "11"], "network of kind medicalnet: depth: Input should be 10, 18, 34"),
        (["--layers", "encoder.9"], r"layer 'encoder\.9' is unknown"),
        (["--configuration", "2d"], "--configuration 2d does not fit"),
        (["--upsampling", "trilinear"], "--upsampling trilinear does not fit .*expected transposed"),
    ],
)
def test_options_that_cannot_be_meant(arguments: list[str], message: str, model: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        convert(model, tmp_path / "out", *arguments)


def test_places_that_cannot_be_used(model: Path, tmp_path: Path) -> None:
    convert(model, tmp_path / "out")
    for wrong, message in ((tmp_path / "out", "holds something already"), (model, "holds something already")):
        with pytest.raises(UsageError, match=message):
            convert(model, wrong)
    missing: list[tuple[list[str | Path], str]] = [
        ([tmp_path / "absent", tmp_path / "a"], "absent: no such model"),
        (
            [tmp_path / "absent.pth", tmp_path / "a", "--kind", "medicalnet"],
            "absent.pth: no such file; expected a .pth",
        ),
        ([model, tmp_path / "a", "--fold", "7"], r"fold_7/checkpoint_final\.pth: no such file"),
    ]
    for arguments, message in missing:
        with pytest.raises(SynthCTError, match=message):
            convert(*arguments)
