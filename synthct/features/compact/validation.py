"""Dice of each class on held-out CTs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from synthct.features.compact.labels import COMPACT_LABELS
from synthct.inference.engine import Engine
from synthct.inference.settings import SweepSettings, Triple
from synthct.training.cache import CachedCase
from synthct.training.objective import CaseScore

__all__ = ["CompactValidation", "class_dice"]

FloatArray = npt.NDArray[np.float32]


def class_dice(labels: npt.NDArray[np.integer], reference: npt.NDArray[np.integer]) -> dict[str, float]:
    """Dice of each class by name, for the classes that the reference holds; arrays of one shape."""
    found = {}
    for label, name in COMPACT_LABELS.items():
        ours, theirs = labels == label, reference == label
        if theirs.any():
            found[name] = 2.0 * float((ours & theirs).sum()) / float(ours.sum() + theirs.sum())
    return found


class CompactValidation:
    """1 - mean Dice over the classes of each held-out case, and each class's Dice.

    Args:
        cases: normalised CTs; their references are labels.
        patch: of the windows, (z, y, x).
        engine: sweeps them.
        fill: air in network units.
    """

    def __init__(self, cases: Sequence[CachedCase], *, patch: Triple, engine: Engine, fill: float) -> None:
        self._cases = cases
        self._engine = engine
        self._fill = fill
        # of overlapping windows one label is taken, never the mean of two
        self._settings = SweepSettings(patch=patch, step=0.75, merging="median-lower")

    @property
    def cases(self) -> tuple[str, ...]:
        """Ids of the cases."""
        return tuple(case.id for case in self._cases)

    def score(self, nets: Mapping[str, nn.Module], index: int) -> CaseScore:
        """Segment one case."""
        case = self._cases[index]
        reference = np.asarray(case.reference).astype(np.uint8)
        labels = _Labels(nets["network"]).eval()
        swept = self._engine.sweep(labels, np.asarray(case.image), self._settings, fill=self._fill)
        found = class_dice(np.rint(swept.values).astype(np.uint8), reference)
        mean = float(np.mean(list(found.values()))) if found else 0.0
        scores = {"dice_error": 1.0 - mean, **{f"dice_{name}": value for name, value in found.items()}}
        middle = reference.shape[0] // 2
        planes = [
            np.asarray(plane[middle], dtype=np.float32) / len(COMPACT_LABELS) for plane in (swept.values, reference)
        ]
        return CaseScore(scores, {f"{case.id} found, true": np.concatenate(planes, axis=1)})


class _Labels(nn.Module):
    """A network's label map as an image, which is what the engine sweeps."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        """Return the likeliest class, (batch, 1, z, y, x)."""
        logits: Tensor = self.network(image)
        return logits.argmax(dim=1, keepdim=True).to(logits.dtype)
