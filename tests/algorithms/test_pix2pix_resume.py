"""A run of pix2pix-pelvis that was stopped and taken up again ends where an uninterrupted one does, bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from commands.command_line import files_below
from pix2pix_runs import CPU, NETWORK, Interrupting, InterruptionError, limb, quiet, saved, settings
from torch import Tensor

from algorithms.pix2pix_pelvis.loop import RecipeConfig, fit
from synthct.errors import SynthCTError, WeightsError


def equal(one: Any, other: Any) -> bool:
    """Bit equality of nested tensors, numbers and containers."""
    if isinstance(one, Tensor):
        return isinstance(other, Tensor) and one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return list(one) == list(other) and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(equal, one, other))
    return bool(one == other)


def test_equality_sees_one_bit() -> None:
    """The yardstick of this file can say no."""
    tensor = torch.ones(3)
    assert equal({"a": [tensor, 1.0]}, {"a": [tensor.clone(), 1.0]})
    assert not equal({"a": [tensor, 1.0]}, {"a": [torch.nextafter(tensor, 2 * tensor), 1.0]})
    assert not equal({"a": tensor}, {"b": tensor})


VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "augmented average": {"augment": True, "ema": 0.9},
    "batch norm": {"network": NETWORK | {"norm": "batch"}},
    "instance norm, bf16": {"network": NETWORK | {"norm": "instance"}, "bf16": True, "ema": 0.5},
}


def run(config: RecipeConfig, run_dir: Path, *, stop_in: int | None = None) -> dict[str, Tensor]:
    run_dir.mkdir(exist_ok=True)
    progress = quiet() if stop_in is None else Interrupting(stop_in)
    training = [limb(1, "1EXA001"), limb(2, "1EXA002")]
    return fit(training, [limb(3, "1EXA003")], config, run_dir, CPU, progress).state_dict()


@pytest.mark.parametrize("variant", VARIANTS)
def test_resumed_run_equals_an_uninterrupted_one(tmp_path: Path, variant: str) -> None:
    """Stopped in iterations 3 (nothing is saved yet), 7 and 9; checkpoints come every 4 of 10 iterations."""
    config = settings(iterations=10, validation_interval=4, inference_patch=(8, 32, 32), **VARIANTS[variant])
    whole = run(config, tmp_path / "whole")
    broken = tmp_path / "broken"
    for done, stop_in, iteration in ((0, 3, None), (0, 7, 4), (4, 9, 8)):
        with pytest.raises(InterruptionError):
            run(config, broken, stop_in=stop_in - done)
        assert (broken / "checkpoint.pt").exists() == (iteration is not None)
        if iteration is not None:
            assert saved(broken)["iteration"] == iteration
            assert not equal(saved(broken)["parts"], saved(tmp_path / "whole")["parts"])
    assert equal(run(config, broken), whole)
    assert equal(saved(broken), saved(tmp_path / "whole"))


def test_weights_move_and_depend_on_the_seed(tmp_path: Path) -> None:
    """Otherwise the comparison above would compare nothing."""
    config = settings(iterations=4, validation_interval=4)
    run(config, tmp_path / "one")
    run(config.model_copy(update={"seed": 1}), tmp_path / "other")
    run(config, tmp_path / "again")
    assert equal(saved(tmp_path / "one"), saved(tmp_path / "again"))
    assert not equal(saved(tmp_path / "one")["parts"][0], saved(tmp_path / "other")["parts"][0])
    assert not equal(saved(tmp_path / "one")["parts"][1], saved(tmp_path / "other")["parts"][1])


def test_finished_run_is_not_trained_further(tmp_path: Path) -> None:
    config = settings(iterations=4, validation_interval=4)
    finished = run(config, tmp_path)
    before = (tmp_path / "checkpoint.pt").read_bytes()
    assert equal(run(config, tmp_path, stop_in=1), finished)
    assert (tmp_path / "checkpoint.pt").read_bytes() == before


def test_nothing_but_the_checkpoint_is_left(tmp_path: Path) -> None:
    run(settings(iterations=2, validation_interval=1), tmp_path)
    assert files_below(tmp_path) == ["checkpoint.pt"]


def test_checkpoint_of_another_network_is_refused(tmp_path: Path) -> None:
    run(settings(iterations=1), tmp_path)
    wider = settings(iterations=1, network=NETWORK | {"widths": (8, 12)})
    with pytest.raises(WeightsError, match=r"checkpoint\.pt: does not fit these settings .*size mismatch"):
        run(wider, tmp_path)


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"PK\x03\x04 cut off"])
def test_damaged_checkpoint_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "checkpoint.pt").write_bytes(content)
    with pytest.raises(WeightsError, match=r"checkpoint\.pt: does not fit") as caught:
        run(settings(iterations=1), tmp_path)
    assert caught.value.exit_code == 4


def test_checkpoint_runs_no_code(tmp_path: Path) -> None:
    """A checkpoint that asks for a function call is refused, and the call is not made."""
    trap = tmp_path / "sprung"

    class Trap:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return (Path.touch, (trap,))

    torch.save({"parts": Trap()}, tmp_path / "checkpoint.pt")
    with pytest.raises(WeightsError, match="does not fit"):
        run(settings(iterations=1), tmp_path)
    assert not trap.exists()


def test_diverging_run_says_so(tmp_path: Path) -> None:
    with pytest.raises(SynthCTError, match=r"training diverged: L1 is (nan|inf) at iteration [0-9]+; lower") as caught:
        run(settings(iterations=20, learning_rate=1e30, adversarial_weight=0.0), tmp_path)
    assert caught.value.exit_code == 1
