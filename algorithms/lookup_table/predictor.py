"""Predicting by the table."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from algorithms.interface import Advance, Prediction
from algorithms.lookup_table.table import TableConfig, look_up
from synthct.dataset import Case
from synthct.errors import WeightsError
from synthct.inference.engine import Engine
from synthct.inference.finish import finish_hu
from synthct.weights import ModelFolder, load_tensors

__all__ = ["LookupTablePredictor", "load"]


class LookupTablePredictor:
    """The table, ready to predict."""

    def __init__(self, table: npt.NDArray[np.float32], config: TableConfig) -> None:
        self._table = table
        self._config = config

    def predict(self, case: Case, *, advance: Advance | None = None) -> Prediction:
        """Translate one case voxel by voxel."""
        hu = look_up(case.image.voxels, self._table, self._config)
        if advance is not None:
            advance(1, 1)
        return Prediction(case.image.with_voxels(finish_hu(hu, case.mask.voxels)))


def load(model: ModelFolder, engine: Engine) -> LookupTablePredictor:
    """Load the table; there is nothing for an engine to sweep.

    Raises:
        WeightsError: the folder's tensors or settings are not those of a table.
    """
    tensors = load_tensors(model)
    try:
        config = TableConfig.model_validate(model.card.config)
        table = tensors["table"].numpy()
    except (KeyError, ValueError) as error:
        raise WeightsError(f"{model.path}: does not hold a table ({' '.join(str(error).split())[:120]})") from error
    if table.shape != (config.bins,):
        raise WeightsError(f"{model.weights}: table has shape {table.shape}; expected ({config.bins},)")
    return LookupTablePredictor(table, config)
