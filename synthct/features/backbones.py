"""The kinds of networks that an extractor can hold: settings, construction, what is usual for each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from pydantic import BaseModel, ValidationError

from synthct.errors import UsageError
from synthct.features.convnext import CONVNEXT_NORMALISATION, ConvNextBackbone, ConvNextSettings
from synthct.features.interface import Backbone
from synthct.features.medicalnet import MedicalNetBackbone, MedicalNetSettings
from synthct.features.navi_airway import NAVI_AIRWAY_NORMALISATION, NaviAirwayBackbone, NaviAirwaySettings
from synthct.features.nnunet import NnunetBackbone
from synthct.features.normalisation import VolumeZScore
from synthct.intensity import LinearScale, ZScore
from synthct.networks.unet import UNetPlan

__all__ = ["ExtractorKind", "build_backbone", "read_settings", "usual_normalisation"]

ExtractorKind = Literal["nnunet", "navi-airway", "medicalnet", "convnext"]

TOTALSEGMENTATOR_CT = ZScore(mean=-50.387, std=503.392, low=-1004, high=1588)
"""Of TotalSegmentator's 3 mm model (CONTRACT 3.4); only random nnU-Nets take it, trained ones bring their own."""
COMPACT_SETTINGS = {"kind": "plain", "upsampling": "transposed", "output_channels": 7}
"""The compact extractor of ALGORITHMS 1.3; the rest of UNetPlan's defaults is that plan."""


@dataclass(frozen=True)
class _Kind:
    """One kind; its settings' class, its network's, and what holds where the user says nothing."""

    settings: type[BaseModel]
    build: Callable[[Any], Backbone]
    normalisation: LinearScale | ZScore | VolumeZScore
    usual: Mapping[str, Any]


_KINDS: dict[ExtractorKind, _Kind] = {
    "nnunet": _Kind(UNetPlan, NnunetBackbone, TOTALSEGMENTATOR_CT, COMPACT_SETTINGS),
    "navi-airway": _Kind(NaviAirwaySettings, NaviAirwayBackbone, NAVI_AIRWAY_NORMALISATION, {}),
    "medicalnet": _Kind(MedicalNetSettings, MedicalNetBackbone, VolumeZScore(), {}),
    "convnext": _Kind(ConvNextSettings, ConvNextBackbone, CONVNEXT_NORMALISATION, {}),
}


def read_settings(kind: ExtractorKind, settings: Mapping[str, Any] | None) -> BaseModel:
    """Check a network's settings; None gives the kind's usual ones.

    Raises:
        UsageError: the kind is unknown, or a setting is.
    """
    if kind not in _KINDS:
        raise UsageError(f"extractor kind '{kind}' is unknown; expected {', '.join(_KINDS)}")
    entry = _KINDS[kind]
    try:
        return entry.settings.model_validate(entry.usual if settings is None else dict(settings))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "settings"
        raise UsageError(f"network of kind {kind}: {where}: {first['msg']}") from error


def build_backbone(kind: ExtractorKind, settings: BaseModel, *, seed: int = 0) -> Backbone:
    """Build a network with weights drawn from a seed; torch's own random state stays as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return _KINDS[kind].build(settings)


def usual_normalisation(kind: ExtractorKind) -> LinearScale | ZScore | VolumeZScore:
    """Return what a kind's input usually is, where its weights do not say; see the kinds' own files."""
    return _KINDS[kind].normalisation
