"""Simulated MR and CT pairs of real heads, aligned by construction: what ldm-brain's starters are trained on.

    python -m benchmarks.head_pairs LABELS DST                   all label maps head_NN.nii.gz of LABELS
    python -m benchmarks.head_pairs LABELS DST --cases 1,11      heads 01 and 11
    python -m benchmarks.head_pairs LABELS DST --spacing 4       coarse, for tests
    python -m benchmarks.head_pairs LABELS DST --cases 1,3 --draws 4   each four times, as 1BA001, 1BA101, ...

LABELS holds label maps of whole heads at 1 mm, such as SynthSeg's training label maps (Apache-2.0). Both images of a
case are drawn from one map: nothing in them was scanned. DST is a SynthRAD2023 tree whose note says simulated.
benchmarks/head_tissues.py says what each tissue looks like. Draws after the first are of a head that is bent too
(benchmarks/head_shapes.py). All draws of one head share its anatomy: draw training heads alone, and do not split such
a data set by `--fold`, which knows cases and no heads.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
import typer
from scipy import ndimage

from benchmarks.head_shapes import bent
from benchmarks.head_tissues import Signals, draw_signals
from synthct.cli.console import make_progress, tell
from synthct.dataset import NOTE_NAME, read_note
from synthct.errors import InputError, SynthCTError, UsageError
from synthct.files import prepare_output_folder, write_text
from synthct.outline import SMALLEST_SPACING_MM
from synthct.phantom.waves import WaveField
from synthct.resample import resample_to_spacing
from synthct.volume import Geometry, Volume, read_volume, write_volume

app = typer.Typer(help="Simulated head pairs from label maps.")

MARGIN_MM = 8.0
"""Air left about the head where the label map has it."""
MASK_MM = 5.0
"""How far the mask reaches beyond the skin; SynthRAD's masks are dilated too (CONTRACT 4.2)."""
CLOSING_MM = 3.0
"""Gaps of the skin that are closed before the body is filled: ears are drawn in specks."""
CT_BLUR_MM, MR_BLUR_MM = 0.6, 0.7
"""Standard deviations of the point spread: partial volumes arise where tissues meet."""
CT_NOISE_HU = 12.0
MR_NOISE = 0.022
"""Of the complex MR signal, as a share of white matter's."""
MR_SCALE = 600.0
"""Stored MR value of white matter before a case's gain."""
GAIN = (0.7, 1.4)
BIAS = 0.20
"""Largest share that the coil takes or adds."""

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]
FILE_NAME = re.compile(r"head_(\d{1,3})\.nii(\.gz)?")


def find_label_maps(folder: Path) -> dict[int, Path]:
    """Find head_NN.nii.gz files by their number.

    Raises:
        InputError: the folder does not exist or holds none.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; expected one with label maps named head_01.nii.gz")
    found = {int(match[1]): path for path in sorted(folder.iterdir()) if (match := FILE_NAME.fullmatch(path.name))}
    if not found:
        raise InputError(f"{folder}: holds no label map; expected files named head_01.nii.gz")
    return found


def read_labels(path: Path) -> Volume:
    """Read a label map: voxels (z, y, x) along z up, y to the back and x to the left, whatever the file's order.

    Raises:
        InputError: the labels are no whole numbers from 0 on, or there is nothing but air.
    """
    source = read_volume(path)
    labels = np.rint(source.voxels).astype(np.int32)
    if not np.array_equal(labels, source.voxels) or labels.min() < 0:
        raise InputError(f"{path}: holds voxels that are no label; expected whole numbers from 0 on")
    if not labels.any():
        raise InputError(f"{path}: all voxels are 0; expected labels of a head")
    image = sitk.GetImageFromArray(labels)
    image.SetSpacing(source.geometry.spacing)
    image.SetOrigin(source.geometry.origin)
    image.SetDirection(source.geometry.direction)
    turned = sitk.DICOMOrient(image, "LPS")
    (nx, ny, nz), (sx, sy, sz), (x, y, z) = turned.GetSize(), turned.GetSpacing(), turned.GetOrigin()
    geometry = Geometry((nx, ny, nz), (sx, sy, sz), (x, y, z), turned.GetDirection())
    return Volume(sitk.GetArrayFromImage(turned), geometry, path)


def body_of(labels: npt.NDArray[np.int32], spacing_zyx: tuple[float, float, float]) -> BoolArray:
    """Return the head: the largest piece of what is labelled, gaps of the skin closed and its holes filled.

    Holes are filled slice by slice along z, so that sinuses and airways are inside. Specks in the air are not.
    """
    rim = [max(1, int(np.ceil(CLOSING_MM / step))) for step in spacing_zyx]
    padded = np.pad(labels > 0, [(width, width) for width in rim])
    near = ndimage.distance_transform_edt(~padded, sampling=spacing_zyx) <= CLOSING_MM
    deep = ndimage.distance_transform_edt(near, sampling=spacing_zyx) > CLOSING_MM
    closed = (deep | padded)[tuple(slice(width, -width) for width in rim)]
    pieces, count = ndimage.label(closed)
    if count > 1:
        closed = pieces == 1 + int(np.argmax(np.bincount(pieces.ravel())[1:]))
    return np.stack([ndimage.binary_fill_holes(piece) for piece in closed])


def crop_to_head(labels: Volume, body: BoolArray) -> tuple[Volume, BoolArray]:
    """Cut labels and body to the body's box and MARGIN_MM around it; labels outside the body become air."""
    box = []
    for axis, step in enumerate(labels.spacing_zyx):
        places = np.flatnonzero(body.any(axis=tuple({0, 1, 2} - {axis})))
        margin = round(MARGIN_MM / step)
        box.append(slice(max(0, int(places[0]) - margin), min(body.shape[axis], int(places[-1]) + margin + 1)))
    region = tuple(box)
    matrix = np.array(labels.geometry.direction).reshape(3, 3)
    start = np.array([box[2].start, box[1].start, box[0].start]) * labels.geometry.spacing
    x, y, z = (float(value) for value in np.array(labels.geometry.origin) + matrix @ start)
    voxels = np.where(body[region], labels.voxels[region], 0)
    size = (voxels.shape[2], voxels.shape[1], voxels.shape[0])
    geometry = Geometry(size, labels.geometry.spacing, (x, y, z), labels.geometry.direction)
    return Volume(voxels, geometry, labels.path), body[region]


