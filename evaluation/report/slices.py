"""A PNG of one case: the input, the sCT, the CT and their difference, side by side."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from evaluation.submission import ScoringCase
from synthct.dataset import find_cases
from synthct.errors import InputError
from synthct.files import staged_file
from synthct.volume import Volume, read_volume, require_same_grid

__all__ = ["write_case_picture"]

CT_WINDOW = (-300.0, 800.0)
DIFFERENCE_WINDOW = (-500.0, 500.0)


def write_case_picture(case: ScoringCase, ground_truth: Path, path: Path) -> Path:
    """Draw the axial slice with most bone and the coronal one, each as MR/CBCT, sCT, CT and sCT - CT.

    Args:
        case: with its prediction.
        ground_truth: data set root; where it holds no input image (a ct/ mask/ folder), that column is left out.
        path: PNG to write.

    Raises:
        GeometryError: the images of the case do not lie on one grid.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    if case.prediction is None:
        raise InputError(f"case {case.id} has no prediction to draw")
    ct, sct, mask = (read_volume(file) for file in (case.ct, case.prediction, case.mask))
    for other in (sct, mask):
        require_same_grid(ct, other)
    inside = mask.voxels > 0
    columns: list[tuple[str, npt.NDArray[np.float32], tuple[float, float], str]] = []
    image = _input(case, ground_truth)
    if image is not None:
        require_same_grid(ct, image)
        low, high = np.percentile(image.voxels[inside], [0.5, 99.5])
        columns.append((case.id.task.stem.upper(), image.voxels.astype(np.float32), (float(low), float(high)), "gray"))
    difference = np.where(inside, sct.voxels.astype(np.float32) - ct.voxels, 0)
    columns += [
        ("sCT", sct.voxels.astype(np.float32), CT_WINDOW, "gray"),
        ("CT", ct.voxels.astype(np.float32), CT_WINDOW, "gray"),
        ("sCT - CT (HU)", difference, DIFFERENCE_WINDOW, "RdBu_r"),
    ]
    bone = (ct.voxels > 150) & inside
    z, y = int(bone.sum(axis=(1, 2)).argmax()), int(bone.sum(axis=(0, 2)).argmax())
    sz, sy, sx = ct.spacing_zyx
    figure, axes = plt.subplots(2, len(columns), figsize=(3 * len(columns), 6), squeeze=False, layout="constrained")
    for column, (title, voxels, (low, high), colours) in enumerate(columns):
        for row, (plane, aspect) in enumerate(((voxels[z], sy / sx), (voxels[::-1, y], sz / sx))):
            drawn = axes[row][column].imshow(plane, cmap=colours, vmin=low, vmax=high, aspect=aspect)
            axes[row][column].axis("off")
        axes[0][column].set_title(title)
    figure.colorbar(drawn, ax=axes[:, -1], shrink=0.6)
    figure.suptitle(f"{case.id}: axial slice {z}, coronal slice {y}; CT window {CT_WINDOW[0]:g} to {CT_WINDOW[1]:g} HU")
    with staged_file(path) as staged:
        figure.savefig(staged, dpi=90, format="png")
    plt.close(figure)
    return path


def _input(case: ScoringCase, ground_truth: Path) -> Volume | None:
    """The case's MR or CBCT, where the ground truth is a data set; None in a ct/ mask/ folder."""
    if (ground_truth / "ct").is_dir():
        return None
    return next((read_volume(files.image) for files in find_cases(ground_truth) if files.id == case.id.text), None)
