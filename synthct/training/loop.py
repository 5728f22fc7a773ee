"""The training loop, read top to bottom: draw, step every turn, average, validate, write a checkpoint."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NoReturn

import torch
from rich.progress import Progress
from torch import Tensor

from synthct.errors import SynthCTError
from synthct.training.checkpoint import Checkpoint
from synthct.training.interruption import SIGNALS, Interruption, interrupted_by, noting_signals
from synthct.training.judging import judge
from synthct.training.logbook import Logbook
from synthct.training.objective import BatchSource, BatchStream, Networks, Objective, Validation
from synthct.training.processes import average_gradients, average_numbers, gather, let_first_process_speak
from synthct.training.schedules import average_decay, rate_factor
from synthct.training.settings import LoopSettings
from synthct.training.state import TrainingState, Turn, Weights, prepare_state, weights_of

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["FitResult", "fit"]

log = logging.getLogger(__name__)

Losses = Iterator[tuple[str, Tensor, dict[str, Tensor]]]


@dataclass(frozen=True, eq=False)
class FitResult:
    """What training came to.

    Attributes:
        best: state dict of each network, on the CPU: those that validated best (the last where nothing was validated,
            or no score was finite); moving averages where the settings keep them.
        best_score: their score; None where nothing was validated.
        best_iteration: when they were reached.
        iterations: done in all, those before a resume counted in.
        seconds: that this call took.
        seconds_waited: of them, time spent waiting for data.
    """

    best: Weights
    best_score: float | None
    best_iteration: int
    iterations: int
    seconds: float
    seconds_waited: float


def fit(
    objective: Objective,
    source: BatchSource,
    validation: Validation | None,
    settings: LoopSettings,
    run_dir: Path,
    fabric: Fabric,
    *,
    progress: Progress,
    fingerprint: str = "",
    resume: bool = False,
    initial: Mapping[str, Mapping[str, Tensor]] | None = None,
) -> FitResult:
    """Train an objective's networks; every process of the run calls this alike, and gets the same weights.

    A run that was killed at any point and taken up with `resume` ends with the very weights of one that was not
    (bit-equal on the CPU). Ctrl-C and SIGTERM end it after the iteration in hand, with a checkpoint.

    Args:
        objective: networks, optimisers and losses.
        source: batches.
        validation: decides what is best (settings.keep); None (or no case) keeps the last weights.
        settings: the loop's part of the preset.
        run_dir: for checkpoint.pt, history.csv and tensorboard/.
        fabric: launched (synthct.training.launch).
        progress: for the bar.
        fingerprint: names what else a checkpoint must have in common with this run (network, data).
        resume: go on from run_dir's checkpoint.
        initial: weights to start some networks from, by the network's name.

    Raises:
        SynthCTError: a loss is not finite, or the weights to be kept are not.
        TrainingInterruptedError: a signal came (exit code 130, or 143 for SIGTERM); the run can be resumed.
        UsageError: there is no checkpoint to resume from.
        WeightsError: checkpoint or initial weights do not fit.
    """
    began = time.monotonic()
    state = prepare_state(objective, settings, fabric, initial)
    nets = Networks(state.networks, fabric)
    checkpoint = Checkpoint(run_dir, settings, fingerprint, fabric)
    pending = checkpoint.load(state) if resume else {}
    if resume and fabric.is_global_zero:
        log.info("resumed after iteration %d of %d", state.iteration, settings.iterations)
    judges = validation if validation is not None and len(validation.cases) > 0 else None
    first_batch = state.iteration * settings.accumulation
    with (
        noting_signals() as interruption,
        source.stream(first_batch, rank=fabric.global_rank, world=fabric.world_size) as stream,
        Logbook(
            run_dir,
            settings,
            iteration=state.iteration,
            pending=pending,
            progress=progress,
            active=fabric.is_global_zero,
            device=fabric.device,
        ) as logbook,
    ):
        broken_off = state.iteration > state.validated and _is_due(settings, "validation", state.iteration)
        if judges is not None and broken_off and not _validate(judges, state, settings, fabric, logbook, interruption):
            _end_by_signal(interruption, checkpoint.path, state.iteration, fabric)
        while state.iteration < settings.last_iteration:
            started, waited = time.monotonic(), stream.seconds_waited
            rates = [turn.set_rate(rate_factor(settings, state.iteration)) for turn in state.turns.values()]
            state.iteration += 1
            scalars, stop = _step(objective, nets, state, stream, settings, fabric, interruption)
            if state.average is not None:
                state.average.follow(state.networks, average_decay(settings, state.iteration))
            seconds, waited = time.monotonic() - started, stream.seconds_waited - waited
            logbook.step(state.iteration, scalars, rate=rates[0], seconds=seconds, waited=waited)
            if judges is not None and not stop and _is_due(settings, "validation", state.iteration):
                stop = not _validate(judges, state, settings, fabric, logbook, interruption)
            if stop or _is_due(settings, "checkpoint", state.iteration):
                checkpoint.save(state, logbook.pending)
            if stop:
                _end_by_signal(interruption, checkpoint.path, state.iteration, fabric)
        if any(gather(interruption.signal is not None, fabric)):  # it came after the last step: no other fold begins
            _end_by_signal(interruption, checkpoint.path, state.iteration, fabric)
    is_last = state.best.score is None or settings.keep == "last"
    best = weights_of(state.judged) if is_last else state.best.weights
    _require_finite_weights(best)
    return FitResult(
        best=best,
        best_score=state.best.score,
        best_iteration=state.iteration if is_last else state.best.iteration,
        iterations=state.iteration,
        seconds=time.monotonic() - began,
        seconds_waited=stream.seconds_waited,
    )


def _step(
    objective: Objective,
    nets: Networks,
    state: TrainingState,
    stream: BatchStream,
    settings: LoopSettings,
    fabric: Fabric,
    interruption: Interruption,
) -> tuple[dict[str, float], bool]:
    """Step every turn once; returns the scalars, meant over micro-batches and processes, and whether to stop."""
    micro_batches = [objective.losses(nets, next(stream).to(fabric.device)) for _ in range(settings.accumulation)]
    told: dict[tuple[str, str], Tensor] = {}
    while (turn := _backward(micro_batches, state, told, fabric)) is not None:
        average_gradients(turn.parameters, fabric)
        if settings.clip_norm is not None:
            fabric.clip_gradients(turn.modules, turn.stepper, max_norm=settings.clip_norm, error_if_nonfinite=False)
        turn.stepper.step()
        turn.optimiser.zero_grad(set_to_none=True)
    flags = [float(interruption.signal == number) for number in SIGNALS]
    *means, interrupted, terminated = average_numbers([*told.values(), *flags], fabric)
    scalars = dict(zip(told, means, strict=True))
    _require_finite(scalars, state)
    return {name: mean for (_, name), mean in scalars.items()}, interrupted + terminated > 0


def _backward(
    micro_batches: list[Losses], state: TrainingState, told: dict[tuple[str, str], Tensor], fabric: Fabric
) -> Turn | None:
    """Run the next turn's forward and backward pass of each micro-batch, adding up its scalars; None at the end.

    A micro-batch's graph is freed before the next one's is built, where no later turn needs it.
    """
    running: Turn | None = None
    for number, losses in enumerate(micro_batches):
        yielded = next(losses, None)
        if yielded is None and running is None:
            continue
        if yielded is None or (number > 0 and running is not state.turns[yielded[0]]):
            raise ValueError("the objective takes different turns for the micro-batches of one step")
        name, loss, scalars = yielded
        if running is None:
            running = state.turns[name]
            running.begin()
        fabric.backward(loss / len(micro_batches))
        for scalar, value in {f"{name}_loss": loss, **scalars}.items():
            share = value.detach().float() / len(micro_batches)
            told[name, scalar] = told[name, scalar] + share if (name, scalar) in told else share
    return running


def _require_finite(scalars: Mapping[tuple[str, str], float], state: TrainingState) -> None:
    """Refuse a loss that is not finite; 16-mixed first skips steps and lowers the loss's scale, as far as to 1.

    Raises:
        SynthCTError: names turn, scalar and iteration.
    """
    for name, turn in state.turns.items():
        if math.isfinite(scalars.get((name, f"{name}_loss"), 0.0)) or turn.may_overflow:
            continue
        wrong = [key[1] for key, value in scalars.items() if key[0] == name and not math.isfinite(value)]
        raise SynthCTError(
            f"training diverged: turn {name}, {wrong[-1]} is {scalars[name, wrong[-1]]} at iteration "
            f"{state.iteration}; expected finite losses (a lower learning rate, or precision fp32, may help)"
        )


def _require_finite_weights(kept: Weights) -> None:
    """Refuse to hand back a broken network: a gradient may overflow where the loss did not, in the last step too."""
    for name, weights in kept.items():
        for key, tensor in weights.items():
            if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
                raise SynthCTError(
                    f"training diverged: {name}, {key} holds NaN or infinity; expected finite weights (a lower "
                    "learning rate, or precision fp32, may help)"
                )


def _validate(
    validation: Validation,
    state: TrainingState,
    settings: LoopSettings,
    fabric: Fabric,
    logbook: Logbook,
    interruption: Interruption,
) -> bool:
    """Judge the networks and keep them if they are the best so far; False where a signal broke it off."""
    own = range(fabric.global_rank, len(validation.cases), fabric.world_size)
    with logbook.judging(len(own)) as advance:
        verdict = judge(validation, state, fabric, seed=settings.seed, interruption=interruption, advance=advance)
    if verdict is None:
        return False
    state.best.offer(verdict.score, state.iteration, state.judged)
    shown_before = (state.iteration - settings.validation_interval) // settings.image_interval
    show = state.iteration // settings.image_interval > shown_before or state.iteration == settings.last_iteration
    logbook.validated(state.iteration, verdict, state.best, show=show)
    state.validated = state.iteration
    return True


def _is_due(settings: LoopSettings, what: Literal["validation", "checkpoint"], iteration: int) -> bool:
    interval = settings.validation_interval if what == "validation" else settings.checkpoint_interval
    return iteration % interval == 0 or iteration == settings.last_iteration


def _end_by_signal(interruption: Interruption, checkpoint: Path, iteration: int, fabric: Fabric) -> NoReturn:
    """Raise the error that says how to go on; on every process alike, whichever of them the signal reached."""
    number = next(found for found in gather(interruption.signal, fabric) if found is not None)
    let_first_process_speak(fabric)
    raise interrupted_by(
        number,
        f"training ended by {number.name} after iteration {iteration}; {checkpoint} holds it all (--resume goes on)",
    )