def make_pair(labels: Volume, rng: np.random.Generator, spacing: float | None = None) -> tuple[Volume, Volume, Volume]:
    """Draw MR (arbitrary units), CT (HU) and mask of one head on one grid, cropped to the head.

    Args:
        labels: a label map as `read_labels` returns it.
        rng: source of everything that differs between heads; the same generator state gives the same bits.
        spacing: isotropic spacing in mm of the result; None for the label map's own.

    Returns:
        int16 MR, int16 CT and uint8 mask.
    """
    cropped, body = crop_to_head(labels, body_of(labels.voxels, labels.spacing_zyx))
    signals = draw_signals(cropped, body, rng)
    bias = WaveField.draw(rng, 250, 500, count=5)
    gain = float(np.exp(rng.uniform(*np.log(GAIN))))
    mask = cropped.with_voxels(ndimage.distance_transform_edt(~body, sampling=cropped.spacing_zyx) <= MASK_MM)
    attenuation, magnetisation, reach = _scanned(cropped, signals, mask, spacing)
    axes = [
        (np.arange(size) - size / 2).astype(np.float32) * np.float32(step)
        for size, step in zip(attenuation.geometry.size, attenuation.geometry.spacing, strict=True)
    ]
    coil = 1 + np.float32(BIAS) * np.tanh(2 * bias.sample(axes[0], axes[1], axes[2]))
    shape = attenuation.voxels.shape
    hu = attenuation.voxels + np.float32(CT_NOISE_HU) * rng.standard_normal(shape, dtype=np.float32)
    real = magnetisation.voxels * coil + np.float32(MR_NOISE) * rng.standard_normal(shape, dtype=np.float32)
    imaginary = np.float32(MR_NOISE) * rng.standard_normal(shape, dtype=np.float32)
    mr = np.hypot(real, imaginary) * np.float32(MR_SCALE * gain)
    return (
        attenuation.with_voxels(np.rint(np.clip(mr, 0, 32767)).astype(np.int16)),
        attenuation.with_voxels(np.rint(np.clip(hu, -1024, 3071)).astype(np.int16)),
        attenuation.with_voxels((reach.voxels > 0).astype(np.uint8)),
    )


