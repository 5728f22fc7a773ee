"""By which plan nnresunet-afp trains: made of the data, given, taken over from a model, kept on --resume."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands.limb_cases import save_limb
from lightning_fabric import Fabric
from nnresunet_runs import (
    CBCT,
    NETWORK,
    PATCH,
    make_plan_by_hand,
    model_config,
    save_random_model,
    settings,
    training_run,
)

from algorithms.nnresunet_afp.planning import find_plan, plan_of_model
from algorithms.training import TrainingRun
from synthct.dataset import find_cases, load_case
from synthct.errors import InputError, UsageError, WeightsError
from synthct.intensity import CaseZScore
from synthct.networks.unet import UNetPlan
from synthct.planning.plan import Plan

TINY = UNetPlan.model_validate(NETWORK)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("limbs")
    for number in (1, 2):
        save_limb(root / f"1EXA00{number}", seed=number)
        save_limb(root / f"2EXA00{number}", seed=number)
    return root


@pytest.fixture(scope="module")
def fabric() -> Fabric:
    return Fabric(accelerator="cpu", devices=1)


def planned(run: TrainingRun, fabric: Fabric, **changes: Any) -> Plan:
    run.run_dir.mkdir(exist_ok=True)
    return find_plan(run, settings(**changes), fabric)


def run_on(data: Path, run_dir: Path, task: str = "mri", **changes: Any) -> TrainingRun:
    run = training_run(data, run_dir, **changes)
    object.__setattr__(run, "cases", tuple(files for files in run.cases if files.task == task))
    return run


def test_a_plan_is_made_of_the_data_and_kept(data: Path, tmp_path: Path, fabric: Fabric) -> None:
    run = run_on(data, tmp_path / "run")
    plan = planned(run, fabric)
    assert Plan.read(tmp_path / "run" / "plan.yaml") == plan
    assert (plan.spacing, plan.patch, plan.network, plan.cases) == ((5.0, 3.0, 3.0), PATCH, TINY, 2)
    assert (plan.batch, plan.image) == (1, CaseZScore())
    inside = []
    for files in run.cases:
        case = load_case(files)
        assert case.reference is not None
        inside.append(np.clip(case.reference.voxels[case.mask.voxels > 0].astype(np.float64), -1024, 3071))
    values = np.concatenate(inside)
    assert (plan.ct.mean, plan.ct.std) == pytest.approx((values.mean(), values.std()))


def test_a_cbct_has_statistics_of_its_own(data: Path, tmp_path: Path, fabric: Fabric) -> None:
    plan = planned(run_on(data, tmp_path / "run", "cbct"), fabric)
    assert plan.image.kind == "z-score"
    assert (plan.image.low, plan.image.high) == (plan.ct.low, plan.ct.high) == (-1024, 3071)
    assert plan.image.mean != plan.ct.mean


def test_nnunets_rules_where_nothing_is_told(data: Path, tmp_path: Path, fabric: Fabric) -> None:
    """Limbs of 12 x 40 x 40 voxels: the patch holds one whole; kind and blocks are the preset's."""
    plan = planned(run_on(data, tmp_path / "run"), fabric, planner={"kind": "hybrid", "encoder_blocks": 1}, batch=None)
    assert (plan.network.kind, plan.network.upsampling) == ("hybrid", "trilinear")
    assert (plan.network.encoder_blocks, plan.network.decoder_blocks) == (1, 2)
    assert all(edge >= least for edge, least in zip(plan.patch, (12, 40, 40), strict=True))
    assert plan.batch >= 2


def test_cases_that_the_preset_leaves_out_do_not_count(data: Path, tmp_path: Path, fabric: Fabric) -> None:
    whole = planned(run_on(data, tmp_path / "a"), fabric)
    less = planned(run_on(data, tmp_path / "b"), fabric, excluded_cases=("1EXA002",))
    assert (whole.cases, less.cases) == (2, 1)
    assert whole.ct.mean != less.ct.mean


def test_folds_share_one_plan(data: Path, tmp_path: Path, fabric: Fabric) -> None:
    """Held-out cases count too: members of an ensemble have one network and one unit."""
    plans = [
        planned(run_on(data, tmp_path / str(fold), fold=fold, validation=(f"1EXA00{fold + 1}",)), fabric)
        for fold in (0, 1)
    ]
    assert plans[0] == plans[1]


def test_a_plan_of_the_users_is_taken_as_it_is(data: Path, tmp_path: Path, fabric: Fabric) -> None:
    """But for the batch, where the preset has one."""
    given = make_plan_by_hand(spacing=(6.0, 2.0, 2.0), batch=3, note="mine")
    given.write(tmp_path / "mine.yaml")
    run = run_on(data, tmp_path / "run", plan=tmp_path / "mine.yaml")
    assert planned(run, fabric, batch=None) == given
    assert planned(run, fabric) == given.model_copy(update={"batch": 1})
    assert planned(run_on(data, tmp_path / "c"), fabric, plan=given, batch=None) == given
    with pytest.raises(InputError, match=r"none\.yaml: cannot be read .*synthct plan"):
        planned(run_on(data, tmp_path / "d", plan=tmp_path / "none.yaml"), fabric)


def test_a_run_that_starts_from_a_model_takes_its_plan(data: Path, tmp_path: Path, fabric: Fabric) -> None:
    save_random_model(tmp_path / "init", model_config())
    plan = planned(run_on(data, tmp_path / "run", init=tmp_path / "init"), fabric, planner={"kind": "plain"})
    assert (plan.network, plan.patch, plan.spacing) == (TINY, PATCH, (3.0, 1.0, 1.0))
    assert (plan.ct, plan.image) == (model_config().ct, CaseZScore())
    assert plan.note.startswith("of the model ")


