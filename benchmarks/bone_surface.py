"""Bone of sCTs as one structure: Dice, HD95 and NSD of what is at least as dense as a threshold, inside the mask.

    python -m benchmarks.bone_surface CASES SCT [SCT ...] [--threshold 150] [--output FILE]

`synthct evaluate` scores spongy and compact bone apart; here bone is one structure, so that systems can be set side by
side. A reference without bone is an error; an sCT without bone has Dice and NSD 0 and no HD95.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from evaluation.metrics import structure_agreement
from synthct.dataset import Case, find_cases, load_case
from synthct.errors import InputError
from synthct.files import write_text
from synthct.volume import Volume, read_volume

__all__ = ["app", "bone_row"]

app = typer.Typer(help="Bone of sCTs as one structure.", add_completion=False)

BONE_HU = 150.0
"""Bone is as dense as this or denser: the tissue judge's threshold."""
TOLERANCE_MM = 2.0
BONE = 1
COLUMNS = {"mae": ".1f", "dice": ".3f", "nsd": ".3f", "hd95": ".1f"}

Row = dict[str, float | str | None]


def bone_row(case: Case, sct: Volume, threshold: float = BONE_HU) -> Row:
    """Return case, mae (HU, inside the mask), dice, nsd (at 2 mm) and hd95 (mm; None where the sCT has no bone).

    Args:
        case: with its CT.
        sct: HU on the case's grid.
        threshold: in HU.

    Raises:
        InputError: the case has no CT, its CT no bone, or the sCT lies on another grid.
    """
    if case.reference is None:
        raise InputError(f"{case.id}: has no CT; expected one to compare with")
    difference = sct.geometry.difference(case.reference.geometry)
    if difference is not None:
        raise InputError(f"{case.id}: the sCT lies on another grid than the CT ({difference}); expected the CT's")
    inside = case.mask.voxels > 0
    wanted, found = ((volume.voxels >= threshold) & inside for volume in (case.reference, sct))
    if not wanted.any():
        raise InputError(f"{case.id}: the CT has no voxel of {threshold:g} HU or more in the mask; expected bone")
    error = np.abs(sct.voxels.astype(np.float64) - case.reference.voxels)[inside]
    row: Row = {"case": case.id, "mae": float(error.mean())}
    if not found.any():
        return {**row, "dice": 0.0, "nsd": 0.0, "hd95": None}
    agreement = structure_agreement(
        wanted.astype(np.uint8), found.astype(np.uint8), [BONE], case.reference.spacing_zyx, TOLERANCE_MM, "strict"
    )
    return {**row, "dice": agreement.dice, "nsd": agreement.nsd, "hd95": agreement.hd95}


@app.command()
def compare(
    data: Annotated[Path, typer.Argument(metavar="CASES", help="Data set root, cases with their CT.")],
    folders: Annotated[list[Path], typer.Argument(metavar="SCT...", help="Folders of <id>.mha (synthct predict).")],
    threshold: Annotated[float, typer.Option(help="HU from which a voxel is bone.")] = BONE_HU,
    output: Annotated[Path | None, typer.Option(help="JSON file for every figure.")] = None,
) -> None:
    """Set folders of sCTs side by side: each case and the mean."""
    cases = [load_case(files) for files in find_cases(data)]
    table = Table("sCT", "case", "MAE (HU)", "bone Dice", "bone NSD", "bone HD95 (mm)")
    told: dict[str, list[Row]] = {}
    for folder in folders:
        rows = [bone_row(case, read_volume(folder / f"{case.id}.mha"), threshold) for case in cases]
        told[str(folder)] = rows
        for row in [*rows, _mean(rows)]:
            figures = [row[name] for name in ("mae", "dice", "nsd", "hd95")]
            digits = (1, 3, 3, 1)
            cells = [
                "none" if value is None else f"{value:.{places}f}"
                for value, places in zip(figures, digits, strict=True)
            ]
            table.add_row(folder.name, str(row["case"]), *cells)
        table.add_section()
    Console().print(table)
    if output is not None:
        write_text(output, json.dumps(told, indent=2) + "\n")


def _mean(rows: list[Row]) -> Row:
    """Mean over the cases; None where one has no figure."""
    means: Row = {"case": "mean"}
    for name in COLUMNS:
        values = [value for row in rows if isinstance(value := row[name], float)]
        means[name] = float(np.mean(values)) if len(values) == len(rows) else None
    return means


if __name__ == "__main__":
    app()