def _scanned(labels: Volume, signals: Signals, mask: Volume, spacing: float | None) -> tuple[Volume, Volume, Volume]:
    """Blur what the scanners see, and bring it onto the wanted spacing (averaged, so that nothing is stepped over)."""
    pictures = []
    for values, blur in ((signals.hu, CT_BLUR_MM), (signals.mr, MR_BLUR_MM)):
        sigmas = []
        for step in labels.spacing_zyx:
            coarse = 0.0 if spacing is None else max(0.0, (0.5 * spacing) ** 2 - (0.5 * step) ** 2)
            sigmas.append(float(np.sqrt(blur**2 + coarse)) / step)
        blurred: FloatArray = ndimage.gaussian_filter(values, sigmas, mode="nearest", truncate=3.0)
        pictures.append(labels.with_voxels(blurred))
    reach = mask.with_voxels(mask.voxels.astype(np.uint8))
    if spacing is None:
        return pictures[0], pictures[1], reach
    wanted = (spacing, spacing, spacing)
    return (
        resample_to_spacing(pictures[0], wanted, 1),
        resample_to_spacing(pictures[1], wanted, 1),
        resample_to_spacing(reach, wanted, 0),
    )


def chosen(maps: dict[int, Path], wanted: str | None) -> dict[int, Path]:
    """Keep the numbers of a text such as 1,11; all for None.

    Raises:
        UsageError: the text holds no numbers, or one that has no label map.
    """
    if wanted is None:
        return maps
    numbers = [part.strip() for part in wanted.split(",")]
    if not all(part.isdecimal() and int(part) in maps for part in numbers):
        known = ", ".join(str(number) for number in sorted(maps))
        raise UsageError(f"--cases {wanted} cannot be had; expected numbers of label maps with commas between: {known}")
    return {number: maps[number] for number in sorted({int(part) for part in numbers})}


@app.command()
def make(
    labels: Annotated[Path, typer.Argument(metavar="LABELS", help="Folder with head_NN.nii.gz.")],
    folder: Annotated[Path, typer.Argument(metavar="DST", help="Where the data set is made.")],
    cases: Annotated[str | None, typer.Option(help="Numbers of heads, such as 1,11; all by default.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same bits, head by head.")] = 0,
    spacing: Annotated[float | None, typer.Option(help="mm; the label maps' by default.")] = None,
    draws: Annotated[int, typer.Option(min=1, max=9, help="Cases of each head; all but the first are bent.")] = 1,
) -> None:
    """Make a data set of simulated head pairs."""
    try:
        _make(labels, folder, cases, seed, spacing, draws)
    except SynthCTError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(error.exit_code) from error


def draw_of(labels: Volume, seed: int, number: int, draw: int, spacing: float | None) -> tuple[Volume, Volume, Volume]:
    """Draw a head as `make_pair` does; draws after the first (0) have a shape and tissues of their own."""
    if draw == 0:
        return make_pair(labels, np.random.default_rng([seed, number]), spacing)
    rng = np.random.default_rng([seed, number, draw])
    return make_pair(bent(labels, rng), rng, spacing)


def _make(labels: Path, folder: Path, cases: str | None, seed: int, spacing: float | None, draws: int) -> None:
    if spacing is not None and not SMALLEST_SPACING_MM <= spacing <= 20:
        raise UsageError(f"--spacing {spacing:g} mm cannot be had; expected {SMALLEST_SPACING_MM} to 20")
    maps = chosen(find_label_maps(labels), cases)
    if draws > 1 and cases is None:
        raise UsageError(
            f"--draws {draws} without --cases would draw test heads too; expected --cases of training heads"
        )
    if draws > 1 and max(maps) > 99:
        raise UsageError(f"--draws {draws} of head {max(maps)} has no case number; expected heads up to 99")
    note_path = folder / NOTE_NAME
    simulated = read_note(note_path if note_path.is_file() else None).get("simulated")
    if folder.is_dir() and any(folder.iterdir()) and not simulated:
        raise InputError(f"{folder}: is not empty and no folder of simulated cases; expected a new folder")
    prepare_output_folder(folder)
    note = {
        "simulated": True,
        "made_by": "benchmarks.head_pairs",
        "kind": "head pairs drawn from label maps",
        "task": "mri",
        "seed": seed,
        "registration": "none",
    }
    write_text(note_path, json.dumps(note, indent=2) + "\n")  # first, so that no case is ever without it
    with make_progress() as progress:
        count = len(maps) * draws
        bar = progress.add_task("drawing heads", total=count)
        for number, path in maps.items():
            head = read_labels(path)
            for draw in range(draws):
                target = folder / "Task1" / "brain" / f"1BA{100 * draw + number:03d}"
                target.mkdir(parents=True, exist_ok=True)
                pair = draw_of(head, seed, number, draw, spacing)
                for stem, volume in zip(("mr", "ct", "mask"), pair, strict=True):
                    write_volume(volume, target / f"{stem}.mha")
                progress.update(bar, advance=1)
    tell(f"{count} simulated head{'s' if count > 1 else ''} in {folder / 'Task1' / 'brain'}")


if __name__ == "__main__":
    app()
