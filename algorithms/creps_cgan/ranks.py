"""The rank table, an extension of ours: bright in the MR is dark in the CT, until the adversary knows better."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from synthct.errors import InputError
from synthct.inference.finish import AIR_HU
from synthct.intensity import LinearScale
from synthct.training.cache import CachedCase

__all__ = ["RANKS", "RankTable"]

FloatArray = npt.NDArray[np.float64]
Values = npt.NDArray[np.float32]

RANKS = 257
LEAST_STEP = 1e-6
LEAST_TISSUE_HU = -250.0
"""Fat is about -100 HU; lung and gas are below (inference)."""


class RankTable(nn.Module):
    """Histogram matching the other way round: the MR value of rank r becomes the CT value of rank 1 - r.

    Unpaired losses leave open which tissue is which: a generator that swaps fat and bone can have the right histogram,
    edges and style. One fact breaks the tie and needs no pair: cortical bone gives no signal in an MR and is the
    brightest in a CT; fat is the reverse. The table says just that, with the quantiles of unpaired images. It does not
    hold where fluid is brighter than fat, and is wrong for tendons and vessels.

    Its buffers are `image` and `ct`, RANKS values each, and `air`, in network units; a generator's are saved with its
    weights. Voxels outside the body are below 0 in the image (setting mark_outside) and become air.
    """

    image: Tensor
    ct: Tensor
    air: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("image", torch.linspace(0.0, 1.0, RANKS))
        self.register_buffer("ct", torch.zeros(RANKS))
        self.register_buffer("air", torch.tensor(-1.0))

    def fit(self, images: Sequence[CachedCase], references: Sequence[CachedCase], ct: LinearScale) -> RankTable:
        """Take the quantiles inside the bodies, each case counting the same; returns itself (see fit_values).

        Args:
            images: cases whose MR is taken.
            references: cases whose CT is taken.
            ct: normalisation of the CT.

        Raises:
            InputError: no image has a voxel inside its body, or no CT has tissue inside its mask.
        """
        known = [case.image[(case.weight > 0) & (case.image >= 0)] for case in images]
        wanted = [case.reference[case.weight > 0] for case in references if case.reference is not None]
        return self.fit_values(known, wanted, ct)

    def fit_values(self, images: Sequence[Values], references: Sequence[Values], ct: LinearScale) -> RankTable:
        """Take the quantiles of values in network units, one array for each case; returns itself.

        CT values below LEAST_TISSUE_HU are left out: gas, and the rim of a mask larger than the body. They would take
        the ranks of the brightest MR. So lungs are not provided for.

        Args:
            images: MR inside each body.
            references: CT inside each mask.
            ct: normalisation of the CT.

        Raises:
            InputError: there is no value of MR, or none of tissue.
        """
        air, least = ct.apply(np.array([AIR_HU, LEAST_TISSUE_HU]))
        tissue = [values[values >= least] for values in references]
        return self.fill(_quantiles(images, "images"), _quantiles(tissue, "CTs"), float(air))

    def fill(self, images: FloatArray, references: FloatArray, air: float) -> RankTable:
        """Set the table; equal MR values share the middle of their CT values.

        Args:
            images: MR values of the ranks 0 to 1, evenly spread, not falling; RANKS of them.
            references: CT values likewise.
            air: what voxels outside the body become.
        """
        self.air.fill_(air)
        falling = references[::-1]
        first, last = np.searchsorted(images, images, "left"), np.searchsorted(images, images, "right") - 1
        self.image.copy_(torch.from_numpy(images))
        self.ct.copy_(torch.from_numpy((falling[first] + falling[last]) / 2))
        return self

    def forward(self, image: Tensor) -> Tensor:
        """Return the CT that ranks alone give, in network units and float32; linear between the table's values.

        Args:
            image: MR in network units, any shape.
        """
        image = image.float()
        known, wanted = self.image.float(), self.ct.float()
        after = torch.searchsorted(known, image.contiguous()).clamp(1, RANKS - 1)
        step = (known[after] - known[after - 1]).clamp_min(LEAST_STEP)
        share = ((image - known[after - 1]) / step).clamp(0.0, 1.0)
        found = torch.lerp(wanted[after - 1], wanted[after], share)
        return torch.where(image < 0, self.air, found)


def _quantiles(values: Sequence[Values], what: str) -> FloatArray:
    ranks = np.linspace(0.0, 1.0, RANKS)
    found = [np.quantile(each, ranks) for each in values if each.size]
    if not found:
        raise InputError(f"no tissue inside the masks of {len(values)} {what}; expected some to take ranks of")
    return np.asarray(np.mean(found, axis=0))
