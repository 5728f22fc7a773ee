"""Numbers that a network calculates with, by device."""

from __future__ import annotations

from typing import Literal, get_args

import torch

from synthct.errors import UsageError

__all__ = ["AUTOCAST_TYPES", "BF16_CAPABILITY", "Precision", "UsedPrecision", "choose_precision"]

Precision = Literal["auto", "fp32", "bf16", "fp16"]
UsedPrecision = Literal["fp32", "bf16", "fp16"]

AUTOCAST_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
BF16_CAPABILITY = (8, 0)
"""CUDA compute capability from which bf16 is calculated in hardware."""


def choose_precision(precision: Precision, device: torch.device) -> UsedPrecision:
    """Resolve `auto`: fp32 on the CPU, bf16 on CUDA cards from compute capability 8.0, fp16 on older ones.

    On a CPU bf16 is faster still, but it changes a regression network's HU by several units (docs/inference.md), so it
    has to be asked for.

    Raises:
        UsageError: an unknown name, bf16 on a card below 8.0, or fp16 on a CPU.
    """
    if precision not in get_args(Precision):
        raise UsageError(f"precision '{precision}' is unknown; expected {', '.join(get_args(Precision))}")
    if device.type != "cuda":
        if precision == "fp16":
            raise UsageError(f"precision fp16 was asked for on {device}; expected auto, fp32 or bf16 there")
        return "fp32" if precision == "auto" else precision
    capability = torch.cuda.get_device_capability(device)
    if precision == "bf16" and capability < BF16_CAPABILITY:
        found, least = (".".join(map(str, version)) for version in (capability, BF16_CAPABILITY))
        raise UsageError(
            f"precision bf16 was asked for, but {device} has compute capability {found}; expected at least {least} "
            "(or fp16)"
        )
    if precision == "auto":
        return "bf16" if capability >= BF16_CAPABILITY else "fp16"
    return precision
