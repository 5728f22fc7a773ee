"""Settings of the loop, and the factors that follow from the iteration alone."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from synthct.training.schedules import average_decay, rate_factor
from synthct.training.settings import LoopSettings


def plan(**changes: object) -> LoopSettings:
    return LoopSettings.model_validate({"iterations_per_epoch": 10, "epochs": 10, **changes})


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("fixed", [1.0, 1.0, 1.0, 1.0]),
        ("poly", [1.0, 0.75**0.9, 0.5**0.9, 0.01**0.9]),
        ("cosine", [1.0, 0.853553390593, 0.5, 0.000246719818]),
        ("linear-tail", [1.0, 1.0, 1.0, 0.02]),
    ],
)
def test_factors_at_the_start_a_quarter_the_middle_and_the_end(schedule: str, expected: list[float]) -> None:
    settings = plan(schedule=schedule)
    assert [rate_factor(settings, done) for done in (0, 25, 50, 99)] == pytest.approx(expected)


def test_the_linear_tail_begins_after_the_first_half() -> None:
    settings = plan(schedule="linear-tail")
    assert [rate_factor(settings, done) for done in (51, 75)] == pytest.approx([0.98, 0.5])


def test_a_warm_up_rises_to_1_and_the_schedule_spans_the_rest() -> None:
    settings = plan(schedule="poly", warm_up_iterations=20)
    assert [rate_factor(settings, done) for done in (0, 9, 19, 20)] == pytest.approx([0.05, 0.5, 1.0, 1.0])
    assert rate_factor(settings, 60) == pytest.approx(0.5**0.9)


@given(
    schedule=st.sampled_from(["fixed", "poly", "cosine", "linear-tail"]),
    epochs=st.integers(1, 30),
    warm_up=st.integers(0, 9),
    data=st.data(),
)
def test_the_rate_is_positive_and_never_rises_after_the_warm_up(
    schedule: str, epochs: int, warm_up: int, data: st.DataObject
) -> None:
    settings = plan(schedule=schedule, epochs=epochs, warm_up_iterations=warm_up)
    done = data.draw(st.integers(warm_up, settings.iterations - 1))
    factor = rate_factor(settings, done)
    assert 0 < factor <= 1
    assert done == warm_up or factor <= rate_factor(settings, done - 1) + 1e-12


def test_the_average_forgets_its_start() -> None:
    settings = plan(ema=0.999)
    assert average_decay(settings, 1) == pytest.approx(1 / 11)
    assert average_decay(settings, 90) == pytest.approx(0.9)
    assert average_decay(settings, 20_000) == 0.999


def test_intervals_are_one_epoch_where_nothing_is_said() -> None:
    settings = plan(iterations_per_epoch=7)
    assert (settings.validation_interval, settings.checkpoint_interval, settings.image_interval) == (7, 7, 7)
    assert LoopSettings().validation_interval == 250
    assert plan(validation_interval=3).validation_interval == 3


def test_a_run_that_ends_early_keeps_the_schedule_of_the_plan() -> None:
    settings = plan(schedule="poly")
    short = settings.limited(30)
    assert (settings.last_iteration, short.last_iteration, short.iterations) == (100, 30, 100)
    assert [rate_factor(short, done) for done in range(30)] == [rate_factor(settings, done) for done in range(30)]
    assert settings.limited(None) == settings
    assert short.limited(None).last_iteration == 30, "a preset's own limit counts"
    assert settings.limited(1000).last_iteration == 100


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": 0},
        {"ema": 1.0},
        {"clip_norm": float("nan")},
        {"clip_norm": 0.0},
        {"schedule": "step"},
        {"precision": "fp16"},
        {"warm_up_iterations": 100},
        {"iteratons": 5},
        {"iterations_per_epoch": 0},
    ],
)
def test_values_that_cannot_be_meant_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        plan(**wrong)


def test_settings_can_be_read_without_torch() -> None:
    code = "import sys, synthct.training.schedules; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
