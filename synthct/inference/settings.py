"""What a sweep is told: the part of a model's settings that the engine reads."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

__all__ = ["Merging", "SweepSettings", "Triple", "WindowRule"]

Triple = tuple[Annotated[int, Field(gt=0)], Annotated[int, Field(gt=0)], Annotated[int, Field(gt=0)]]
WindowRule = Literal["nnunet", "monai"]
Merging = Literal["mean", "gaussian", "median-lower", "median-upper", "median-average"]


class SweepSettings(BaseModel):
    """Windows and merging of a sweep; axis order z, y, x. It stands in model.json and in presets.

    Attributes:
        patch: shape of a window in voxels.
        step: distance of neighbouring windows as a fraction of the patch, above 0 and at most 1.
        rule: `nnunet` spreads windows evenly, `monai` keeps a fixed stride (ALGORITHMS 1.5).
        merging: how overlapping predictions become one. `gaussian` weighs them by nnU-Net's Gaussian; the medians
            differ for even counts: lower middle, upper middle (`sorted[n // 2]`, the rule of CREPs, ALGORITHMS 3), or
            the mean of both.
        mirror_axes: axes that are flipped; the mean over all combinations of flips is one prediction.
        margin: voxels by which the mask is dilated, as a box, before windows are chosen.
        whole_patches: volumes are padded at the far ends to a multiple of the patch, so that windows half a patch apart
            fit exactly (paper 001; which end is inference). A network whose training patches never left a volume has
            not met such an edge: its last slices may be far off. False slides the last windows back inside.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    patch: Triple
    step: float = Field(default=0.5, gt=0, le=1)
    rule: WindowRule = "nnunet"
    merging: Merging = "gaussian"
    mirror_axes: tuple[Literal[0, 1, 2], ...] = ()
    margin: int = Field(default=1, ge=0)
    whole_patches: bool = False

    @field_validator("mirror_axes")
    @classmethod
    def _each_axis_once(cls, axes: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(axes)) != len(axes):
            raise ValueError(f"mirror_axes {axes} names an axis twice; expected each of 0, 1, 2 at most once")
        return axes

    def swept_shape(self, shape: tuple[int, int, int]) -> tuple[int, int, int]:
        """Shape (z, y, x) that a volume is padded to: at least the patch on each axis, or a multiple of it."""
        z, y, x = (
            size + -size % edge if self.whole_patches else max(size, edge)
            for size, edge in zip(shape, self.patch, strict=True)
        )
        return (z, y, x)