def test_the_batch_of_a_model_is_its_own_plans(tmp_path: Path) -> None:
    """Of an ensemble the first member's; where no plan lies beside, nnU-Net's least."""
    for fold in (0, 1):
        save_random_model(tmp_path / f"fold_{fold}", model_config(), seed=fold)
    assert plan_of_model(tmp_path).batch == 2
    make_plan_by_hand(batch=7).write(tmp_path / "fold_0" / "plan.yaml")
    assert plan_of_model(tmp_path).batch == 7


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("network", NETWORK | {"kind": "plain"}),
        ("image", CBCT.model_dump()),
        ("ct", CBCT.model_dump()),
    ],
)
def test_weights_mean_something_in_their_own_network_and_units_alone(
    name: str, value: dict[str, Any], data: Path, tmp_path: Path, fabric: Fabric
) -> None:
    save_random_model(tmp_path / "init", model_config())
    make_plan_by_hand(**{name: value}).write(tmp_path / "mine.yaml")
    run = run_on(data, tmp_path / "run", init=tmp_path / "init", plan=tmp_path / "mine.yaml")
    with pytest.raises(UsageError) as caught:
        planned(run, fabric)
    assert str(caught.value) == (
        f"{tmp_path / 'mine.yaml'}: {name} is not that of {tmp_path / 'init'}, whose weights were asked for; expected "
        "the same, or no plan beside --init"
    )
    assert not (tmp_path / "run" / "plan.yaml").exists()


def test_patch_and_spacing_may_differ_from_the_models(data: Path, tmp_path: Path, fabric: Fabric) -> None:
    save_random_model(tmp_path / "init", model_config())
    make_plan_by_hand(patch=(8, 32, 32)).write(tmp_path / "mine.yaml")
    run = run_on(data, tmp_path / "run", init=tmp_path / "init", plan=tmp_path / "mine.yaml")
    assert planned(run, fabric).patch == (8, 32, 32)


def test_a_run_that_goes_on_keeps_its_plan(data: Path, tmp_path: Path, fabric: Fabric) -> None:
    """The same --plan may be named again; another is refused."""
    own = make_plan_by_hand(note="of the first call")
    (tmp_path / "run").mkdir()
    own.write(tmp_path / "run" / "plan.yaml")
    before = (tmp_path / "run" / "plan.yaml").read_bytes()
    assert planned(run_on(data, tmp_path / "run", resume=True), fabric) == own
    make_plan_by_hand(batch=5).write(tmp_path / "same.yaml")
    assert planned(run_on(data, tmp_path / "run", resume=True, plan=tmp_path / "same.yaml"), fabric) == own
    make_plan_by_hand(patch=(8, 16, 16)).write(tmp_path / "other.yaml")
    with pytest.raises(UsageError, match=r"other\.yaml: patch is not that of .*run/plan\.yaml"):
        planned(run_on(data, tmp_path / "run", resume=True, plan=tmp_path / "other.yaml"), fabric)
    assert (tmp_path / "run" / "plan.yaml").read_bytes() == before


def test_a_folder_of_another_algorithm_is_no_model_to_start_from(data: Path, tmp_path: Path, fabric: Fabric) -> None:
    model = save_random_model(tmp_path / "init", model_config())
    card = model.path / "model.json"
    card.write_text(card.read_text().replace("nnresunet-afp", "pix2pix-pelvis"))
    with pytest.raises(WeightsError, match="pix2pix-pelvis"):
        planned(run_on(data, tmp_path / "run", init=model.path), fabric)
    card.write_text(card.read_text().replace("pix2pix-pelvis", "nnresunet-afp").replace('"sweep"', '"swept"'))
    with pytest.raises(WeightsError, match="settings do not fit nnresunet-afp") as caught:
        planned(run_on(data, tmp_path / "run", init=model.path), fabric)
    assert "\n" not in str(caught.value)


def test_a_model_that_sees_the_body_turned_round_is_no_start(data: Path, tmp_path: Path, fabric: Fabric) -> None:
    """Training turns nothing, so its weights would be taught the other side."""
    save_random_model(tmp_path / "init", model_config(flips=("y", "x")))
    with pytest.raises(UsageError, match=r"init: sees its images turned round in y and x; expected a model") as caught:
        planned(run_on(data, tmp_path / "run", init=tmp_path / "init"), fabric)
    assert "\n" not in str(caught.value)


def test_a_plan_that_is_not_the_presets_is_named(
    data: Path, tmp_path: Path, fabric: Fabric, caplog: pytest.LogCaptureFixture
) -> None:
    make_plan_by_hand().write(tmp_path / "mine.yaml")
    run = run_on(data, tmp_path / "run", plan=tmp_path / "mine.yaml")
    wanted = {"kind": "plain", "upsampling": "transposed", "bounds": "percentile"}
    planned(run, fabric, planner=wanted)
    assert [line.removeprefix(f"{tmp_path / 'mine.yaml'}: ") for line in caplog.messages] == [
        "network kind is residual, the settings' planner has plain; the plan is used",
        "network upsampling is trilinear, the settings' planner has transposed; the plan is used",
        "clips the CT to fixed bounds, the settings' planner at percentiles; the plan is used",
    ]
    caplog.clear()
    planned(run, fabric, planner={"kind": "residual"})
    planned(run, fabric)
    assert caplog.messages == [], "what the settings do not say cannot differ"


def test_every_case_of_the_fixture_is_paired(data: Path) -> None:
    assert [files.id for files in find_cases(data)] == ["1EXA001", "1EXA002", "2EXA001", "2EXA002"]
