"""Choosing device, processes and precision; what other launchers set is set by hand here."""

from __future__ import annotations

import logging
import sys

import pytest
import torch

from synthct.errors import UsageError
from synthct.training.launch import make_fabric


@pytest.fixture
def no_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")


@pytest.mark.usefixtures("no_cuda")
def test_without_cuda_everything_runs_in_fp32_on_the_cpu(capfd: pytest.CaptureFixture[str]) -> None:
    fabric = make_fabric("auto", 1, "auto")
    assert (fabric.device, fabric.world_size, fabric.global_rank) == (torch.device("cpu"), 1, 0)
    assert type(fabric.strategy).__name__ == "SingleDeviceStrategy"
    with fabric.autocast():
        assert not torch.is_autocast_enabled("cpu")
    assert capfd.readouterr() == ("", "")


def test_bf16_is_what_networks_run_in() -> None:
    fabric = make_fabric("cpu", 1, "bf16-mixed")
    with fabric.autocast():
        assert torch.get_autocast_dtype("cpu") == torch.bfloat16
        assert torch.is_autocast_enabled("cpu")


def test_lightnings_notes_go_to_the_log(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> None:
    caplog.set_level(logging.INFO)
    make_fabric("cpu", 1, "bf16-mixed")
    assert any("bfloat16" in message for message in caplog.messages)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("device", "devices", "precision", "reason"),
    [
        ("tpu", 1, "auto", r"device 'tpu' is unknown; expected auto, cpu or cuda"),
        ("cpu", 0, "auto", r"--devices is 0; expected at least 1"),
        ("cpu", 100_000, "auto", r"--devices is 100000; expected at most \d+, the processors of this machine"),
        ("cpu", 1, "fp8", r"precision 'fp8' is unknown; expected auto, fp32, bf16-mixed, 16-mixed"),
        ("cpu", 1, "16-mixed", r"16-mixed needs a CUDA device; expected fp32 or bf16-mixed"),
    ],
)
def test_what_cannot_be_meant_is_refused(device: str, devices: int, precision: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        make_fabric(device, devices, precision)


@pytest.mark.parametrize(
    ("module", "package"), [("lightning_fabric", "lightning-fabric"), ("tensorboard", "tensorboard"), ("PIL", "pillow")]
)
def test_a_package_of_the_extra_is_missed_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch, module: str, package: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)  # Python's own way to say that there is no such module
    with pytest.raises(UsageError, match=rf"extra train, of which {package} is missing; .*\(pip install {package}\)"):
        make_fabric("cpu", 1, "fp32")


@pytest.mark.usefixtures("no_cuda")
def test_cuda_must_be_there() -> None:
    with pytest.raises(UsageError, match="no usable CUDA device"):
        make_fabric("cuda", 1, "auto")


def test_the_number_of_processes_is_torchruns(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"TORCHELASTIC_RUN_ID": "1", "WORLD_SIZE": "6", "LOCAL_WORLD_SIZE": "3"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=r"--devices is 2, but torchrun started 3 processes on each machine"):
        make_fabric("cpu", 2, "auto")


def test_the_number_of_processes_is_slurms(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"SLURM_NTASKS": "8", "SLURM_NNODES": "2", "SLURM_JOB_NAME": "training"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=r"--devices is 2, but SLURM started 4 processes on each machine"):
        make_fabric("cpu", 2, "auto")


def test_one_task_of_slurm_is_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    variables = {"SLURM_NTASKS": "1", "SLURM_JOB_NAME": "training", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}
    for name, value in {**variables, "SLURM_NODEID": "0"}.items():
        monkeypatch.setenv(name, value)
    assert make_fabric("cpu", 1, "fp32").world_size == 1
