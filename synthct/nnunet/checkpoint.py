"""Loading a checkpoint without running what is in it."""

from __future__ import annotations

import pickle
import warnings
from typing import Any, BinaryIO

from synthct.errors import WeightsError

__all__ = ["load_checkpoint", "load_restricted"]

_NUMBER_TYPES = ("f2", "f4", "f8", "i2", "i4", "i8", "?")
_DAMAGE = (pickle.UnpicklingError, RuntimeError, EOFError, OSError, KeyError, ValueError, TypeError, AttributeError)


def load_checkpoint(stream: BinaryIO, path: str) -> dict[str, Any]:
    """Load an nnU-Net checkpoint on the CPU; see `load_restricted`.

    Args:
        stream: the file.
        path: where it lies, for messages.

    Raises:
        WeightsError: the file is damaged, holds objects of other classes, or is no nnU-Net checkpoint.
    """
    content = load_restricted(stream, path)
    missing = [key for key in ("network_weights", "init_args") if not isinstance(content, dict) or key not in content]
    if missing:
        raise WeightsError(f"{path}: holds no {' and no '.join(missing)}; expected a checkpoint of nnU-Net v2")
    return dict(content)


def load_restricted(stream: BinaryIO, path: str) -> Any:  # noqa: ANN401
    """Load what torch.save wrote, on the CPU.

    A .pth file is a pickle, and a pickle may run anything. torch's restricted loader builds tensors and plain
    containers only; beyond them the numpy numbers of nnU-Net's training log are allowed, and nothing else.

    Args:
        stream: the file.
        path: where it lies, for messages.

    Raises:
        WeightsError: the file is damaged or holds objects of other classes.
    """
    import torch

    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(_numpy_numbers()):
            # Of a pickle that torch did not write; whether it can be loaded shows all the same.
            warnings.filterwarnings("ignore", message="Detected pickle protocol")
            return torch.load(stream, map_location="cpu", weights_only=True)
    except _DAMAGE as error:
        reason = _first_line(error)
        raise WeightsError(
            f"{path}: cannot be loaded as tensors and numbers ({reason}); nothing in it was run"
        ) from error


def _numpy_numbers() -> list[Any]:
    """The classes that numpy numbers are pickled by; numpy 1 knew their maker by another module's name."""
    import numpy as np

    maker = np.float64(0).__reduce__()[0]
    named = [(maker, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")]
    return [*named, np.dtype, *(type(np.dtype(name)) for name in _NUMBER_TYPES)]


def _first_line(error: Exception) -> str:
    """Torch explains at length how to switch the restriction off; the reason is enough here."""
    text = " ".join(str(error).split())
    start = text.find("WeightsUnpickler error:")
    return (text[start:] if start >= 0 else text)[:160] or type(error).__name__
