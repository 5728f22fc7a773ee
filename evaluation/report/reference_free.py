"""What can be said of an sCT without its CT: signs of trouble, none of them a proof of quality."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from evaluation.metrics import structure_agreement
from evaluation.report.case_images import CaseImages
from evaluation.report.numbers import is_number
from synthct.outline import body_inside
from synthct.volume import Volume

__all__ = ["Finding", "reference_free", "training_range"]

HU_LIMITS = (-1024, 3071)
"""An sCT is clipped to these before it is written; a voxel at one of them was probably beyond."""
HIGH_SPREAD = 100.0
"""HU of spread above which a voxel is pointed out; set by judgement, fitted to no data."""
CLIPPED_SHARE = 0.001
FAR_SHARE = 0.02
LEAST_DICE = 0.95
MANY_SPREAD = 0.05
"""From which value on (or below, for Dice) a finding is a reason to look; set by judgement, fitted to no data."""

OUTLINE_VOXELS = 4_000_000
"""Voxels on which outlines are compared; of a larger image every second one along each axis, or every third."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        name: of it.
        value: in words with its unit, "not known" where nothing tells it.
        meaning: what it says, in plain words.
        worrying: a reason to look at the images; None where it is not known.
    """

    name: str
    value: str
    meaning: str
    worrying: bool | None


def reference_free(
    images: CaseImages, clipped: object = None, trained_on: tuple[float, float] | None = None
) -> list[Finding]:
    """Look at spread, HU at the limits, outlines and input intensities.

    Args:
        images: of the case; the CT is not looked at.
        clipped: share of voxels that the prediction clipped, as its manifest tells; anything else than a number is
            taken as not told.
        trained_on: lowest and highest input intensity that the model was made for (`training_range`).
    """
    return [_spread(images), _limits(images, clipped), _outlines(images), _intensities(images, trained_on)]


def training_range(card: Mapping[str, Any]) -> tuple[float, float] | None:
    """Lowest and highest input intensity of a model.json; None where it tells none that are finite and in order."""
    config = card.get("config")
    if not isinstance(config, dict):
        return None
    for place in (config.get("image"), config):
        if isinstance(place, dict):
            low, high = place.get("low"), place.get("high")
            if is_number(low) and is_number(high) and low < high:
                return float(low), float(high)
    return None


def _spread(images: CaseImages) -> Finding:
    name = "Spread of overlapping predictions"
    if images.spread is None:
        return Finding(
            name, "not known", "The sCT was predicted without --spread, so no disagreement can be shown.", None
        )
    values = images.spread.voxels[images.inside].astype(np.float64)
    share = float((values > HIGH_SPREAD).mean())
    text = f"mean {values.mean():.0f} HU, 95th percentile {np.percentile(values, 95):.0f} HU"
    return Finding(
        name,
        f"{text}; above {HIGH_SPREAD:.0f} HU in {_percent(share)} of the body",
        "Where the predictions disagree the network is unsure. Where they agree it may still be wrong.",
        share > MANY_SPREAD,
    )


def _limits(images: CaseImages, clipped: object) -> Finding:
    low, high = HU_LIMITS
    values = images.sct.voxels[images.inside]
    share = float(((values <= low) | (values >= high)).mean())
    text = (
        f"{_percent(share)} of the body at {low} or {high} HU; lowest {values.min():.0f}, highest {values.max():.0f} HU"
    )
    told = float(clipped) if is_number(clipped) else None
    if told is not None:
        text += f"; {_percent(told)} were clipped when the sCT was written"
    return Finding(
        "HU out of range",
        text,
        "Values beyond the range of a CT were cut off. More than a few voxels mean that the network left its scale.",
        max(share, told or 0.0) > CLIPPED_SHARE,
    )


def _outlines(images: CaseImages) -> Finding:
    name = "Outlines of image and sCT"
    if images.image is None:
        return Finding(name, "not known", "The data hold no input image to compare the sCT's outline with.", None)
    step = 1
    while images.sct.voxels[::step, ::step, ::step].size > OUTLINE_VOXELS:
        step += 1
    mask, image, sct = (
        _thinned(volume, step)
        for volume in (images.sct.with_voxels(images.inside.astype(np.uint8)), images.image, images.sct)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # an outline that cannot be drawn is the mask: no mismatch to show
        first, second = (body_inside(volume, mask).astype(np.uint8) for volume in (image, sct))
    found = structure_agreement(first, second, [1], sct.spacing_zyx, policy="strict")
    dice, distance = found.dice, found.hd95
    if dice is None:
        return Finding(name, "not known", "No outline could be drawn.", None)
    volumes = [float(each.sum()) for each in (first, second)]
    text = f"Dice {dice:.3f}, volume {volumes[1] / max(1.0, volumes[0]) - 1:+.1%} of the image's"
    if distance is not None:
        text += f", 95 % of the surface within {distance:.1f} mm"
    meaning = "Body that the image shows and the sCT does not, or the reverse, changes the dose at the surface."
    return Finding(name, text, meaning, dice < LEAST_DICE)


def _thinned(volume: Volume, step: int) -> Volume:
    """Every so many voxels along each axis."""
    voxels = volume.voxels[::step, ::step, ::step]
    z, y, x = voxels.shape
    spacing = volume.geometry.spacing
    wider = (spacing[0] * step, spacing[1] * step, spacing[2] * step)
    return Volume(voxels, replace(volume.geometry, size=(x, y, z), spacing=wider), volume.path)


def _intensities(images: CaseImages, trained_on: tuple[float, float] | None) -> Finding:
    name = "Input against the training intensities"
    if images.image is None or trained_on is None:
        why = "The data hold no input image." if images.image is None else "The model's card names no intensity range."
        return Finding(name, "not known", why, None)
    low, high = trained_on
    values = images.image.voxels[images.inside].astype(np.float64)
    share = float(((values < low) | (values > high)).mean())
    median = float(np.median(values))
    return Finding(
        name,
        f"{_percent(share)} of the body outside {low:g} to {high:g}; median {median:.0f}",
        "What the model was not made for is cut off; another scanner's scale can do that to half an image.",
        share > FAR_SHARE or not low <= median <= high,
    )


def _percent(share: float) -> str:
    return f"{share:.1%}" if share == 0 or share >= 0.001 else "under 0.1%"
