"""`synthct train --stage`: what may be begun, gone on with or left alone in a run's folder, with stages or without."""

from __future__ import annotations

from pathlib import Path

from algorithms.commands.run_folder import CHECKPOINT, checkpoints
from algorithms.interface import About
from synthct.errors import UsageError, WeightsError
from synthct.routes import CARD_NAME

__all__ = ["finished_stages", "is_finished", "require_fresh", "require_stage"]


def require_stage(about: About, stage: str | None) -> None:
    """Refuse a stage that an algorithm has not.

    Raises:
        UsageError: the message names those there are.
    """
    if stage is not None and not about.stages:
        raise UsageError(f"--stage is nothing that {about.name} uses: it is trained in one go; expected no --stage")
    if stage is not None and stage not in about.stages:
        raise UsageError(f"--stage {stage} is unknown to {about.name}; expected {', '.join(about.stages)}")


def require_fresh(folder: Path, about: About, stage: str | None, *, resume: bool, several: bool) -> None:
    """Refuse to train over what lies there, to go on with nothing, and a stage without the one before.

    Args:
        folder: of the run, or of one fold.
        about: the algorithm.
        stage: the only one to train.
        resume: whether the call is to go on.
        several: folders are trained, of which some may be new.

    Raises:
        UsageError: there is a checkpoint and no --resume, or the reverse.
        WeightsError: the stage before has not been trained.
    """
    found = checkpoints(folder, about)
    missing = folder / CHECKPOINT
    if stage is not None:
        missing = folder / stage / CHECKPOINT
        found = [path for path in found if path == missing]
        _require_before(folder, about, stage)
    elif about.stages:
        missing = folder / about.stages[0] / CHECKPOINT
    if resume and not found and not several:
        raise UsageError(f"{missing}: no such file; expected a checkpoint to --resume from")
    if found and not resume:
        raise UsageError(f"{found[0]}: a run lies there already; expected --resume or another RUN_DIR")


def is_finished(folder: Path, fold: str | None, stage: str | None, *, resume: bool) -> bool:
    """With --fold all --resume, folds that have their model (of the stage) are not touched again."""
    return resume and fold == "all" and (folder / (stage or "") / CARD_NAME).exists()


def finished_stages(folder: Path, about: About, stage: str | None, *, resume: bool) -> list[str]:
    """Stages that a call for all of them will leave as they are."""
    if stage is not None or not resume:
        return []
    return [name for name in about.stages if (folder / name / CARD_NAME).exists()]


def _require_before(folder: Path, about: About, stage: str) -> None:
    for before in about.stages[: about.stages.index(stage)]:
        card = folder / before / CARD_NAME
        if not card.exists():
            raise WeightsError(
                f"{card}: no such file; expected stage {before} before {stage} (synthct train {about.name} ... "
                f"--stage {before})"
            )
