"""The page of one case: from it a physicist can judge an sCT, with nothing but a browser."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.report.case_figures import draw_histogram, draw_joint, draw_slices, draw_tissues
from evaluation.report.case_images import CaseImages
from evaluation.report.colours import MAPS
from evaluation.report.looks import PRESETS, SLICE_WINDOW, Look, looks_of
from evaluation.report.manifest_rows import case_of, manifest_rows, shown, structure_table
from evaluation.report.measures import TissueError, tissue_errors
from evaluation.report.niivue import Viewer
from evaluation.report.numbers import is_number
from evaluation.report.pages import write_page
from evaluation.report.preview import Previews, make_previews
from evaluation.report.reference_free import reference_free
from evaluation.report.warnings_shown import warnings_about

__all__ = ["SCORES", "CaseRun", "write_case_page"]

SCORES = (
    ("mae", "MAE", "HU"),
    ("psnr", "PSNR", "dB"),
    ("ms_ssim", "MS-SSIM", ""),
    ("ssim", "SSIM", ""),
    ("DICE", "Dice", ""),
    ("HD95", "HD95", "mm"),
    ("nsd", "NSD", ""),
    ("dice_bone", "bone Dice", ""),
    ("mae_bone", "bone MAE", "HU"),
)
"""Scores of metrics.json that a page shows at its top: key, label, unit."""
SAME_MAE, SAME_MAE_SHARE = 0.05, 0.001
"""HU and share by which the MAE of metrics.json may differ from that of the page, which rounding stays below."""


@dataclass(frozen=True)
class CaseRun:
    """What is known of a case beside its images.

    Attributes:
        entry: name of the submission.
        marks: what it has to be read with: `starter`, `simulated data`, `random features`, `demonstration only`,
            `weights unknown`.
        row: its row of metrics.json; empty where it was not scored.
        judge: name of the segmenter that its structures are shown of.
        manifest: of `synthct predict`; empty where there was none.
        registration: of the CT onto the image, in words; empty where there is no CT.
        trained_on: lowest and highest input intensity of the model, where its card tells them.
        other_scores: `row` was made of other predictions than those shown, as their manifests tell.
    """

    entry: str
    marks: tuple[str, ...] = ()
    row: Mapping[str, Any] = field(default_factory=dict)
    judge: str = ""
    manifest: Mapping[str, Any] = field(default_factory=dict)
    registration: str = ""
    trained_on: tuple[float, float] | None = None
    other_scores: bool = False


def write_case_page(
    images: CaseImages, run: CaseRun, path: Path, *, viewer: Viewer | None, full: bool = False, back: str = ""
) -> Path:
    """Write the page of one case: one file that loads nothing.

    Args:
        images: its volumes.
        run: what else is known of it.
        path: page to write.
        viewer: NiiVue; without it the page shows slices, and says so.
        full: put the volumes in as they are; else they are cut to the body and averaged where they are large.
        back: address of the page that lists all cases; empty for none.
    """
    ct = None if images.ct is None else images.ct.voxels
    looks = looks_of(images)
    previews = make_previews({look.name: look.voxels for look in looks}, images.inside, images.sct.geometry, full=full)
    place = _telling_place(previews)
    described = case_of(run.manifest, str(images.id))
    errors = _tissues(images)
    tissues, reach = draw_tissues(errors) if errors else ([], 0)
    other_scores = bool(run.row) and (run.other_scores or _is_other(run.row.get("mae"), errors))
    return write_page(
        "case.html.j2",
        path,
        styles=["page.css", "case.css"],
        scripts=["page.js", "case.js"],
        hashes=[viewer.content_hash] if viewer else [],
        case=str(images.id),
        entry=run.entry,
        subtitle=_subtitle(images),
        marks=run.marks,
        warnings=warnings_about(
            run.marks, has_ct=ct is not None, registration=run.registration, other_scores=other_scores
        ),
        scores=[{"label": label, "unit": unit, "value": run.row[key]} for key, label, unit in SCORES if key in run.row],
        viewer=viewer,
        viewer_settings=_viewer_settings(looks, place, previews),
        no_viewer="" if viewer else "NiiVue was not at hand when this page was made, so it holds pictures only.",
        volumes=[{"look": look, "packed": previews.volumes[look.name].packed} for look in looks] if viewer else [],
        presets=PRESETS,
        resolution=_resolution(previews),
        scored_by=_scored_by(run),
        slices={
            "columns": [look.label for look in looks],
            "pictures": draw_slices(previews, looks, place),
            "text": f"Where most bone is. CT window {SLICE_WINDOW[0]} to {SLICE_WINDOW[1]} HU.",
        },
        has_ct=ct is not None,
        histogram=draw_histogram(images.sct.voxels, ct, images.inside),
        joint=None if ct is None else draw_joint(ct, images.sct.voxels, images.inside),
        tissues=tissues,
        tissue_reach=reach,
        structures=structure_table(run.row, run.judge),
        findings=reference_free(images, described.get("clipped_share"), run.trained_on),
        manifest={"rows": manifest_rows(run.manifest, described), "text": shown(run.manifest)},
        back=back,
    )


def _viewer_settings(looks: list[Look], place: tuple[int, int, int], previews: Previews) -> dict[str, Any]:
    maps = {}
    for name in sorted({look.map for look in looks} - {"gray"}):
        red, green, blue = (MAPS[name][:, channel].tolist() for channel in range(3))
        maps[name] = {"R": red, "G": green, "B": blue, "A": [255] * 256, "I": list(range(256))}
    return {
        "volumes": [look.settings for look in looks],
        "presets": [vars(preset) for preset in PRESETS],
        "maps": maps,
        "first": place[0] / max(1, previews.geometry.shape[0] - 1),
    }


def _telling_place(previews: Previews) -> tuple[int, int, int]:
    """Slices z, y, x with the most bone of the CT, or of the sCT where there is none; near no edge of the volume."""
    bone = previews.volumes["ct" if "ct" in previews.volumes else "sct"].voxels > 150
    places = []
    for axis in range(3):
        counts = bone.sum(axis=tuple({0, 1, 2} - {axis}))
        edge = counts.size // 5
        places.append(edge + int(counts[edge : counts.size - edge].argmax()))
    return places[0], places[1], places[2]


def _is_other(mae: object, errors: list[TissueError]) -> bool:
    """Whether the MAE of metrics.json is not that of the images, which a page works out anyway."""
    if not is_number(mae) or not errors or errors[-1].mae is None:
        return False
    return abs(mae - errors[-1].mae) > max(SAME_MAE, SAME_MAE_SHARE * abs(mae))


def _tissues(images: CaseImages) -> list[TissueError]:
    """The error by tissue, the whole body's last; empty without a CT."""
    if images.ct is None:
        return []
    millilitres = float(np.prod(images.sct.geometry.spacing)) / 1000
    return tissue_errors(images.ct.voxels, images.sct.voxels, images.inside, millilitres)


