"""`synthct features`: frozen networks for the feature losses, made from weights that the user has."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from synthct.cli.console import tell
from synthct.cli.features_train import train_extractor
from synthct.cli.nnunet_options import ConfigurationOption, OrientationOption, UpsamplingOption, ct_statistics
from synthct.errors import UsageError
from synthct.files import prepare_output_folder

__all__ = ["features"]

Kind = Literal["nnunet", "navi-airway", "medicalnet", "convnext"]

features = typer.Typer(
    help="Make feature extractors for the anatomical feature loss.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@features.callback()
def _group() -> None:
    """Make feature extractors for the anatomical feature loss."""


features.command("train")(train_extractor)


@features.command()
def convert(
    source: Annotated[
        Path,
        typer.Argument(metavar="SRC", help="nnU-Net v2 model folder or archive; else a .pth or .safetensors file."),
    ],
    target: Annotated[Path, typer.Argument(metavar="DST", help="New extractor folder.")],
    kind: Annotated[Kind, typer.Option(help="Which network SRC holds.")] = "nnunet",
    fold: Annotated[str | None, typer.Option(metavar="K", help="Fold, a number or all. [default: the lowest]")] = None,
    configuration: ConfigurationOption = None,
    layers: Annotated[
        str | None, typer.Option(metavar="NAME,...", help="Maps that the loss compares. [default: the paper's]")
    ] = None,
    mean: Annotated[float | None, typer.Option(help="Mean CT value that the network was trained with, in HU.")] = None,
    std: Annotated[float | None, typer.Option(help="Standard deviation, in HU.")] = None,
    low: Annotated[float | None, typer.Option(help="Lower clip bound, in HU.")] = None,
    high: Annotated[float | None, typer.Option(help="Upper clip bound, in HU.")] = None,
    upsampling: UpsamplingOption = None,
    orientation: OrientationOption = None,
    depth: Annotated[int | None, typer.Option(help="Layers of a MedicalNet: 10, 18, 34 or 50. [default: 10]")] = None,
    size: Annotated[
        int | None,
        typer.Option(help="Of a ConvNeXt: pixels that a slice is resized to; 0 keeps its own. [default: 224]"),
    ] = None,
    slice_axis: Annotated[
        Literal["z", "y", "x"] | None, typer.Option(help="Of a ConvNeXt: axis cut across. [default: z]")
    ] = None,
    slice_step: Annotated[int | None, typer.Option(help="Of a ConvNeXt: every N-th slice. [default: 1]")] = None,
    intensity: Annotated[
        Literal["fixed", "slice-min-max"] | None,
        typer.Option(help="Of a ConvNeXt: -1000 ... 3000 HU, or each slice by its own range. [default: fixed]"),
    ] = None,
    trained_on: Annotated[str, typer.Option(help="What the card says of the training data.")] = "",
) -> None:
    """Convert trained weights into an extractor folder, once. No code in a weights file is ever run."""
    from synthct.features.convert import convert_nnunet, convert_tensors

    chosen = _split(layers)
    units = ct_statistics(mean, std, low, high)
    _require_meant(kind, {"--fold": fold, "--configuration": configuration, "--upsampling": upsampling}, only="nnunet")
    _require_meant(kind, {"--depth": depth}, only="medicalnet")
    sight = {"size": size, "slice_axis": slice_axis, "slice_step": slice_step, "intensity": intensity}
    _require_meant(kind, {f"--{name.replace('_', '-')}": value for name, value in sight.items()}, only="convnext")
    _require_new(source, target)
    common: dict[str, Any] = {"layers": chosen, "normalisation": units, "trained_on": trained_on}
    prepare_output_folder(target)
    if kind == "nnunet":
        card = convert_nnunet(
            source,
            target,
            fold=fold,
            configuration=configuration,
            upsampling=upsampling,
            orientation=orientation,
            **common,
        )
    else:
        chosen_settings = {name: value for name, value in {"depth": depth, **sight}.items() if value is not None}
        settings = {**chosen_settings, "size": None} if size == 0 else chosen_settings
        card = convert_tensors(kind, source, target, settings=settings, orientation=orientation or "lps", **common)
    tell(f"extractor folder {target}: {kind}, {len(card.layers)} layers (sha256 {card.sha256[:12]})")


def _split(layers: str | None) -> list[str] | None:
    return None if layers is None else [name.strip() for name in layers.split(",")]


def _require_meant(kind: str, options: dict[str, object], *, only: str) -> None:
    for option, value in options.items():
        if value is not None and kind != only:
            raise UsageError(f"{option} {value} is for --kind {only}; SRC was said to be {kind}")


def _require_new(source: Path, target: Path) -> None:
    """Refuse a folder with something in it: a card of one network must never stand beside another's weights."""
    if target.is_dir() and any(target.iterdir()):
        raise UsageError(f"{target}: holds something already; expected a new or empty folder")
    if source.resolve() == target.resolve():
        raise UsageError(f"{target}: is SRC itself; expected another folder")
