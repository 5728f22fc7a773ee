"""The folders of a run's three stages: which are finished, what each notes, and whether they belong together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from algorithms.ldm_brain.about import ABOUT
from algorithms.ldm_brain.settings import STAGES, RecipeConfig, Stage, StageNote
from algorithms.loading import model_settings
from synthct.errors import WeightsError
from synthct.routes import CARD_NAME
from synthct.training.checkpoint import CHECKPOINT_NAME
from synthct.weights import ModelFolder, open_model

if TYPE_CHECKING:
    from torch import Tensor

    from algorithms.training import TrainingRun

__all__ = [
    "Binding",
    "FinishedStage",
    "binding_settings",
    "finished_stages",
    "named",
    "note_of",
    "require_unbroken",
    "stage_run",
    "unnamed",
    "wanted_stages",
    "without_scale",
]


class Binding(BaseModel):
    """Settings that a stage's checkpoint must have in common with the run that takes it up."""

    content: dict[str, Any]


@dataclass(frozen=True)
class FinishedStage:
    """A stage that was trained.

    Attributes:
        folder: its model folder.
        note: what its card says.
    """

    folder: ModelFolder
    note: StageNote


def wanted_stages(run: TrainingRun) -> tuple[Stage, ...]:
    """Stages that a call trains: the one that it names, or with --resume those that have no model folder yet.

    The last one is among them where the run's own model is missing; none is where everything is there.
    """
    if run.stage is not None:
        return tuple(stage for stage in STAGES if stage == run.stage)
    if not run.resume:
        return STAGES
    left = tuple(stage for stage in STAGES if not (run.run_dir / stage / CARD_NAME).exists())
    return left or (() if (run.run_dir / CARD_NAME).exists() else STAGES[-1:])


def stage_run(run: TrainingRun, stage: Stage) -> TrainingRun:
    """The run of one stage: in a folder of its own, normalised volumes shared."""
    folder = run.run_dir / stage
    resume = run.resume and (folder / CHECKPOINT_NAME).exists()
    return replace(run, run_dir=folder, cache=run.cache or run.run_dir / "cache", resume=resume)


def note_of(
    config: RecipeConfig, stage: Stage, before: Iterable[FinishedStage], scale: float | None = None
) -> StageNote:
    """What a stage's card will say."""
    return StageNote(
        stage=stage,
        networks=config.networks,
        noise=config.noise,
        layout=config.layout,
        spacing=config.spacing,
        patch=config.patches.patch,
        ct=config.ct,
        image=config.image,
        scale_factor=scale,
        before={each.note.stage: each.folder.card.sha256 for each in before},
    )


def finished_stages(run: TrainingRun, config: RecipeConfig, wanted: Stage) -> tuple[FinishedStage, ...]:
    """Open the stages that one stands on, and prove that they belong to this preset and to each other.

    Raises:
        WeightsError: one is missing (the message names the command that trains it), damaged, trained by settings that
            the wanted one cannot go on with, or on another stage than the one that lies there now.
    """
    found: tuple[FinishedStage, ...] = ()
    for stage in STAGES[: STAGES.index(wanted)]:
        card = run.run_dir / stage / CARD_NAME
        if not card.exists():
            fold = "" if run.fold is None else f" --fold {run.fold}"
            root = run.run_dir if run.fold is None else run.run_dir.parent
            raise WeightsError(
                f"{card}: no such file; expected stage {stage} before {wanted} (synthct train "
                f"{ABOUT.name} DATA {root} --stage {stage}{fold})"
            )
        found = (*found, _opened(run, config, stage, found))
    return found


