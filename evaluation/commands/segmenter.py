"""`synthct segmenter`: try a segmenter on a CT with known labels, and give a ground truth its segmentations."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from synthct.cli.console import make_progress, tell
from synthct.dataset import NOTE_NAME, read_note
from synthct.errors import InputError, UsageError
from synthct.files import write_text

if TYPE_CHECKING:
    from evaluation.segmenters import Segmenter

__all__ = ["segmenter"]

UNKNOWN = "unknown"

segmenter = typer.Typer(
    help="Try a segmenter, or make the segmentations of a ground truth.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Spec = Annotated[
    str, typer.Option("--segmenter", help="totalsegmentator[:PATH], nnunet:DIR, precomputed:DIR or tissue.")
]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]


@segmenter.command()
def check(
    ct: Annotated[Path, typer.Argument(metavar="CT", help="A CT in HU.")],
    segmentation: Annotated[Path, typer.Argument(metavar="SEGMENTATION", help="Its label map.")],
    spec: Spec = "totalsegmentator",
    device: Device = "auto",
) -> None:
    """Segment a CT and compare with its label map: Dice per structure."""
    import numpy as np

    from evaluation.metrics import dice_of_counts, label_counts
    from evaluation.segmenters import open_segmenter
    from evaluation.segmenters.label_map import read_label_map
    from synthct.anatomy import find_case_id
    from synthct.dataset import read_image

    chosen = open_segmenter(spec, device=device)
    image = read_image(ct)
    reference = read_label_map(segmentation, image)
    case = str(find_case_id(ct.name) or find_case_id(ct.parent.name) or ct.name.partition(".")[0])
    began = time.perf_counter()
    with _window_progress(chosen, case):
        labels = chosen.segment(image, np.ones(image.voxels.shape, np.uint8), case=case)
    seconds = time.perf_counter() - began
    counts = label_counts(reference, labels)
    unknown = [int(label) for label in np.unique(reference) if label and label not in chosen.labels]
    if unknown:
        raise UsageError(
            f"{segmentation}: holds label {unknown[0]}, which {chosen.name} does not know; expected a segmenter that "
            "speaks its labels"
        )
    present = [int(label) for label in np.flatnonzero(counts.sum(axis=1)) if label > 0]
    if not present:
        raise InputError(f"{segmentation}: holds no label; expected the structures of {ct}")
    dice = dice_of_counts(counts, present)
    scores = {label: score for label, score in dice.items() if score is not None}
    voxels = counts.sum(axis=1)
    millilitres = float(np.prod(image.spacing_zyx)) / 1000
    _show(chosen, [(label, float(voxels[label]) * millilitres, scores[label]) for label in present])
    missed = [label for label in present if counts[:, label].sum() == 0]
    tell(f"mean Dice {np.mean(list(scores.values())):.4f} of {len(present)} labels; {len(missed)} of them missed")
    tell(f"{seconds:.1f} s; weights {chosen.weights or 'none'}")


@segmenter.command()
def fill(
    ground_truth: Annotated[Path, typer.Argument(metavar="GROUND_TRUTH", help="Folder with ct/ and mask/.")],
    spec: Spec = "totalsegmentator",
    device: Device = "auto",
) -> None:
    """Write segmentation/<case id>.mha for each CT of a ground truth that has none."""
    import numpy as np

    from evaluation.segmenters import open_segmenter
    from evaluation.structures import STRUCTURE_NAMES
    from evaluation.submission import find_references
    from synthct.dataset import read_image, read_mask
    from synthct.files import prepare_output_folder
    from synthct.volume import write_volume

    if not (ground_truth / "ct").is_dir():
        raise InputError(f"{ground_truth / 'ct'}: no such folder; expected a ground truth with ct/ and mask/")
    chosen = open_segmenter(spec, device=device)
    if dict(chosen.labels) != dict(STRUCTURE_NAMES):
        raise UsageError(
            f"segmenter {chosen.name} has labels of its own; expected one with TotalSegmentator's, as which "
            "segmentation/ is read"
        )
    references = find_references(ground_truth)
    missing = [reference for reference in references if reference.segmentation is None]
    folder = prepare_output_folder(ground_truth / "segmentation")
    if missing:  # noted first: no label map is ever without its judge, also where this run is killed
        _note_judge(ground_truth, chosen, others=len(references) > len(missing))
    for reference in missing:
        image = read_image(reference.ct)
        mask = read_mask(reference.mask, image).voxels
        with _window_progress(chosen, str(reference.id)):
            labels = chosen.segment_reference(image, mask, None, case=str(reference.id))
        path = write_volume(image.with_voxels(labels), folder / f"{reference.id}.mha")
        tell(f"{path}: {np.count_nonzero(np.unique(labels))} structures")
    if missing:
        _pack_anew(ground_truth)
    tell(f"{len(missing)} of {len(references)} CTs segmented by {chosen.name}; weights {chosen.weights or 'none'}")


def _note_judge(ground_truth: Path, chosen: Segmenter, *, others: bool) -> None:
    """Write into the ground truth's note whose labels it is about to hold."""
    from synthct.grand_challenge.ground_truth import SEGMENTED_BY

    path = ground_truth / NOTE_NAME
    note = read_note(path) if path.is_file() else {}
    known = note.get(SEGMENTED_BY, [UNKNOWN] if others else [])
    note[SEGMENTED_BY] = sorted({*known, chosen.weights or chosen.name})
    write_text(path, json.dumps(note, indent=2) + "\n")


def _pack_anew(ground_truth: Path) -> None:
    """Pack the ground truth's tarball again, where there is one."""
    from synthct.grand_challenge.ground_truth import TARBALL_NAME, pack_ground_truth

    if (ground_truth / TARBALL_NAME).is_file():
        folders = (ground_truth / name for name in ("ct", "mask", "segmentation"))
        files = [file.relative_to(ground_truth) for folder in folders for file in folder.iterdir() if file.is_file()]
        tell(f"{pack_ground_truth(ground_truth, [*files, Path(NOTE_NAME)])}: packed anew")


@contextmanager
def _window_progress(chosen: Segmenter, case: str) -> Iterator[None]:
    """Show how many windows the network has done; nothing to show for a segmenter without one."""
    from evaluation.segmenters.nnunet import NnunetSegmenter

    if not isinstance(chosen, NnunetSegmenter):
        yield
        return
    with make_progress() as progress:
        bar = progress.add_task(case, total=None)
        chosen.advance = lambda done, total: progress.update(bar, completed=done, total=total)
        try:
            yield
        finally:
            chosen.advance = None


def _show(chosen: Segmenter, rows: list[tuple[int, float, float]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"Dice of {chosen.name}")
    table.add_column("label", justify="right")
    table.add_column("structure", no_wrap=True)
    table.add_column("mL in the reference", justify="right")
    table.add_column("Dice", justify="right")
    for label, millilitres, score in rows:
        table.add_row(str(label), chosen.labels.get(label, "?"), f"{millilitres:.2f}", f"{score:.4f}")
    Console(width=100).print(table)
