"""The golden numbers of CONTRACT 3.3 and the images that they belong to."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["GOLDEN", "Shape", "golden_pair"]

Array = npt.NDArray[Any]
Shape = tuple[int, int, int]

GOLDEN = {  # (case, shape): mae, (psnr, ms_ssim) up to 3071, (psnr, ms_ssim) up to 3000
    ("hash", (100, 80, 40)): (25.2472800926, (42.9568954643, 0.9997844807), (42.8049767833, 0.9997838826)),
    ("hash", (128, 112, 104)): (25.2475490196, (42.9568558385, 0.9997449362), (42.8049371575, 0.9997441970)),
    ("smooth", (100, 80, 40)): (20.9992476852, (44.0358511635, 0.9986122552), (43.8839324826, 0.9985959751)),
    ("smooth", (128, 112, 104)): (20.9262702677, (44.0519058058, 0.9968717738), (43.8999871248, 0.9968243767)),
}


def golden_pair(case: str, shape: Shape) -> tuple[Array, Array, Array]:
    """Reference, prediction and mask by formula; axes (x, y, z)."""
    x, y, z = np.ogrid[: shape[0], : shape[1], : shape[2]]
    if case == "hash":
        g = (37 * x + 91 * y + 53 * z) % 2000 - 1000
        p = g + (13 * x + 7 * y + 29 * z) % 101 - 50
    else:
        x, y, z = x / shape[0], y / shape[1], z / shape[2]
        g = np.rint(800 * np.sin(6 * x) * np.cos(5 * y) + 300 * np.sin(4 * z))
        p = np.rint(g + 60 * np.sin(40 * x) * np.sin(33 * y) * np.cos(21 * z) + 15)
    mask = np.zeros(shape, np.uint8)
    mask[tuple(slice(n // 5, n - n // 5) for n in shape)] = 1
    return g.astype(np.int16), p.astype(np.int16), mask
