"""What processes tell each other, in two real ones (gloo) and in one alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from synthct.training.launch import make_fabric
from synthct.training.processes import average_gradients, average_numbers, broadcast_tensors, gather

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


@pytest.mark.slow
def test_two_processes_find_the_same(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    found = subprocess.run(
        [sys.executable, "-W", "error", str(program), str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert (found.returncode, found.stdout, found.stderr) == (0, "", "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1", "program.py"]


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
