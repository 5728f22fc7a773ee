"""The volumes of one case on one grid: what a case page is made of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from evaluation.references import find_references
from synthct.anatomy import CaseId
from synthct.dataset import find_cases, read_image, read_mask
from synthct.errors import InputError
from synthct.outline import body_outline
from synthct.volume import Volume, require_same_grid

__all__ = ["CaseImages", "ReportCase", "find_report_cases", "load_images"]


@dataclass(frozen=True)
class ReportCase:
    """Where the files of one case lie.

    `image` is None where the data are a ground-truth folder (ct/, mask/); `ct` where there is no reference; `mask`
    where a data set has none; `spread` where the prediction was made without.
    """

    id: CaseId
    sct: Path
    image: Path | None = None
    ct: Path | None = None
    mask: Path | None = None
    spread: Path | None = None


@dataclass(frozen=True, eq=False)
class CaseImages:
    """One case in memory.

    Attributes:
        id: of the case.
        sct: HU, (z, y, x).
        inside: bool on the same grid, the body's outline that counts.
        image: MR (scanner units) or CBCT (HU) on the same grid, where there is one.
        ct: HU on the same grid, where there is one.
        spread: HU on the same grid, where there is one.
        mask_source: where the outline comes from, for readers.
    """

    id: CaseId
    sct: Volume
    inside: npt.NDArray[np.bool_]
    image: Volume | None
    ct: Volume | None
    spread: Volume | None
    mask_source: str

    @property
    def difference(self) -> npt.NDArray[np.float32] | None:
        """SCT minus CT in HU, 0 outside the body; None without a CT."""
        if self.ct is None:
            return None
        found: npt.NDArray[np.float32] = self.sct.voxels.astype(np.float32) - self.ct.voxels.astype(np.float32)
        found[~self.inside] = 0
        return found


def find_report_cases(predictions: dict[CaseId, Path], data: Path, spread: Path, *, reference: str) -> list[ReportCase]:
    """Put the files of each predicted case together.

    Args:
        predictions: the sCTs by case.
        data: data set root at any level, with or without CTs; or a ground-truth folder (ct/, mask/).
        spread: folder of <case id>.mha; need not exist.
        reference: which CT of a data set, `ct` or `ct_def`.

    Returns:
        The cases that have both a prediction and data, sorted by id.

    Raises:
        InputError: the data cannot be used, or no predicted case is among them.
    """
    cases = []
    if (data / "ct").is_dir():
        for known in find_references(data, reference=reference):
            if known.id in predictions:
                cases.append(ReportCase(known.id, predictions[known.id], ct=known.ct, mask=known.mask))
    else:
        for files in find_cases(data, reference=reference):
            name = CaseId.parse(files.id)
            if name in predictions:
                cases.append(ReportCase(name, predictions[name], files.image, files.reference, files.mask))
    if not cases:
        shown = ", ".join(sorted(map(str, predictions))[:5])
        raise InputError(f"{data}: holds none of the predicted cases ({shown}); expected the data they were made from")
    found = []
    for case in cases:
        path = spread / f"{case.id}.mha"
        if path.is_file() and not path.resolve().is_relative_to(spread.parent.resolve()):
            raise InputError(f"{path}: is a link that leads out of {spread.parent}; expected a file")
        found.append(ReportCase(case.id, case.sct, case.image, case.ct, case.mask, path if path.is_file() else None))
    return found


def load_images(case: ReportCase) -> CaseImages:
    """Read the volumes of a case.

    Raises:
        InputError: a file cannot be read, has voxels that are no numbers, or lies on another grid than the sCT.
    """
    sct = read_image(case.sct)
    image, ct, spread = (
        _on_grid_of(sct, path) if path is not None else None for path in (case.image, case.ct, case.spread)
    )
    if case.mask is not None:
        mask, source = read_mask(case.mask, sct), "mask file"
    else:
        mask, source = body_outline(sct if image is None else image), "outline of the image (no mask file)"
    return CaseImages(case.id, sct, mask.voxels > 0, image, ct, spread, source)


def _on_grid_of(sct: Volume, path: Path) -> Volume:
    volume = read_image(path)
    require_same_grid(sct, volume)
    return volume