def require_unbroken(run: TrainingRun, config: RecipeConfig, todo: Sequence[Stage]) -> None:
    """Prove, before anything is trained, that what lies there of a run goes together.

    A call for one stage looks at that stage and those that it stands on, one for all of them at every stage.

    Args:
        run: the call.
        config: its preset.
        todo: stages that it trains; none where all are finished.

    Raises:
        WeightsError: as `finished_stages`; or with --resume a finished stage stands on another one than the one that
            lies there now, or on none.
    """
    first = todo[0] if todo else STAGES[-1]
    found = finished_stages(run, config, first)
    if not run.resume:
        return
    if (run.run_dir / first / CARD_NAME).exists():
        _opened(run, config, first, found)
    for stage in STAGES[STAGES.index(first) + 1 :] if run.stage is None else ():
        if (run.run_dir / stage / CARD_NAME).exists():
            raise WeightsError(
                f"{run.run_dir / stage}: stands on stage {first}, which is not there; expected both, or neither"
            )


def _opened(run: TrainingRun, config: RecipeConfig, stage: Stage, before: tuple[FinishedStage, ...]) -> FinishedStage:
    """Open a stage and prove that it is of these settings, and stands on those before."""
    folder = open_model(run.run_dir / stage, algorithm=ABOUT.name)
    note = model_settings(folder, StageNote)
    _require_same(folder, note, note_of(config, stage, before, note.scale_factor), stage)
    return FinishedStage(folder, note)


def binding_settings(config: RecipeConfig, stage: Stage, before: Iterable[FinishedStage]) -> Binding:
    """Settings of one stage but for its loop, of which a checkpoint knows itself what may differ."""
    content = config.model_dump(mode="json", exclude={"sampling", "validation_steps", *STAGES})
    content["layout"] = config.layout
    content["stage"] = [stage, config.stage(stage).model_dump(mode="json", exclude={"loop"})]
    content["before"] = {each.note.stage: each.folder.card.sha256 for each in before}
    return Binding(content=content)


def named(network: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A network's tensors by their names in the whole model."""
    return {f"{network}.{name}": tensor for name, tensor in tensors.items()}


def unnamed(network: str, tensors: Mapping[str, Tensor], where: str) -> dict[str, Tensor]:
    """One network's own tensors out of a stage's or a whole model's.

    Args:
        network: its name.
        tensors: by their names in the whole model.
        where: the file, for messages.

    Raises:
        WeightsError: there is none of it.
    """
    start = f"{network}."
    own = {name.removeprefix(start): tensor for name, tensor in tensors.items() if name.startswith(start)}
    if not own:
        raise WeightsError(f"{where}: holds no tensor of {network}; expected a model that has this network")
    return own


def without_scale(tensors: Mapping[str, Tensor], scale: float) -> dict[str, Tensor]:
    """Take the scale factor into the autoencoder, whose latents then have a deviation of 1: factor 1 does the same.

    Folds differ in their factor, and members of an ensemble must agree in their settings.
    """
    changed = dict(tensors)
    for part in ("weight", "bias"):
        changed[f"autoencoder.quant_conv_mu.conv.{part}"] = tensors[f"autoencoder.quant_conv_mu.conv.{part}"] * scale
    name = "autoencoder.post_quant_conv.conv.weight"
    changed[name] = tensors[name] / scale
    return changed


def _require_same(folder: ModelFolder, found: StageNote, wanted: StageNote, stage: Stage) -> None:
    """Refuse a stage that was trained by other settings than those that the next one builds on."""
    told, asked = (_binding(note, stage) for note in (found, wanted))
    for name in told | asked:
        if told.get(name) == asked.get(name):
            continue
        if name.startswith("before."):
            raise WeightsError(
                f"{folder.path}: stands on another stage {name.removeprefix('before.')} than the one that lies beside "
                f"it; expected that one, or no stage {stage} and none after it (--resume then trains them anew)"
            )
        raise WeightsError(
            f"{folder.path}: was trained with {name} {told.get(name)}, this call has {asked.get(name)}; expected the "
            f"same, or stage {stage} trained anew in another RUN_DIR"
        )


def _binding(note: StageNote, stage: Stage) -> dict[str, Any]:
    """Dotted names and values of what a stage's own network depends on."""
    content = note.model_dump(mode="json")
    if stage == STAGES[0]:
        del content["noise"], content["image"], content["networks"]["denoiser"]
    del content["networks"]["embedding"]
    return dict(_flat(content))


def _flat(content: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in content.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value
