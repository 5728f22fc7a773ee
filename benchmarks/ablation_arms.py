"""What benchmarks/ablations.py compares: the arms, their settings files and the one tiny plan that they share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from algorithms.interface import find_algorithm
from algorithms.presets import read_preset
from synthct.dataset import CaseFiles
from synthct.errors import UsageError
from synthct.files import write_text
from synthct.networks.unet import UNetPlan
from synthct.planning.fingerprint import fingerprint
from synthct.planning.plan import make_plan

__all__ = [
    "ARMS",
    "NETWORK",
    "PATCH",
    "SPADE",
    "Arm",
    "Stage",
    "chosen_arms",
    "stage_settings",
    "write_plans",
    "write_settings",
]

UNET = "nnresunet-afp"
SPADE = "spade-afp"

LEARNING_RATE = 1e-3
FINE_TUNING = 0.1
"""Of the first stage's learning rate: the paper's 1e-3 after 1e-2 (ALGORITHMS 1.4)."""

NETWORK: dict[str, Any] = {
    "features": [8, 16, 32, 32],
    "kernels": [[1, 3, 3], [3, 3, 3], [3, 3, 3], [3, 3, 3]],
    "strides": [[1, 1, 1], [1, 2, 2], [1, 2, 2], [2, 2, 2]],
}
PATCH = (16, 64, 64)


@dataclass(frozen=True)
class Stage:
    """One training run of an arm.

    Attributes:
        share: of the iterations of an arm.
        afp: AFP beside L1, of nnresunet-afp 5 L1 + AFP.
        rate: factor of the learning rate.
    """

    share: float = 1.0
    afp: bool = False
    rate: float = 1.0


@dataclass(frozen=True)
class Arm:
    """One way to train.

    Attributes:
        title: in the report.
        stages: one after another, each from the weights of the one before.
        algorithm: what is trained: nnresunet-afp by a plan, or spade-afp by its starter preset.
        kind: of the network.
        upsampling: of its decoder.
        random_extractor: the AFP loss compares by random weights.
        seed: of weights and patches.
    """

    title: str
    stages: tuple[Stage, ...] = (Stage(),)
    algorithm: str = UNET
    kind: Literal["plain", "residual", "hybrid"] = "residual"
    upsampling: Literal["trilinear", "transposed"] = "trilinear"
    random_extractor: bool = False
    seed: int = 0

    @property
    def needs_extractor(self) -> bool:
        """Some stage compares features."""
        return any(stage.afp for stage in self.stages)

    @property
    def plan_name(self) -> str | None:
        """Of its plan's file; None where the algorithm has no plan."""
        return f"{self.kind}-{self.upsampling}.yaml" if self.algorithm == UNET else None


ARMS = {
    "l1": Arm("L1 (residual, trilinear)"),
    "afp": Arm("5 L1 + AFP from scratch", (Stage(afp=True),)),
    "afp-random": Arm("5 L1 + AFP from scratch, RANDOM extractor", (Stage(afp=True),), random_extractor=True),
    "two-stage": Arm("L1, then 5 L1 + AFP (half each)", (Stage(0.5), Stage(0.5, afp=True, rate=FINE_TUNING))),
    "plain": Arm("L1, plain U-Net", kind="plain"),
    "hybrid": Arm("L1, residual encoder, plain decoder", kind="hybrid"),
    "transposed": Arm("L1, transposed convolutions", upsampling="transposed"),
    "l1-again": Arm("L1, another seed", seed=1),
    "spade-l1": Arm("SPADE GAN, L1", algorithm=SPADE),
    "spade-l1-afp": Arm("SPADE GAN, L1 + AFP", (Stage(afp=True),), algorithm=SPADE),
}
"""`l1-again` is no idea of its own: what it differs from `l1` by is what a seed alone does."""


