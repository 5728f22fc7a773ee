"""What processes tell each other, in two real ones (gloo) and in one alone."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from synthct.training.launch import make_fabric
from synthct.training.processes import (
    average_gradients,
    average_numbers,
    broadcast_tensors,
    gather,
    naming_lost_processes,
)

PROGRAM = """
import sys
import torch
from synthct.training import processes
from synthct.training.launch import make_fabric

processes.BUCKET_ELEMENTS = 5
fabric = make_fabric("cpu", 2, "fp32")
rank = fabric.global_rank
parameters = [torch.nn.Parameter(torch.zeros(size)) for size in ((2, 2), (3,), (7,), (1,), (2,))]
parameters.append(torch.nn.Parameter(torch.zeros(2, 3, 1, 1, 1).to(memory_format=torch.channels_last_3d)))
for number, parameter in enumerate(parameters):
    parameter.grad = torch.full_like(parameter, float(number + 10 * rank))
parameters[2].grad = None                  # nobody has one
if rank:
    parameters[3].grad = None              # the first process alone has one
parameters[5].grad = torch.arange(6.0).view(2, 3, 1, 1, 1).to(memory_format=torch.channels_last_3d) * (1 + rank)
processes.average_gradients(parameters, fabric)
told = [None if parameter.grad is None else parameter.grad.flatten().tolist() for parameter in parameters]
expected = [[5.0] * 4, [6.0] * 3, None, [1.5], [9.0] * 2, [0.0, 1.5, 3.0, 4.5, 6.0, 7.5]]
if told != expected:
    sys.exit(f"gradients {told}")
numbers = processes.average_numbers([float(rank), torch.tensor(4.0), float("nan") if rank else 1.0], fabric)
if numbers[:2] != [0.5, 4.0] or numbers[2] == numbers[2]:
    sys.exit(f"numbers {numbers}")
if processes.gather({"rank": rank, "empty": None}, fabric) != [{"rank": 0, "empty": None}, {"rank": 1, "empty": None}]:
    sys.exit("gather")
if processes.gather(None if rank else "first", fabric) != ["first", None]:
    sys.exit("gather of nothing")
tensor = torch.nn.Parameter(torch.full((2, 2), float(rank + 3)))
processes.broadcast_tensors([tensor], fabric)
if tensor.tolist() != [[3.0, 3.0], [3.0, 3.0]]:
    sys.exit(f"broadcast {tensor}")
with open(f"{sys.argv[1]}/{rank}", "w") as stream:
    stream.write("done")
fabric.barrier()
"""

LOST = """
import os, sys
from synthct.errors import SynthCTError
from synthct.training import processes
from synthct.training.launch import make_fabric

fabric = make_fabric("cpu", 2, "fp32")
fabric.barrier()
if fabric.global_rank == 1:
    os._exit(9)                            # as if the kernel had killed it
try:
    with processes.naming_lost_processes():
        while True:
            fabric.barrier()
except SynthCTError as error:
    sys.exit(f"error: {error}")
"""


def run_program(folder: Path, program: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a program that starts a second process itself."""
    (folder / "program.py").write_text(program)
    found = subprocess.run(
        [sys.executable, "-W", "error", str(folder / "program.py"), str(folder)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    return found.returncode, found.stdout, found.stderr


@pytest.mark.slow
def test_two_processes_find_the_same(tmp_path: Path) -> None:
    assert run_program(tmp_path, PROGRAM) == (0, "", "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1", "program.py"]


@pytest.mark.slow
def test_the_first_process_says_that_another_is_gone(tmp_path: Path) -> None:
    code, told, complained = run_program(tmp_path, LOST)
    assert (code, told) == (1, "")
    assert re.fullmatch(r"error: another process of this run ended; .* --resume goes on from the last .*\n", complained)


def test_trouble_that_has_nothing_to_do_with_processes_is_passed_on() -> None:
    with pytest.raises(RuntimeError, match="gloo lost a peer"), naming_lost_processes():
        raise RuntimeError("gloo lost a peer")  # no group of processes is there


def test_one_process_alone_changes_nothing() -> None:
    fabric = make_fabric("cpu", 1, "fp32")
    with_gradient, without = (torch.nn.Parameter(torch.zeros(2)) for _ in range(2))
    with_gradient.grad = torch.tensor([1.0, float("inf")])
    average_gradients([with_gradient, without], fabric)
    assert with_gradient.grad.tolist() == [1.0, float("inf")]
    assert without.grad is None
    broadcast_tensors([with_gradient], fabric)
    assert with_gradient.tolist() == [0.0, 0.0]
    assert gather("alone", fabric) == ["alone"]
    assert average_numbers([1.5, torch.tensor(2.0), torch.tensor([3.0])], fabric) == [1.5, 2.0, 3.0]
