"""`synthct weights`: model folders from weights that were trained elsewhere."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from algorithms.interface import find_algorithm
from synthct.anatomy import Region, Task
from synthct.cli.console import tell
from synthct.cli.nnunet_options import ConfigurationOption, OrientationOption, UpsamplingOption, ct_statistics
from synthct.errors import UsageError
from synthct.files import prepare_output_folder

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["weights"]

weights = typer.Typer(
    help="Make model folders from weights that were trained elsewhere.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@weights.callback()
def _group() -> None:
    """Make model folders from weights that were trained elsewhere."""


@weights.command("import")
def import_weights(
    kind: Annotated[Literal["nnunet"], typer.Argument(metavar="KIND", help="Format of DIR: nnunet.")],
    source: Annotated[
        Path, typer.Argument(metavar="DIR", help="nnU-Net v2 model folder or archive: plans.json, dataset.json, folds.")
    ],
    target: Annotated[Path, typer.Argument(metavar="DST", help="New model folder.")],
    task: Annotated[Task, typer.Option(help="What the network translates.")],
    region: Annotated[list[Region], typer.Option(help="Region it was trained for, any; may be repeated.")],
    algorithm: Annotated[str, typer.Option(help="Whose model it becomes.")] = "nnresunet-afp",
    folds: Annotated[str | None, typer.Option(metavar="K,...", help="Folds. [default: every numbered one]")] = None,
    configuration: ConfigurationOption = None,
    ct_mean: Annotated[float | None, typer.Option(help="Mean of the training CTs, in HU.")] = None,
    ct_std: Annotated[float | None, typer.Option(help="Their standard deviation, in HU.")] = None,
    ct_low: Annotated[float | None, typer.Option(help="Bound that they were clipped to, in HU.")] = None,
    ct_high: Annotated[float | None, typer.Option(help="The same above.")] = None,
    upsampling: UpsamplingOption = None,
    orientation: OrientationOption = None,
    trained_on: Annotated[str, typer.Option(help="What the model card says of the data.")] = "",
) -> None:
    """Make a trained regression net of nnU-Net's kind a model folder, for --model. No code in its files is run.

    The CT statistics turn the network's output into HU. nnU-Net's plans hold those of the input, so they must be given,
    or stand in DIR/ct_statistics.json as mean, std, low and high.
    """
    about = find_algorithm(algorithm)
    importing = _importing(about.module, algorithm)
    if task not in about.tasks:
        raise UsageError(f"--task {task}: {algorithm} is for {', '.join(about.tasks)}")
    ct = ct_statistics(ct_mean, ct_std, ct_low, ct_high, prefix="--ct-")
    if target.is_dir() and any(target.iterdir()):
        raise UsageError(f"{target}: holds something already; expected a new or empty folder")
    chosen = None if folds is None else tuple(name.strip() for name in folds.split(","))
    prepare_output_folder(target)
    models = importing.import_nnunet(
        source,
        target,
        task=task,
        regions=tuple(dict.fromkeys(region)),
        ct=ct,
        folds=chosen,
        configuration=configuration,
        upsampling=upsampling,
        orientation=orientation,
        trained_on=trained_on,
    )
    count = f"{len(models)} folds, " if len(models) > 1 else ""
    tell(f"model folder {target}: {kind} for {algorithm}, {count}sha256 {models[0].card.sha256[:12]}")


def _importing(module: str, algorithm: str) -> ModuleType:
    name = f"{module}.importing"
    if importlib.util.find_spec(name) is None:
        raise UsageError(f"--algorithm {algorithm}: takes no weights from elsewhere; expected nnresunet-afp")
    return importlib.import_module(name)
