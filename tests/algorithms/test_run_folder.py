"""RUN_DIR: what may be trained into one that is not empty, and what is noted beside a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pix2pix_runs import settings

from algorithms.commands.run_folder import CHECKPOINT, CONFIG, SPLITS, note_run, require_room, require_unseen
from algorithms.interface import About, find_algorithm
from synthct.anatomy import Region, Task
from synthct.dataset import CaseFiles
from synthct.errors import OutputError, UsageError, WeightsError
from synthct.training.folds import Fold, Splits

CONTENT: dict[str, Any] = {"learning_rate": 3e-3, "loop": {"epochs": 3}}


@pytest.fixture
def about() -> About:
    return find_algorithm("pix2pix-pelvis")


def splits(*held_out: str) -> Splits:
    """A fold for each case that is held out; the others train."""
    return Splits(folds=tuple(Fold(train=tuple(x for x in "abcd" if x != name), val=(name,)) for name in held_out))


def trained(run_dir: Path, *folds: str, **changes: Any) -> Path:
    """What training leaves of itself in RUN_DIR and its folds."""
    for folder in [run_dir / fold for fold in folds] or [run_dir]:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / CHECKPOINT).touch()
    content = settings(**CONTENT, **changes).model_dump(mode="json", exclude_defaults=True)
    (run_dir / CONFIG).write_text(json.dumps(content))
    return run_dir


def test_an_empty_folder_takes_everything(tmp_path: Path, about: About) -> None:
    require_room(tmp_path, about, settings(), None)
    require_room(tmp_path / "new", about, settings(), splits("a"))
    (tmp_path / "fold_0").mkdir()  # a call that failed before it trained
    require_room(tmp_path, about, settings(), None)


def test_a_folder_is_one_model_or_an_ensemble(tmp_path: Path, about: About) -> None:
    whole = trained(tmp_path / "whole")
    with pytest.raises(UsageError, match=r"whole/checkpoint\.pt: a model of all cases lies here"):
        require_room(whole, about, settings(**CONTENT), splits("a"))
    folds = trained(tmp_path / "folds", "fold_1")
    with pytest.raises(UsageError, match=r"folds/fold_1: a fold was trained here; expected --fold"):
        require_room(folds, about, settings(**CONTENT), None)


@pytest.mark.parametrize("fold", [(), ("fold_3",)])
def test_other_settings_are_refused_and_named(tmp_path: Path, about: About, fold: tuple[str, ...]) -> None:
    run_dir, plan = trained(tmp_path, *fold), splits("a") if fold else None
    require_room(run_dir, about, settings(**CONTENT), plan)
    faster = CONTENT | {"learning_rate": 0.1}
    with pytest.raises(WeightsError, match=r"config\.yaml: was trained with learning_rate 0\.003, this call has 0\.1;"):
        require_room(run_dir, about, settings(**faster), plan)
    longer = CONTENT | {"loop": {"epochs": 4}}
    with pytest.raises(WeightsError, match=r"was trained with loop\.epochs 3, this call has 4;"):
        require_room(run_dir, about, settings(**longer), plan)


def test_settings_that_change_no_weight_may_differ(tmp_path: Path, about: About) -> None:
    free = {"epochs": 3, "log_interval": 7, "checkpoint_interval": 5, "image_interval": 9, "max_steps": 2}
    require_room(trained(tmp_path), about, settings(**(CONTENT | {"loop": free})), None)


def test_a_damaged_settings_file_is_named(tmp_path: Path, about: About) -> None:
    trained(tmp_path)
    (tmp_path / CONFIG).write_text("learning_rat: 1\n")
    with pytest.raises(WeightsError, match=r"config\.yaml: is no longer what pix2pix-pelvis .* did you mean learning"):
        require_room(tmp_path, about, settings(**CONTENT), None)


def test_folds_of_one_ensemble_share_their_splits(tmp_path: Path, about: About) -> None:
    trained(tmp_path, "fold_0")
    splits("a", "b").write(tmp_path / SPLITS)
    require_room(tmp_path, about, settings(**CONTENT), splits("a", "b"))
    with pytest.raises(UsageError, match=r"splits\.json: fold_0 was trained by these folds, --splits names others"):
        require_room(tmp_path, about, settings(**CONTENT), splits("b", "a"))


def test_a_note_keeps_the_settings_unchanged_and_earlier_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "mine.yaml"
    source.write_bytes(b"# mine\r\nbatch: 1\n")
    run_dir = tmp_path / "run"
    notes = []
    for call in (["first"], ["second", "--resume"], ["third"]):
        monkeypatch.setattr("sys.argv", ["synthct", *call])
        note_run(run_dir, source, None, splits("a", "b"), [], "pix2pix-pelvis")
        source = run_dir / CONFIG  # a settings file may be the run's own
        notes.append(json.loads((run_dir / "run.json").read_text()))
    assert (run_dir / CONFIG).read_bytes() == b"# mine\r\nbatch: 1\n"
    assert [note["arguments"] for note in notes] == [["first"], ["second", "--resume"], ["third"]]
    assert notes[2]["earlier_calls"] == [["first"], ["second", "--resume"]]
    assert Splits.read(run_dir / SPLITS).folds == splits("a", "b").folds
    (run_dir / "run.json").write_text("[]")
    note_run(run_dir, None, "full", None, [], "pix2pix-pelvis")
    assert json.loads((run_dir / "run.json").read_text())["earlier_calls"] == []


def test_what_another_fold_is_writing_stays(tmp_path: Path) -> None:
    """Two machines train a fold each into one RUN_DIR at once."""
    (tmp_path / ".partial" / "theirs").mkdir(parents=True)
    note_run(tmp_path, None, None, splits("a"), [], "pix2pix-pelvis")
    assert (tmp_path / ".partial" / "theirs").is_dir()


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"run\.json: cannot be written"):
        note_run(tmp_path / "file", None, None, None, [], "pix2pix-pelvis")


def files(*names: str) -> list[CaseFiles]:
    return [CaseFiles(name, Task.MRI, Region.EXTREMITY, Path(name)) for name in names]


def test_a_fold_may_start_from_the_same_fold(tmp_path: Path) -> None:
    splits("a", "b").write(tmp_path / SPLITS)
    require_unseen(tmp_path, splits("a", "b"), [0, 1], files(*"abcd"))
    require_unseen(tmp_path / "fold_1", splits("a", "b"), [1], files(*"abcd"))
    require_unseen(tmp_path / "elsewhere" / "model", splits("a"), [0], files(*"abcd"))  # nothing tells its cases


@pytest.mark.parametrize(("init", "fold"), [(".", 0), ("fold_1", 0)])
def test_a_held_out_case_that_was_trained_on_is_named(tmp_path: Path, init: str, fold: int) -> None:
    splits("b", "c").write(tmp_path / SPLITS)
    with pytest.raises(
        UsageError, match=r"splits\.json: fold [01] was trained on a, which fold 0 of this call holds out"
    ):
        require_unseen(tmp_path / init, splits("a", "b"), [fold], files(*"abcd"))
