"""Fitting the table to a SynthRAD folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from algorithms.lookup_table.about import ABOUT
from algorithms.lookup_table.table import TableConfig, fit_table
from algorithms.pairs import require_references
from algorithms.presets import parse_settings
from algorithms.training import TrainingRun
from synthct.anatomy import Task
from synthct.dataset import load_case
from synthct.errors import UsageError
from synthct.weights import ModelFolder, save_model

__all__ = ["SETTINGS", "train"]

SETTINGS = TableConfig


def train(run: TrainingRun) -> ModelFolder:
    """Fit the table to all cases of the run that its fold does not hold out, and save it as a model folder.

    The bins span 0 to 2000 for MR and -1024 to 3071 HU for CBCT, unless the settings say otherwise. Cases are used as
    they are: nothing is aligned.

    Raises:
        UsageError: the settings are not those of a table, or the call is one for networks.
        InputError: a case has no CT, none is left, or there are too few voxels.
    """
    if run.max_steps is not None or run.init is not None:
        raise UsageError("lookup-table is fitted in one pass; expected neither --max-steps nor --init")
    held_out = frozenset(run.validation or ())
    cases = require_references(tuple(files for files in run.cases if files.id not in held_out))
    task = cases[0].task
    preset = {} if task is Task.MRI else {"low": -1024.0, "high": 3071.0, "bins": 512}
    config = parse_settings(TableConfig, preset | run.config)
    bar = run.progress.add_task("reading cases", total=len(cases))

    pairs = []
    for files in cases:
        case = load_case(files)
        inside = case.mask.voxels > 0
        if case.reference is not None:
            pairs.append((case.image.voxels[inside], case.reference.voxels[inside]))
        run.progress.update(bar, advance=1)
    table = fit_table(pairs, config)
    return save_model(
        Path(run.run_dir),
        {"table": torch.from_numpy(np.ascontiguousarray(table))},
        half=False,
        algorithm=ABOUT.name,
        tasks=(task,),
        regions=run.regions,
        starter=run.starter,
        trained_on=run.origin(len(cases)),
        config=config.model_dump(),
    )