def chosen_arms(text: str) -> tuple[str, ...]:
    """Read --arms: names with commas between; all where it is empty.

    Raises:
        UsageError: a name is unknown.
    """
    names = tuple(name.strip() for name in text.split(",") if name.strip()) or tuple(ARMS)
    for name in names:
        if name not in ARMS:
            raise UsageError(f"arm '{name}' is unknown; expected some of {', '.join(ARMS)}")
    return tuple(dict.fromkeys(names))


def stage_settings(arm: Arm, stage: Stage, iterations: int) -> dict[str, Any]:
    """Return the settings of one stage for --config; the plan is given beside them.

    AdamW's step does not depend on the scale of the loss, and no norm is clipped: so 5 L1 + AFP, whose gradient is many
    times that of L1, does not mean another learning rate. All validation is at the end, so the last weights are kept.

    Raises:
        UsageError: the iterations are too few for the arm's stages.
    """
    own = round(iterations * stage.share)
    if own < 1:
        raise UsageError(f"{iterations} iterations leave none for a stage; expected 2 or more")
    loop: dict[str, Any] = {
        "epochs": 1,
        "iterations_per_epoch": own,
        "warm_up_iterations": own // 20,
        "schedule": "poly",
        "clip_norm": None,
        "precision": "bf16-mixed",
        "ema": 0.99,
        "image_interval": 10 * own,  # none
        "log_interval": max(1, own // 10),
        "seed": arm.seed,
    }
    if arm.algorithm == SPADE:
        return _spade_settings(stage, loop)
    return {
        "batch": 1,
        "foreground": 0.33,
        "weighting": "volume",
        "augment": True,
        "loop": loop,
        "optimiser": "adam",
        "learning_rate": LEARNING_RATE * stage.rate,
        "weight_decay": 1e-5,
        "l1_weight": 5.0 if stage.afp else 1.0,
        "afp_weight": 1.0 if stage.afp else 0.0,
        "step": 0.5,
        "validation_step": 1.0,
    }


def _spade_settings(stage: Stage, loop: dict[str, Any]) -> dict[str, Any]:
    """The starter preset of spade-afp with the patch and the length of all arms; no case is kept from any fold.

    L1 weighs 10 and AFP 1, as in the presets for full size: beside the starter's L1 an AFP of 1 would not count.
    """
    preset = read_preset(find_algorithm(SPADE), "starter")
    own = {"l1_weight": 10.0, "afp_weight": 1.0 if stage.afp else 0.0, "batch": 1}
    own |= {"learning_rate": preset["learning_rate"] * stage.rate}
    own |= {"validation_cases": [], "excluded_cases": []}
    sweep = {"patch": list(PATCH), "step": 0.5, "merging": "median-lower"}
    return (
        preset
        | own
        | {"sampling": preset["sampling"] | {"patch": list(PATCH), "foreground": 0.33}, "sweep": sweep, "loop": loop}
    )


def write_settings(folder: Path, name: str, iterations: int) -> list[Path]:
    """Write the settings files of an arm, one a stage, and return them in order."""
    arm = ARMS[name]
    return [
        write_text(
            folder / f"{name}-{number}.yaml", yaml.safe_dump(stage_settings(arm, stage, iterations), sort_keys=False)
        )
        for number, stage in enumerate(arm.stages, 1)
    ]


def write_plans(folder: Path, cases: Sequence[CaseFiles]) -> Path:
    """Write a plan for each network that an arm may have; all share spacing, patch and normalisations.

    Arms of spade-afp have none: they work on each case's own grid.

    They are made from all cases, held-out ones too: what a plan learns from them is one spacing and the CT's mean and
    deviation.

    Returns:
        The folder. Plans that lie there already are kept.
    """
    wanted = {arm.plan_name: arm for arm in ARMS.values() if arm.plan_name is not None}
    if all((folder / name).exists() for name in wanted):
        return folder
    found = fingerprint(cases)
    for name, arm in wanted.items():
        network = UNetPlan.model_validate(NETWORK | {"kind": arm.kind, "upsampling": arm.upsampling})
        plan = make_plan(found, patch=PATCH, network=network)
        plan.model_copy(update={"batch": 1}).write(folder / name)
    return folder
