"""From what a user writes after --segmenter to the segmenter."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from evaluation.segmenters.interface import Segmenter
from evaluation.segmenters.nnunet import NnunetSegmenter, dataset_column_name
from evaluation.segmenters.precomputed import PrecomputedSegmenter
from evaluation.segmenters.tissue import TissueSegmenter
from evaluation.segmenters.totalsegmentator import TotalSegmentator, find_totalsegmentator_files
from synthct.errors import UsageError
from synthct.nnunet.model_files import ModelFiles, find_model_files, model_labels

__all__ = ["SEGMENTER_SPECS", "absolute_spec", "case_files", "describe_segmenter", "open_segmenter"]

SEGMENTER_SPECS = "totalsegmentator[:PATH], nnunet:DIR, precomputed:DIR or tissue"
DEVICES = ("auto", "cpu", "cuda")


def open_segmenter(spec: str, *, device: str = "auto", cache: Path | None = None) -> Segmenter:
    """Open a segmenter; one process opens each only once, so that all its cases share one network.

    Args:
        spec: `totalsegmentator` or `totalsegmentator:PATH`, `nnunet:DIR`, `precomputed:DIR`, `tissue`.
        device: auto, cpu or cuda; only the networks look at it, when they segment the first image.
        cache: folder where the networks keep their label maps; None keeps none.

    Raises:
        UsageError: an unknown segmenter or device, or a folder that is missing from the spec or too much in it.
        WeightsError: the weights are missing or cannot be used. They are hashed here and loaded at first use.
        InputError: the folder of ready label maps cannot be used.
    """
    if device not in DEVICES:
        raise UsageError(f"device '{device}' is unknown; expected {', '.join(DEVICES)}")
    kind, place = _parse(spec)
    if kind == "precomputed" and place is not None:
        return PrecomputedSegmenter(place)  # not kept: a worker may live through changes of the folder
    return _open(kind, place, device, cache, describe_segmenter(spec)[1])


def absolute_spec(spec: str) -> str:
    """The same segmenter for a process that stands in another folder.

    Raises:
        UsageError: as `open_segmenter`.
    """
    kind, place = _parse(spec)
    return kind if place is None else f"{kind}:{place.absolute()}"


def describe_segmenter(spec: str) -> tuple[str, str | None]:
    """Name and weights' sha256 of a segmenter, without loading a network; None where it has no weights.

    Raises:
        UsageError, WeightsError, InputError: as `open_segmenter`.
    """
    kind, place = _parse(spec)
    if kind == "totalsegmentator":
        return "totalsegmentator", find_totalsegmentator_files(place).sha256
    if kind == "nnunet":
        files = _nnunet_files(place)
        return dataset_column_name(files), files.sha256
    return (PrecomputedSegmenter(place) if place is not None else TissueSegmenter()).name, None


def case_files(spec: str, case: str) -> list[Path]:
    """Files, beside the image, that the labels of a case are read from: of `precomputed` its label map, else none.

    Raises:
        UsageError, InputError: as `open_segmenter`.
    """
    kind, place = _parse(spec)
    if kind != "precomputed" or place is None:
        return []
    path = PrecomputedSegmenter(place).file_of(case)
    return [] if path is None else [path]


@lru_cache(maxsize=8)
def _open(kind: str, place: Path | None, device: str, cache: Path | None, weights: str | None) -> Segmenter:
    """`weights`, their hash, keeps a worker that lives on from taking an old network for the new one of that name."""
    if kind == "totalsegmentator":
        return TotalSegmentator(find_totalsegmentator_files(place), device=device, cache=cache)
    if kind == "nnunet":
        return NnunetSegmenter(_nnunet_files(place), device=device, cache=cache)
    return TissueSegmenter()


def _nnunet_files(place: Path | None) -> ModelFiles:
    files = find_model_files(place or Path())
    model_labels(files)
    return files


def _parse(spec: str) -> tuple[str, Path | None]:
    """Kind and place of a spec, checked by the text alone."""
    kind, colon, place = spec.partition(":")
    if kind not in ("totalsegmentator", "nnunet", "precomputed", "tissue"):
        raise UsageError(f"segmenter '{spec}' is unknown; expected {SEGMENTER_SPECS}")
    if (kind in ("nnunet", "precomputed") or colon) and not place:
        raise UsageError(f"segmenter '{spec}' names no folder; expected {SEGMENTER_SPECS}")
    if kind == "tissue" and colon:
        raise UsageError(f"segmenter '{spec}' takes no folder; expected {SEGMENTER_SPECS}")
    return kind, Path(place) if place else None
