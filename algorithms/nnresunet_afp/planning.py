"""Which plan a run trains by: the one it is given, that of the run it starts from, or one made from its data."""

from __future__ import annotations

import logging
from pathlib import Path

from lightning_fabric import Fabric

from algorithms.nnresunet_afp.about import ABOUT
from algorithms.nnresunet_afp.predictor import read_config
from algorithms.nnresunet_afp.settings import PlannerSettings, RecipeConfig
from algorithms.training import TrainingRun
from synthct.dataset import CaseFiles
from synthct.errors import UsageError
from synthct.planning.fingerprint import FIXED_BOUNDS, fingerprint
from synthct.planning.plan import Plan, make_plan
from synthct.weights import open_model

__all__ = ["PLAN_NAME", "find_plan", "plan_of_data", "plan_of_model"]

PLAN_NAME = "plan.yaml"
MODEL_BATCH = 2
"""Batch where a model is all there is to tell it: nnU-Net's least (ALGORITHMS 1.4)."""

log = logging.getLogger(__name__)


def find_plan(run: TrainingRun, config: RecipeConfig, fabric: Fabric) -> Plan:
    """Return the run's plan, which also lies in RUN_DIR/plan.yaml from here on.

    A run that is resumed keeps its own. Else: the plan given by --plan or in the settings; that of --init's model; or
    one made from all cases of the run, those that a fold holds out included, so that folds can be joined.

    Raises:
        UsageError: the plan given is not that of the model to start from, or of the run that is resumed; only one of
            model and settings has the global skip; or the model sees its images turned round.
        InputError: a case cannot be read.
        WeightsError: --init holds no model of this algorithm.
    """
    path = run.run_dir / PLAN_NAME
    if run.resume:
        return _own_plan(path, run)
    given = Plan.read(run.plan) if run.plan is not None else config.plan
    plan = given
    if run.plan is not None and given is not None and fabric.is_global_zero:
        _tell_differences(given, config, run.plan)
    if run.init is not None:
        _require_same_skip(run.init, config)
        plan = plan_of_model(run.init)
        if given is not None:
            _require_alike(given, plan, run)
            plan = given
    if fabric.is_global_zero:
        if plan is None:
            cases = tuple(files for files in run.cases if files.id not in config.excluded_cases)
            plan = plan_of_data(cases, config.planner, run)
        if config.batch is not None:
            plan = plan.model_copy(update={"batch": config.batch})
        plan.write(path)
    fabric.barrier()
    return Plan.read(path)


def _own_plan(path: Path, run: TrainingRun) -> Plan:
    """The plan of a run that goes on; --plan may be told again, but names no other."""
    own = Plan.read(path)
    if run.plan is not None:
        given = Plan.read(run.plan)
        for name in ("spacing", "patch", "network", "image", "ct"):
            if getattr(given, name) != getattr(own, name):
                raise UsageError(f"{run.plan}: {name} is not that of {path}, by which the run to --resume was begun")
    return own


def plan_of_data(cases: tuple[CaseFiles, ...], settings: PlannerSettings, run: TrainingRun) -> Plan:
    """Make a plan from the cases by nnU-Net's rules, with what the settings fix."""
    bar = run.progress.add_task("looking at the cases", total=len(cases))
    found = fingerprint(cases, advance=lambda: run.progress.update(bar, advance=1))
    run.progress.remove_task(bar)
    return make_plan(found, **dict(settings))


def plan_of_model(folder: Path) -> Plan:
    """Return the plan that a model was trained by, as its folder tells it.

    Raises:
        UsageError: the model sees its images turned round (an import): training would not turn them.
        WeightsError: the folder holds no model of this algorithm.
    """
    model = open_model(folder, algorithm=ABOUT.name)
    config = read_config(model)
    if config.flips:
        axes = " and ".join(config.flips)
        raise UsageError(f"--init {folder}: sees its images turned round in {axes}; expected a model without flips")
    beside = (model.members[0].path / PLAN_NAME, folder / PLAN_NAME)
    batch = next((Plan.read(path).batch for path in beside if path.exists()), MODEL_BATCH)
    return Plan(
        spacing=config.spacing,
        patch=config.sweep.patch,
        batch=batch,
        network=config.network,
        image=config.image,
        ct=config.ct,
        note=f"of the model {model.card.sha256[:12]}",
    )


def _tell_differences(given: Plan, config: RecipeConfig, path: Path) -> None:
    """Say where the plan is not what the settings would have planned: it goes before them."""
    told = config.planner if config.planner.network is None else config.planner.network
    for name in ("kind", "upsampling"):
        if name in told.model_fields_set and getattr(told, name) != getattr(given.network, name):
            log.warning(
                "%s: network %s is %s, the settings' planner has %s; the plan is used",
                *(path, name, getattr(given.network, name), getattr(told, name)),
            )
    if config.planner.bounds == "percentile" and (given.ct.low, given.ct.high) == FIXED_BOUNDS:
        log.warning("%s: clips the CT to fixed bounds, the settings' planner at percentiles; the plan is used", path)


def _require_same_skip(init: Path, config: RecipeConfig) -> None:
    trained = read_config(open_model(init, algorithm=ABOUT.name)).global_skip
    if trained != config.global_skip:
        told = [str(value).lower() for value in (config.global_skip, trained)]
        raise UsageError(f"setting 'global_skip' is {told[0]}, that of {init} is {told[1]}; expected the same")


def _require_alike(given: Plan, trained: Plan, run: TrainingRun) -> None:
    """Weights mean something in their own network and units alone."""
    for name in ("network", "image", "ct"):
        if getattr(given, name) != getattr(trained, name):
            raise UsageError(
                f"{run.plan or 'the settings'}: {name} is not that of {run.init}, whose weights were asked for; "
                "expected the same, or no plan beside --init"
            )
