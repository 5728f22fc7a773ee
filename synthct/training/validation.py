"""Validation of a training run: whole volumes swept as in prediction, judged inside the mask in HU."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
from torch import nn

from synthct.inference.engine import Engine
from synthct.inference.finish import AIR_HU
from synthct.inference.settings import SweepSettings
from synthct.training.cache import CachedCase
from synthct.training.objective import CaseScore
from synthct.training.patches import Fill

__all__ = ["Judge", "SweptValidation"]

FloatArray = npt.NDArray[np.float32]

Judge = Callable[[FloatArray, FloatArray, npt.NDArray[np.bool_]], dict[str, float]]
"""Values by name, of sCT and CT (HU) inside a mask, (z, y, x) each; the first decides what is best."""

WINDOW_HU = (-300.0, 1000.0)
"""HU that a picture shows as black and white: soft tissue to compact bone."""
BRIGHT_PERCENTILE = 99.5
"""Percentile of the MR inside the mask that a picture shows as white."""


class SweptValidation:
    """Mean absolute error of one network over whole cases, in HU, where the case's weight is above 0.

    Args:
        cases: normalised cases with a reference.
        network: name of the network that is judged.
        engine: sweeps it.
        settings: windows, as in prediction.
        fill: values beyond a volume's edge.
        to_hu: inverse of the CT's normalisation.
        first: what is judged before the error, and so decides what is best: given sCT, CT (HU) and the mask, (z, y, x)
            each, it returns values by name. None: the error decides.
    """

    def __init__(
        self,
        cases: Sequence[CachedCase],
        *,
        network: str,
        engine: Engine,
        settings: SweepSettings,
        fill: Fill,
        to_hu: Callable[[FloatArray], FloatArray],
        first: Judge | None = None,
    ) -> None:
        self._cases = cases
        self._network = network
        self._engine = engine
        self._settings = settings
        self._fill = fill
        self._to_hu = to_hu
        self._first = first

    @property
    def cases(self) -> tuple[str, ...]:
        """Ids of the cases."""
        return tuple(case.id for case in self._cases)

    def score(self, nets: Mapping[str, nn.Module], index: int) -> CaseScore:
        """Sweep one case; returns its MAE in HU and a picture of its middle slice: image, sCT, CT side by side."""
        case = self._cases[index]
        if case.reference is None:
            raise ValueError(f"{case.id} has no reference to be judged by")
        inside = np.asarray(case.weight) > 0
        swept = self._engine.sweep(
            nets[self._network],
            np.asarray(case.image),
            self._settings,
            wanted=inside,
            fill=self._fill.image,
            air=self._fill.reference,
        )
        predicted, truth = self._to_hu(swept.values), self._to_hu(np.asarray(case.reference))
        error = float(np.abs(predicted - truth)[inside].mean(dtype=np.float64))
        values = {} if self._first is None else self._first(predicted, truth, inside)
        middle = case.image.shape[0] // 2
        shown = inside[middle]
        bright = float(np.percentile(np.asarray(case.image[middle])[shown], BRIGHT_PERCENTILE)) if shown.any() else 1.0
        planes = [_grey(np.asarray(case.image[middle]), 0.0, bright)]
        planes += [_grey(np.where(shown, hu[middle], AIR_HU), *WINDOW_HU) for hu in (predicted, truth)]
        return CaseScore({**values, "mae_hu": error}, {f"{case.id} image, sCT, CT": np.concatenate(planes, axis=1)})


def _grey(plane: npt.NDArray[np.floating], low: float, high: float) -> FloatArray:
    """Grey values in 0..1."""
    return np.asarray(np.clip((plane - low) / max(high - low, 1e-6), 0.0, 1.0), dtype=np.float32)
