"""Which numbers a network calculates with."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from synthct.errors import UsageError
from synthct.inference.precision import choose_precision

CPU = torch.device("cpu")


def test_cpu() -> None:
    assert choose_precision("auto", CPU) == "fp32"
    assert choose_precision("fp32", CPU) == "fp32"
    assert choose_precision("bf16", CPU) == "bf16"


def test_fp16_is_for_cards() -> None:
    with pytest.raises(UsageError, match="fp16 was asked for on cpu; expected auto, fp32 or bf16"):
        choose_precision("fp16", CPU)


def test_unknown_name() -> None:
    name: Any = "fp8"
    with pytest.raises(UsageError, match="'fp8' is unknown; expected auto, fp32, bf16, fp16"):
        choose_precision(name, CPU)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device")
def test_cuda_follows_the_compute_capability() -> None:
    card = torch.device("cuda")
    modern = torch.cuda.get_device_capability(card) >= (8, 0)
    assert choose_precision("auto", card) == ("bf16" if modern else "fp16")
    assert choose_precision("fp16", card) == "fp16"
    if not modern:
        with pytest.raises(UsageError, match="compute capability"):
            choose_precision("bf16", card)
