"""All case pages of a run and the page that lists them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.leaderboard.folder import ENTRIES_FOLDER
from evaluation.report.case_images import CaseImages, ReportCase, load_images
from evaluation.report.case_page import SCORES, write_case_page
from evaluation.report.colours import colourise, data_url
from evaluation.report.looks import PRESETS
from evaluation.report.niivue import Viewer
from evaluation.report.pages import write_page
from evaluation.report.run_notes import ReportRun
from evaluation.report.site import CASES_FOLDER
from evaluation.report.warnings_shown import warnings_about
from synthct.errors import InputError

__all__ = ["INDEX_NAME", "write_case_pages"]

INDEX_NAME = "index.html"
THUMBNAIL_PIXELS = 96


def write_case_pages(
    cases: Sequence[ReportCase],
    run: ReportRun,
    output: Path,
    *,
    viewer: Viewer | None,
    full: bool = False,
    on_case: Callable[[ReportCase], None] = lambda case: None,
) -> list[str]:
    """Write OUTPUT/<case id>.html of each case and OUTPUT/index.html.

    Where OUTPUT is BOARD/entries/<name>/report, the list leads back to the board.

    Args:
        cases: in the order of the list.
        run: what is known of them.
        output: folder that exists.
        viewer: NiiVue, or None for pages with pictures alone.
        full: whole volumes.
        on_case: called after each case.

    Returns:
        Why a case has no page, one line each; the others have theirs.
    """
    rows: list[dict[str, Any]] = []
    failures = []
    for case in cases:
        name = str(case.id)
        try:
            images = load_images(case)
            write_case_page(images, run.of(name), output / f"{name}.html", viewer=viewer, full=full, back=INDEX_NAME)
        except InputError as error:
            failures.append(f"case {name}: {error}")
        else:
            rows.append(
                {
                    "case": name,
                    "address": f"{name}.html",
                    "picture": _thumbnail(images),
                    "scores": run.rows.get(name, {}),
                    "has_ct": images.ct is not None,
                }
            )
        on_case(case)
    columns = [score for score in SCORES if any(score[0] in row["scores"] for row in rows)]
    write_page(
        "cases.html.j2",
        output / INDEX_NAME,
        styles=["page.css"],
        scripts=["page.js"],
        entry=run.common.entry,
        home=_board_of(output),
        marks=run.common.marks,
        warnings=[*_missing_cts(rows), *warnings_about(run.common.marks, other_scores=run.common.other_scores)],
        columns=columns,
        rows=rows,
        failures=failures,
    )
    return failures


def _board_of(output: Path) -> str | None:
    """Address of the board, seen from where it looks for the pages of an entry; None elsewhere."""
    place = output.resolve()
    kept = place.parent.parent.name == ENTRIES_FOLDER
    return f"../../../{INDEX_NAME}" if place.name == CASES_FOLDER and kept else None


def _missing_cts(rows: Sequence[dict[str, Any]]) -> list[dict[str, str]]:
    missing = sum(not row["has_ct"] for row in rows)
    if not missing:
        return []
    title = f"{missing} of {len(rows)} cases {'has' if missing == 1 else 'have'} no CT."
    return [{"title": title, "text": "Nothing on their pages shows how near the sCT is to the patient."}]


def _thumbnail(images: CaseImages) -> str:
    """The sCT's axial slice with most bone, in the first preset's window."""
    z = int(((images.sct.voxels > 150) & images.inside).sum(axis=(1, 2)).argmax())
    cut = images.sct.voxels[z]
    thinner = max(1, -(-max(cut.shape) // THUMBNAIL_PIXELS))
    picture = colourise(np.asarray(cut[::thinner, ::thinner]), float(PRESETS[0].low), float(PRESETS[0].high), "gray")
    return data_url(picture)