def _subtitle(images: CaseImages) -> str:
    size = " \u00d7 ".join(map(str, images.sct.geometry.size))
    spacing = " \u00d7 ".join(f"{step:.3g}" for step in images.sct.geometry.spacing)
    what = f"{images.id.task.stem.upper()} to CT"
    region = f", {images.id.region.value}" if images.id.region else ""
    return f"{what}{region}; {size} voxels of {spacing} mm; body from the {images.mask_source}"


def _scored_by(run: CaseRun) -> str:
    """What the scores at the top are; empty where there are none."""
    if not any(key in run.row for key, _, _ in SCORES):
        return ""
    judge = f" Structures were judged by {run.judge}." if run.judge else ""
    tolerance = run.row.get("nsd_tolerance_mm")
    nsd = f" NSD within {tolerance:.3g} mm." if is_number(tolerance) and "nsd" in run.row else ""
    return f"Official values of metrics.json, for this case alone.{judge}{nsd}"


def _resolution(previews: Previews) -> str:
    if previews.whole:
        return "The volumes are shown whole."
    if previews.factors == (1, 1, 1):
        return "The volumes are cut to the body; every voxel is kept."
    z, y, x = previews.factors
    return f"A preview, cut to the body: {x} \u00d7 {y} \u00d7 {z} voxels were averaged to one. --full puts all in."
