"""What a preset of nnresunet-afp says; each value's evidence stands in configs/*.yaml."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from synthct.inference.settings import Merging, SweepSettings, Triple
from synthct.losses.anatomical import Reduction
from synthct.networks.unet import UNetPlan
from synthct.planning.fingerprint import Bounds
from synthct.planning.plan import Plan
from synthct.training.patches import SamplingSettings
from synthct.training.settings import LoopSettings

__all__ = ["PlannerSettings", "RecipeConfig"]

EPOCHS = LoopSettings()
"""1000 epochs of 250 iterations, poly, clipped at 12: nnU-Net's (ALGORITHMS 1.4)."""


class PlannerSettings(BaseModel):
    """What make_plan is told where no plan is given; what is None it finds out from the data.

    Attributes:
        gpu_memory_gb: memory that training may take, in nnU-Net's measure; 8 is its default.
        kind: of the network, see UNetPlan.
        upsampling: of its decoder, see UNetPlan.
        encoder_blocks: of each encoder stage.
        decoder_blocks: of each decoder stage.
        base_features: channels of the first stage.
        max_features: most channels of a stage.
        bounds: HU that CT and CBCT are clipped to: fixed (-1024, 3071), percentile (0.5 and 99.5 of the voxels inside
            the masks), or two numbers. Percentiles cap dense bone.
        spacing: (z, y, x) in mm.
        patch: (z, y, x) in voxels.
        network: in full, in place of kind, upsampling, blocks and features.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    gpu_memory_gb: float = Field(default=8.0, gt=0)
    kind: Literal["plain", "residual", "hybrid"] = "residual"
    upsampling: Literal["trilinear", "transposed"] = "trilinear"
    encoder_blocks: int = Field(default=2, gt=0)
    decoder_blocks: int = Field(default=2, gt=0)
    base_features: int = Field(default=32, gt=0)
    max_features: int = Field(default=320, gt=0)
    bounds: Bounds = "fixed"
    spacing: tuple[float, float, float] | None = None
    patch: Triple | None = None
    network: UNetPlan | None = None

    @model_validator(mode="after")
    def _patch_fits(self) -> PlannerSettings:
        if self.patch is not None and self.network is not None:
            self.network.require_multiple(self.patch)
        return self


class RecipeConfig(BaseModel):
    """One preset.

    Attributes:
        plan: spacing, patch, network and normalisations (`synthct plan` writes one). None takes that of the run to
            start from (--init), and without one has the data planned.
        planner: how.
        batch: patches an iteration and process; None is the plan's.
        foreground: share of patches centred in the mask.
        weighting: cases in proportion to their mask (volume), or all alike (case).
        mask_loss: the loss counts inside the mask alone.
        augment: flips, turns, gain; the paper has none.
        loop: length, schedule, precision, averaging.
        optimiser: sgd (Nesterov, momentum 0.99) or adam (AdamW).
        learning_rate: its first.
        weight_decay: of either.
        l1_weight: of L1; its gradient is that of normalised units, whatever the log tells in HU.
        afp_weight: of the AFP loss; above 0 the run needs an extractor.
        reduction: of the layers' terms: sum (paper 002) or mean (paper 000).
        global_skip: add the image to the output, both in HU (CBCT only).
        step: distance of windows in prediction, as a fraction of the patch.
        merging: of their predictions.
        mirror_axes: flips that prediction averages over.
        validation_step: distance of windows in validation.
        validation_cases: ids that are held out, unless the run was given a fold.
        excluded_cases: ids that are never read.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    plan: Plan | None = None
    planner: PlannerSettings = PlannerSettings()
    batch: int | None = Field(default=None, gt=0)
    foreground: float = Field(default=0.33, ge=0, le=1)
    weighting: Literal["case", "volume"] = "case"
    mask_loss: bool = True
    augment: bool = False
    loop: LoopSettings = EPOCHS
    optimiser: Literal["sgd", "adam"] = "sgd"
    learning_rate: float = Field(default=1e-2, gt=0)
    weight_decay: float = Field(default=3e-5, ge=0)
    l1_weight: float = Field(default=1.0, ge=0)
    afp_weight: float = Field(default=0.0, ge=0)
    reduction: Reduction = "sum"
    global_skip: bool = False
    step: float = Field(default=0.3, gt=0, le=1)
    merging: Merging = "mean"
    mirror_axes: tuple[Literal[0, 1, 2], ...] = ()
    validation_step: float = Field(default=0.5, gt=0, le=1)
    validation_cases: tuple[str, ...] = ()
    excluded_cases: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _has_a_loss(self) -> RecipeConfig:
        if self.l1_weight == 0 and self.afp_weight == 0:
            raise ValueError("l1_weight and afp_weight are both 0; expected one above it")
        return self

    def sampling(self, patch: Triple, gain: float) -> SamplingSettings:
        """How patches are drawn; `gain` is the augmentation's, where there is one."""
        return SamplingSettings(
            patch=patch,
            foreground=self.foreground,
            augment=self.augment,
            weighting=self.weighting,
            mask_loss=self.mask_loss,
            gain=gain,
        )

    def sweep(self, patch: Triple, *, validation: bool = False) -> SweepSettings:
        """Windows of prediction, or of validation."""
        return SweepSettings(
            patch=patch,
            step=self.validation_step if validation else self.step,
            merging=self.merging,
            mirror_axes=() if validation else self.mirror_axes,
        )
