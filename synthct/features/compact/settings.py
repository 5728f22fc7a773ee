"""What the recipe of the compact extractor is told."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from synthct.errors import UsageError
from synthct.features.compact.labels import COMPACT_LABELS
from synthct.inference.settings import Triple
from synthct.intensity import ZScore
from synthct.networks.unet import UNetPlan
from synthct.training.settings import LoopSettings

__all__ = ["CompactSettings", "read_settings", "write_settings"]

CLASSES = len(COMPACT_LABELS) + 1


class CompactSettings(BaseModel):
    """One recipe; the defaults are the published topology, trained as nnU-Net trains (ALGORITHMS 1.3, 1.4).

    Attributes:
        network: of the segmentation; seven outputs.
        spacing: (z, y, x) in mm.
        patch: (z, y, x); stock nnU-Net plans about so many for this spacing (inference).
        batch: patches an iteration and process.
        foreground: share of patches centred on a labelled voxel.
        augment: flips and quarter turns; HU stay as they are.
        normalisation: of HU; None fits it to the training CTs, clipped to -1024 and 3071.
        loop: length, schedule, precision, averaging.
        optimiser: sgd (Nesterov, momentum 0.99, as nnU-Net) or adam (AdamW, which a short run is better served by).
        learning_rate: its first; weight decay is 3e-5.
        validation_cases: ids that are held out.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    network: UNetPlan = UNetPlan(kind="plain", upsampling="transposed", output_channels=CLASSES)
    spacing: tuple[float, float, float] = (3.0, 1.0, 1.0)
    patch: Triple = (56, 160, 192)
    batch: int = Field(default=2, gt=0)
    foreground: float = Field(default=0.33, ge=0, le=1)
    augment: bool = True
    normalisation: ZScore | None = None
    loop: LoopSettings = LoopSettings()
    optimiser: Literal["sgd", "adam"] = "sgd"
    learning_rate: float = Field(default=1e-2, gt=0)
    validation_cases: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _parts_fit(self) -> CompactSettings:
        self.network.require_multiple(self.patch)
        if self.network.output_channels != CLASSES:
            raise ValueError(f"network.output_channels is {self.network.output_channels}; expected {CLASSES}")
        return self


def read_settings(path: Path | None) -> CompactSettings:
    """Read a settings file; None gives the published settings.

    Raises:
        UsageError: the file cannot be read as YAML, a key is unknown, or a value does not fit.
    """
    if path is None:
        return CompactSettings()
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"{path}: cannot be read as YAML ({error}); expected settings of the extractor") from error
    try:
        return CompactSettings.model_validate(content or {})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "settings"
        raise UsageError(f"{path}: '{where}': {first['msg'].removeprefix('Value error, ')}") from error


def write_settings(settings: CompactSettings) -> str:
    """Return settings as the text of a file that `read_settings` reads."""
    text: str = yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False)
    return text
