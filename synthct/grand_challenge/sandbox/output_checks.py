"""What an algorithm's run left below /output, judged against its input (CONTRACT 1.3, 1.5, 2.2)."""

from __future__ import annotations

from pathlib import PurePosixPath

import numpy as np

from synthct.errors import InputError
from synthct.grand_challenge.sandbox.cases import CaseGrid
from synthct.grand_challenge.sandbox.findings import Findings
from synthct.grand_challenge.sandbox.parcel import Entry, Output
from synthct.volume import Volume, read_volume

__all__ = ["check_output", "left_images"]

IMAGES = "images"
SCT_FOLDER = "images/synthetic-ct"
TAKEN = (".mha", ".mhd", ".tif", ".tiff")
REFUSED = (".nii", ".nii.gz", ".nrrd", ".dcm")
HU_RANGE = (-1024, 3071)
OUTSIDE = (-1000, -1024)
SHOWN = 3


def check_output(output: Output, grid: CaseGrid, case: str, findings: Findings, *, is_local: bool = False) -> None:
    """Judge the one image and the files around it.

    Args:
        output: what the run left.
        grid: what its image is judged by.
        case: for the findings.
        findings: where the verdicts go.
        is_local: the case is one that the platform never hands over, so that nothing of it can be refused there.
    """
    if is_local:
        findings = findings.without_refusals()
    _check_entries(output, case, findings)
    path = _single_image(output, case, findings)
    if path is None:
        return
    try:
        volume = read_volume(output.folder / _linked_file(path, output))
    except InputError as error:
        findings.broken("output.decodable", str(error).replace(f"{output.folder}/", "/output/"), case)
        return
    findings.passed("output.decodable", path.name, case)
    difference = volume.geometry.size != grid.geometry.size
    found = f"{volume.geometry.size}" + (f", the input has {grid.geometry.size}" if difference else "")
    if findings.judge("output.size", found, case, kept=not difference):
        words = volume.geometry.difference(grid.geometry)
        findings.judge("output.geometry", words or "equal", case, kept=words is None)
        _check_mask(volume, grid, case, findings)
    _check_values(volume, case, findings)


def left_images(output: Output) -> list[Entry]:
    """Return the images below /output/images, by suffix."""
    return [entry for entry in output.below(IMAGES) if entry.path.name.casefold().endswith((*TAKEN, *REFUSED))]


def _check_entries(output: Output, case: str, findings: Findings) -> None:
    shut = [f"{entry.path} ({entry.mode & 0o777:o})" for entry in output.entries if not entry.is_readable]
    findings.judge("output.readable", ", ".join(shut[:SHOWN]) or "all", case, kept=not shut)
    wrong = [f"{entry.path} -> {entry.target}" for entry in output.entries if not _may_stay(entry, output)]
    findings.judge("output.links", ", ".join(wrong[:SHOWN]) or "none", case, kept=not wrong)


def _may_stay(entry: Entry, output: Output) -> bool:
    """A link is fine where it leads to a file of /output: its content is uploaded."""
    return entry.kind != "link" or _target(entry) in {other.path for other in output.entries if other.kind == "file"}


def _target(link: Entry) -> PurePosixPath | None:
    """Where a link leads, relative to /output; None where that is outside."""
    parts: list[str] = []
    for part in PurePosixPath("/output", link.path.parent, link.target).parts[1:]:
        if part != "..":
            parts.append(part)
        elif parts:
            parts.pop()
    place = PurePosixPath("/", *parts)
    return place.relative_to("/output") if place.is_relative_to("/output") else None


def _linked_file(path: PurePosixPath, output: Output) -> PurePosixPath:
    """The file that holds an image's content: itself, or where a link of that name leads."""
    entry = next(entry for entry in output.entries if entry.path == path)
    return (_target(entry) if entry.kind == "link" else None) or path


def _single_image(output: Output, case: str, findings: Findings) -> PurePosixPath | None:
    """The sCT. Images of other sockets, and files that the platform does not read, are none too many."""
    images = [entry.path for entry in left_images(output)]
    in_place = [path for path in images if path.is_relative_to(SCT_FOLDER)]
    taken = [path for path in in_place if path.name.casefold().endswith(TAKEN)]
    found = taken or in_place
    names = ", ".join(str(path) for path in found[:SHOWN]) or "none"
    beside = ", ".join(str(path) for path in [path for path in images if path not in found][:SHOWN])
    words = f"{names} (beside it {beside})" if beside else names
    if len(found) != 1:
        findings.broken("output.one-image", f"{len(found)} images: {words}", case)
        return None
    findings.passed("output.one-image", words, case)
    path = found[0]
    suffix = "".join(path.suffixes[-2:]) if path.name.endswith(".gz") else path.suffix
    findings.judge("output.format", suffix, case, kept=bool(taken))
    return path


def _check_mask(volume: Volume, grid: CaseGrid, case: str, findings: Findings) -> None:
    outside = volume.voxels[grid.mask.voxels == 0]
    wrong = outside[~np.isin(outside, OUTSIDE)]
    found = f"{wrong.size} of {outside.size} voxels differ, such as {wrong[0]:g}" if wrong.size else "kept"
    findings.judge("output.outside-mask", found, case, kept=not wrong.size)
    inside = volume.voxels[grid.mask.voxels > 0]
    constant = bool(inside.size) and bool((inside == inside[0]).all())
    found = f"all voxels are {inside[0]:g}" if constant else "values vary"
    findings.judge("output.content", found, case, kept=not constant)


def _check_values(volume: Volume, case: str, findings: Findings) -> None:
    voxels = volume.voxels
    findings.judge("output.type", str(voxels.dtype), case, kept=voxels.dtype == np.int16)
    broken = 0
    if np.issubdtype(voxels.dtype, np.floating):
        broken = int(voxels.size - np.count_nonzero(np.isfinite(voxels)))
    findings.judge("output.finite", f"{broken} voxels are not" if broken else "all", case, kept=not broken)
    if broken < voxels.size:
        low, high = np.nanmin(voxels), np.nanmax(voxels)
        kept = low >= HU_RANGE[0] and high <= HU_RANGE[1]
        findings.judge("output.range", f"{low:g} to {high:g}", case, kept=bool(kept))
