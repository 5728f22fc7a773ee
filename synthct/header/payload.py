"""Measures a payload: by the file's size where it is raw, by inflating and counting where it is compressed."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import BinaryIO

from synthct.errors import HeaderError
from synthct.header.model import Payload

__all__ = ["check_payload", "inflated_start"]

_PIECE_IN = 256 * 1024
_PIECE_OUT = 1024 * 1024

# Window sizes in zlib's own notation: gzip alone, and zlib or gzip by their first bytes (as MetaIO takes them).
_GZIP = 31
_ZLIB_OR_GZIP = 47

_MOST_MEMBERS = 65_536
"""More than blocked gzip (64 KiB a member) needs for 2 GiB; a file of empty members would cost time squared."""

_LONGEST_GZIP_HEADER = 64 * 1024


def check_payload(payload: Payload) -> None:
    """Check that a payload holds exactly the announced bytes.

    Raises:
        HeaderError: too short, too long, damaged, or with something behind it; names found and expected bytes.
    """
    available = payload.file.stat().st_size - payload.start
    if payload.codec == "raw":
        if available != payload.length:
            raise HeaderError(
                f"{payload.file}: holds {max(available, 0)} bytes of voxels; expected {payload.length}, as announced"
            )
        return
    if payload.stored is not None and available != payload.stored:
        raise HeaderError(
            f"{payload.file}: holds {max(available, 0)} compressed bytes; expected {payload.stored}, as announced"
        )
    with payload.file.open("rb") as stream:
        stream.seek(payload.start)
        _count_inflated(payload, stream)


def inflated_start(path: Path, count: int) -> bytes:
    """Return the first `count` bytes of a gzip file, or fewer where it ends or breaks before.

    Raises:
        HeaderError: the file is no gzip file.
    """
    with path.open("rb") as stream:
        inflater = zlib.decompressobj(_GZIP)
        start = b""
        read = 0
        while len(start) < count and read < _LONGEST_GZIP_HEADER:
            piece = stream.read(4096)
            if not piece:
                break
            read += len(piece)
            while piece and len(start) < count:
                try:
                    start += inflater.decompress(piece, count - len(start))
                except zlib.error as error:
                    raise _damaged(path, error) from error
                piece = inflater.unused_data if inflater.eof else b""
                if piece:
                    inflater = zlib.decompressobj(_GZIP)
    return start


def _count_inflated(payload: Payload, stream: BinaryIO) -> None:
    several = payload.codec == "gzip"
    window = _GZIP if several else _ZLIB_OR_GZIP
    produced = 0
    waiting = b""
    for _ in range(_MOST_MEMBERS):
        inflater = zlib.decompressobj(window)
        while not inflater.eof:
            waiting = waiting or stream.read(_PIECE_IN)
            ended = not waiting
            try:
                # With nothing left to read this fetches what the inflater still holds back.
                piece = inflater.decompress(waiting, _PIECE_OUT)
            except zlib.error as error:
                raise _damaged(payload.file, error) from error
            waiting = inflater.unconsumed_tail
            produced += len(piece)
            if produced > payload.length:
                raise HeaderError(
                    f"{payload.file}: inflates to more than {payload.length} bytes; expected exactly that, as announced"
                )
            if ended and not piece and not inflater.eof:
                raise HeaderError(
                    f"{payload.file}: compressed data end after {produced} bytes (truncated); "
                    f"expected {payload.length}, as announced"
                )
        waiting = inflater.unused_data or stream.read(_PIECE_IN)
        if not waiting:
            break
        if not several:
            raise HeaderError(f"{payload.file}: has bytes behind its compressed data; expected the file to end there")
    else:
        raise HeaderError(f"{payload.file}: has more than {_MOST_MEMBERS} gzip members; expected fewer")
    if produced != payload.length:
        raise HeaderError(f"{payload.file}: inflates to {produced} bytes; expected {payload.length}, as announced")


def _damaged(path: Path, error: zlib.error) -> HeaderError:
    return HeaderError(f"{path}: compressed data are damaged ({error}); expected a whole zlib or gzip stream")
