"""Colour maps that colour-blind people can read, and pictures in them without a plotting library."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

__all__ = ["MAPS", "STOPS", "colourise", "data_url", "encode_png", "gradient", "hex_colours"]

STOPS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "gray": ("#000000", "#ffffff"),
        "cividis": ("#00224e", "#123570", "#3b496c", "#575d6d", "#707173", "#8a8678", "#a59c74", "#c3b369", "#fee838"),
        "viridis": ("#440154", "#482878", "#3e4989", "#31688e", "#26828e", "#1f9e89", "#35b779", "#6ece58", "#fde725"),
        "blue_orange": (
            "#b5deff",
            "#5aaef0",
            "#1f78c4",
            "#12406c",
            "#000000",
            "#6b3a0c",
            "#b8651a",
            "#f0933c",
            "#ffd9ad",
        ),
    }
)
"""Each map as evenly spaced colours; between two of them it runs straight. Blue is too low,
orange too high; the middle is dark, as the images around it are."""

Picture = npt.NDArray[np.uint8]


def _table(stops: tuple[str, ...]) -> Picture:
    colours = np.array([[int(stop[place : place + 2], 16) for place in (1, 3, 5)] for stop in stops], dtype=np.float64)
    places, wanted = np.linspace(0, 255, len(stops)), np.arange(256)
    channels = [np.interp(wanted, places, colours[:, channel]) for channel in range(3)]
    return np.rint(np.stack(channels, axis=1)).astype(np.uint8)


MAPS: Mapping[str, Picture] = MappingProxyType({name: _table(stops) for name, stops in STOPS.items()})
"""Each map as 256 colours, uint8 (256, 3)."""


def colourise(values: npt.NDArray[np.generic], low: float, high: float, name: str) -> Picture:
    """Colours of values from `low` (first colour) to `high` (last), uint8 of the values' shape and 3; NaN is `low`."""
    scaled = (np.nan_to_num(values.astype(np.float64), nan=low) - low) / (high - low)
    picture: Picture = MAPS[name][np.rint(np.clip(scaled, 0, 1) * 255).astype(np.intp)]
    return picture


def hex_colours(name: str, count: int) -> list[str]:
    """`count` evenly spaced colours of a map, as #rrggbb."""
    chosen = MAPS[name][np.rint(np.linspace(0, 255, count)).astype(np.intp)]
    return ["#" + bytes(colour).hex() for colour in chosen.tolist()]


def gradient(name: str) -> str:
    """A map as a CSS gradient from left to right."""
    return f"linear-gradient(to right, {', '.join(STOPS[name])})"


def encode_png(picture: Picture) -> bytes:
    """A PNG of an 8-bit RGB picture (height, width, 3)."""
    height, width = picture.shape[:2]
    lines = np.concatenate([np.zeros((height, 1), dtype=np.uint8), picture.reshape(height, width * 3)], axis=1)
    parts = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(lines.tobytes(), 9)),
        (b"IEND", b""),
    ]
    chunks = [
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in parts
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def data_url(picture: Picture) -> str:
    """A picture as a URL that holds it."""
    return "data:image/png;base64," + base64.b64encode(encode_png(picture)).decode()
