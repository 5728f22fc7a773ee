"""One voxel's structural similarity from its window sums (CONTRACT 3.2, step 3), a whole plane at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["SimilarityMap"]

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]


class SimilarityMap:
    """Luminance times contrast times structure from window sums, in places that are reused from plane to plane.

    Everything is scaled by 343^2, the constants too, so that no mean has to be formed.
    """

    def __init__(self, size: int, windows: int, width: float, centre: int) -> None:
        self._windows = windows
        self._c1 = (0.01 * width * windows) ** 2
        self._c2 = (0.03 * width) ** 2 * windows * (windows - 1)
        self._offset = float(centre * windows)
        self._places = np.empty((6, size))

    def of(self, sums: Array, contrast: Floats | None = None) -> Floats:
        """The map from sums of g, p, g^2 + p^2 and g p (4, n); valid until the next call.

        Args:
            sums: of the centred images, over one window per column.
            contrast: where contrast times structure alone is to be written, (n,).
        """
        g, p, double_product, squares, covariance, variances = self._places
        g[:] = sums[0]
        p[:] = sums[1]
        np.multiply(g, p, out=double_product)
        double_product *= 2.0
        np.multiply(g, g, out=squares)
        covariance[:] = sums[3]
        covariance *= 2.0 * self._windows
        covariance -= double_product
        covariance += self._c2
        np.maximum(covariance, 0.0, out=covariance)
        g += p
        p *= p
        squares += p
        variances[:] = sums[2] if sums.dtype.kind == "f" else sums[2].view(np.uint32)
        variances *= self._windows
        variances -= squares
        variances += self._c2
        if self._offset:
            g *= 2.0 * self._offset
            g += 2.0 * self._offset**2
            double_product += g
            squares += g
        if contrast is not None:
            np.divide(covariance, variances, out=contrast)
        double_product += self._c1
        squares += self._c1
        covariance *= double_product
        variances *= squares
        values: Floats = np.divide(covariance, variances, out=covariance)
        return values
