"""Ensembles: a folder with fold_0, fold_1, ... is one model with several members."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from forked import in_child, read_only_folder

from synthct import routes
from synthct.anatomy import Region, Task
from synthct.errors import WeightsError
from synthct.model_source import StarterWarning, find_source
from synthct.routes import holds_model, member_folders
from synthct.weights import ModelFolder, load_tensors, open_model, read_card, save_model

CONFIG = {"patch": [8, 16, 16], "step": 0.5}
CARD: dict[str, Any] = {
    "algorithm": "x",
    "tasks": (Task.MRI,),
    "regions": (Region.ABDOMEN, Region.PELVIS),
    "trained_on": "16 cases",
    "config": CONFIG,
}


def save(path: Path, value: float = 0.0, **card: Any) -> ModelFolder:
    return save_model(path, {"t": torch.full((2,), value)}, half=False, **(CARD | card))


@pytest.fixture
def ensemble(tmp_path: Path) -> Path:
    """Folds 0, 2 and 10, whose names sort as 0, 10, 2."""
    for number in (10, 0, 2):
        save(tmp_path / "model" / f"fold_{number}", value=number)
    return tmp_path / "model"


def source_of(model: Path | None, *names: str) -> Any:
    return find_source(model, {name: Path("none") for name in names or ("x",)}, use_starter=False)


def test_members_stand_in_the_order_of_their_folds(ensemble: Path) -> None:
    opened = open_model(ensemble, algorithm="x")
    assert opened.path == ensemble
    assert [member.path.name for member in opened.members] == ["fold_0", "fold_2", "fold_10"]
    assert [load_tensors(member)["t"].tolist() for member in opened.members] == [[0, 0], [2, 2], [10, 10]]
    assert [member.members for member in opened.members] == [(member,) for member in opened.members]


def test_a_single_model_is_its_own_only_member(tmp_path: Path) -> None:
    save(tmp_path)
    opened = open_model(tmp_path)
    assert opened.members == (opened,)
    assert load_tensors(opened.members[0])["t"].tolist() == [0, 0]


def test_the_common_card(ensemble: Path) -> None:
    opened = open_model(ensemble)
    assert read_card(ensemble) == opened.card
    assert opened.card.model_dump(exclude={"sha256"}) == opened.members[0].card.model_dump(exclude={"sha256"})


def test_sha256_is_that_of_the_members_digests_joined(ensemble: Path) -> None:
    digests = [
        hashlib.sha256((ensemble / name / "weights.safetensors").read_bytes()).hexdigest()
        for name in ("fold_0", "fold_2", "fold_10")
    ]
    assert len(set(digests)) == 3
    assert open_model(ensemble).card.sha256 == hashlib.sha256("".join(digests).encode()).hexdigest()


def test_what_members_need_not_agree_on_is_joined(tmp_path: Path) -> None:
    extractors = ("a" * 64, "b" * 64, "c" * 64)
    save(tmp_path / "fold_0", trained_on="16 cases", extractors=extractors[:2])
    save(tmp_path / "fold_1", trained_on="", extractors=extractors[1:])
    save(tmp_path / "fold_2", trained_on="15 cases")
    save(tmp_path / "fold_3", trained_on="16 cases")
    card = read_card(tmp_path)
    assert card.trained_on == "16 cases; 15 cases"
    assert card.extractors == extractors


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"algorithm": "y"}, "algorithm is y, in {first} it is x"),
        ({"tasks": (Task.CBCT,)}, "tasks is ['cbct'], in {first} it is ['mri']"),
        ({"regions": (Region.PELVIS,)}, "regions is ['P'], in {first} it is ['AB', 'P']"),
        ({"starter": True}, "starter is True, in {first} it is False"),
        ({"config": CONFIG | {"step": 0.25}}, "config.step is 0.25, in {first} it is 0.5"),
        ({"config": {"patch": [8, 16, 16]}}, "config.step is None, in {first} it is 0.5"),
        ({"config": CONFIG | {"more": 1}}, "config.more is 1, in {first} it is None"),
    ],
)
def test_members_of_different_kinds(ensemble: Path, changes: dict[str, Any], words: str) -> None:
    save(ensemble / "fold_2", **changes)
    for read in (read_card, open_model):
        with pytest.raises(WeightsError) as caught:
            read(ensemble)
        told = words.format(first=ensemble / "fold_0")
        assert str(caught.value) == f"{ensemble / 'fold_2'}: {told}; expected members of one ensemble"


def test_every_member_is_proven(ensemble: Path) -> None:
    content = bytearray((ensemble / "fold_10" / "weights.safetensors").read_bytes())
    content[-1] ^= 1
    (ensemble / "fold_10" / "weights.safetensors").write_bytes(content)
    assert read_card(ensemble).algorithm == "x"
    with pytest.raises(WeightsError, match=r"fold_10/weights\.safetensors: sha256 is"):
        open_model(ensemble)


@pytest.mark.parametrize("name", ["model.json", "weights.safetensors"])
def test_a_fold_whose_training_is_not_over(ensemble: Path, name: str) -> None:
    (ensemble / "fold_2" / name).unlink()
    with pytest.raises(WeightsError, match=rf"fold_2/{name}: no such file"):
        open_model(ensemble)


def test_an_ensemble_of_another_algorithm(ensemble: Path) -> None:
    with pytest.raises(WeightsError, match=r"fold_0/model\.json: holds a model of x; expected one of y"):
        open_model(ensemble, algorithm="y")
    with pytest.raises(WeightsError) as caught:
        source_of(ensemble, "y", "z").open(Task.MRI, Region.ABDOMEN)
    assert str(caught.value) == f"{ensemble}: holds a model of x; expected one of y, z"


def test_other_folders_are_no_members(ensemble: Path) -> None:
    for name in ("fold_", "fold_x", "fold_01", "fold_-1", "fold_1 ", "Fold_1", "fold_99999", "fold_1_old", "logs"):
        save(ensemble / name, algorithm="y")
    (ensemble / "fold_3").write_text("a file")
    assert [path.name for path in member_folders(ensemble)] == ["fold_0", "fold_2", "fold_10"]
    assert len(open_model(ensemble).members) == 3


def test_a_card_outranks_folds(ensemble: Path) -> None:
    save(ensemble, value=7)
    opened = open_model(ensemble)
    assert opened.members == (opened,)
    assert load_tensors(opened)["t"].tolist() == [7, 7]


def test_no_ensemble_of_ensembles(tmp_path: Path) -> None:
    save(tmp_path / "fold_0" / "fold_0")
    with pytest.raises(WeightsError, match=r"fold_0/model\.json: no such file"):
        open_model(tmp_path)


def test_an_ensemble_of_one(tmp_path: Path) -> None:
    save(tmp_path / "fold_4", value=3)
    opened = open_model(tmp_path)
    assert [load_tensors(member)["t"].tolist() for member in opened.members] == [[3, 3]]


def test_tensors_of_an_ensemble_are_not_loaded_at_once(ensemble: Path) -> None:
    with pytest.raises(WeightsError) as caught:
        load_tensors(open_model(ensemble))
    assert str(caught.value) == (
        f"{ensemble}: holds an ensemble of 3 models, which x cannot read at once; expected one model, such as "
        f"{ensemble / 'fold_0'}"
    )


def test_a_case_outside_what_the_members_were_trained_for(ensemble: Path) -> None:
    opened = open_model(ensemble)
    opened.require(Task.MRI, Region.PELVIS)
    with pytest.raises(WeightsError, match=r"this model is for task mri, region AB, P; the case is cbct, P"):
        opened.require(Task.CBCT, Region.PELVIS)


def test_ensemble_that_the_user_names(ensemble: Path) -> None:
    opened = source_of(ensemble).open(Task.MRI, Region.ABDOMEN)
    assert len(opened.members) == 3
    assert [model.path for model in source_of(ensemble).open_all()] == [ensemble]


def test_ensemble_that_was_uploaded(ensemble: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "PLATFORM_FOLDERS", (ensemble, tmp_path / "none"))
    assert len(source_of(None).open(Task.MRI, Region.ABDOMEN).members) == 3
    (ensemble / "fold_2" / "model.json").unlink()
    with pytest.raises(WeightsError, match=r"fold_2/model\.json: no such file"):
        source_of(None).open(Task.MRI, Region.ABDOMEN)


def test_upload_without_a_model_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "upload" / "fold").mkdir(parents=True)
    monkeypatch.setattr(routes, "PLATFORM_FOLDERS", (tmp_path / "upload", tmp_path / "none"))
    with pytest.raises(WeightsError, match=r"holds fold, but neither model\.json nor routes\.json"):
        source_of(None)


def test_routes_lead_to_ensembles_and_to_single_models(ensemble: Path, tmp_path: Path) -> None:
    shutil.copytree(ensemble, tmp_path / "models" / "several")
    save(tmp_path / "models" / "one", tasks=(Task.CBCT,))
    (tmp_path / "models" / "routes.json").write_text(json.dumps({"mri/*": "several", "cbct/*": "one"}))
    source = source_of(tmp_path / "models")
    assert [len(model.members) for model in source.open_all()] == [3, 1]
    assert source.open(Task.MRI, Region.ABDOMEN).path == tmp_path / "models" / "several"
    (tmp_path / "models" / "several" / "fold_0" / "weights.safetensors").unlink()
    with pytest.raises(WeightsError, match="several/fold_0"):
        source_of(tmp_path / "models").open_all()


def test_routes_outrank_folds(ensemble: Path) -> None:
    save(ensemble / "one", value=5)
    (ensemble / "routes.json").write_text('{"mri/*": "one"}')
    assert source_of(ensemble).open(Task.MRI, Region.ABDOMEN).path == ensemble / "one"


def test_an_ensemble_of_starters_warns_once(tmp_path: Path) -> None:
    for number in range(2):
        save(tmp_path / "s" / f"fold_{number}", starter=True, trained_on="phantoms")
    source = find_source(None, {"x": tmp_path / "s"}, use_starter=True)
    with pytest.warns(StarterWarning, match=r"x runs on STARTER weights \(phantoms\)") as caught:
        assert len(source.open(Task.MRI, Region.ABDOMEN).members) == 2
    assert len(caught) == 1


@pytest.fixture
def shared() -> Iterator[Path]:
    with read_only_folder() as folder:
        folder.chmod(0o755)
        yield folder
        for path in [folder, *folder.rglob("*")]:
            path.chmod(0o755)


@pytest.mark.parametrize("closed", ["", "fold_0"])
@pytest.mark.parametrize("mode", [0o000, 0o444])
def test_closed_folders_are_named(shared: Path, closed: str, mode: int) -> None:
    for number in range(2):
        save(shared / "model" / f"fold_{number}")
    place = shared / "model" / closed
    place.chmod(mode)

    def refused() -> None:
        with pytest.raises(WeightsError, match=rf"^{place}: cannot be read \(Permission denied\)"):
            open_model(shared / "model")

    in_child(refused, unprivileged=True)


def test_what_counts_as_a_model(ensemble: Path, tmp_path: Path) -> None:
    assert holds_model(ensemble)
    assert holds_model(ensemble / "fold_0")
    assert not holds_model(tmp_path)
    assert not holds_model(tmp_path / "nothing")
    assert not holds_model(ensemble / "fold_0" / "model.json")
    assert member_folders(ensemble / "fold_0") == member_folders(tmp_path / ("n" * 300)) == []
