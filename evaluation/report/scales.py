"""From values to places in a drawing: axes with round ticks."""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["Frame", "Tick", "nice_ticks"]


@dataclass(frozen=True)
class Tick:
    """A labelled place on an axis."""

    at: float
    label: str


@dataclass(frozen=True)
class Frame:
    """The box of a chart and what its edges stand for; y grows downwards in the drawing, upwards in value."""

    width: float
    height: float
    left: float
    top: float
    right: float
    bottom: float
    x_range: tuple[float, float]
    y_range: tuple[float, float]

    def x(self, value: float) -> float:
        """Place of a value on the x axis."""
        low, high = self.x_range
        return round(self.left + (value - low) / (high - low) * (self.right - self.left), 2)

    def y(self, value: float) -> float:
        """Place of a value on the y axis."""
        low, high = self.y_range
        return round(self.bottom - (value - low) / (high - low) * (self.bottom - self.top), 2)

    def x_ticks(self, count: int = 6) -> list[Tick]:
        """Round values along x."""
        return [Tick(self.x(value), label(value)) for value in nice_ticks(*self.x_range, count)]

    def y_ticks(self, count: int = 6) -> list[Tick]:
        """Round values along y."""
        return [Tick(self.y(value), label(value)) for value in nice_ticks(*self.y_range, count)]


def nice_ticks(low: float, high: float, count: int = 6) -> list[float]:
    """About `count` round values from `low` to `high`: steps of 1, 2, 2.5 or 5 times a power of ten.

    Where both are equal that value alone.
    """
    if not high > low:
        return [low]
    rough = (high - low) / max(1, count)
    power = 10.0 ** math.floor(math.log10(rough))
    steps = [factor * power for factor in (1, 2, 2.5, 5, 10)]
    step = min(steps, key=lambda each: abs((high - low) / each - count))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(index * step, 12) + 0.0 for index in range(first, last + 1)]


def label(value: float) -> str:
    """A tick's text."""
    return f"{value:.6g}".replace("-", "\u2212")
