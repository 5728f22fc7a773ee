"""A tarball of `docker save`, read in place and in one pass, before any engine sees it (CONTRACT 2.1)."""

from __future__ import annotations

import gzip
import json
import lzma
import tarfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn

from synthct.errors import ContractError
from synthct.grand_challenge.sandbox.findings import Findings
from synthct.grand_challenge.sandbox.image import ImageFacts

__all__ = ["ImageArchive", "check_archive"]

JSON_LIMIT = 4 << 20
"""Longest JSON file that is read; a config has some kilobytes."""
KEPT_LIMIT = 64 << 20
"""How much of an archive's small files is kept in memory, in bytes."""
UNPACKERS: dict[bytes, Callable[[Path], BufferedIOBase]] = {b"\x1f\x8b": gzip.GzipFile, b"\xfd7zXZ\x00": lzma.LZMAFile}
"""By the first bytes. Unlike tarfile's own, these read files of several members (bgzip, cat a.gz b.gz)."""
CHUNK = 1 << 20
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class ImageArchive:
    """A tarball with one image.

    Attributes:
        facts: what its config says.
        tags: names that `docker load` will give it.
    """

    facts: ImageFacts
    tags: tuple[str, ...]


def check_archive(path: Path, findings: Findings) -> ImageArchive | None:
    """Read a tarball's manifest and config; nothing is unpacked.

    Both layouts are read: Docker before 25 names the config <sha>.json, later ones blobs/sha256/<sha>.

    Returns:
        What it holds; None where it is refused, which the findings say.
    """
    try:
        small = _small_files(path)
    except (OSError, EOFError, tarfile.TarError, lzma.LZMAError, zlib.error, ContractError) as error:
        findings.broken("archive.readable", f"{path.name}: {error or type(error).__name__}")
        return None
    findings.passed("archive.readable", f"{path.name}, {path.stat().st_size / 1e9:.2f} GB")
    if MANIFEST not in small:
        findings.broken("archive.manifest", f"{MANIFEST} is not at the top: not made by docker save")
        return None
    try:
        manifest = _parse(small[MANIFEST])
        if not isinstance(manifest, list):
            raise ContractError(f"{MANIFEST} holds a {type(manifest).__name__}")
        if len(manifest) != 1:
            findings.broken("archive.one-image", f"{len(manifest)} images")
            return None
        findings.passed("archive.one-image", "1 image")
        entry = manifest[0] if isinstance(manifest[0], dict) else {}
        facts = ImageFacts.from_config(_config(entry, small), size=path.stat().st_size, compressed=True)
    except (ValueError, RecursionError, ContractError) as error:
        findings.broken("archive.manifest", str(error))
        return None
    findings.passed("archive.manifest", str(entry["Config"]))
    tags = entry.get("RepoTags")
    return ImageArchive(facts, tuple(tag for tag in tags if isinstance(tag, str)) if isinstance(tags, list) else ())


def _small_files(path: Path) -> dict[str, bytes]:
    """The archive's files that may be JSON; going over all of them proves that it is whole."""
    with path.open("rb") as raw:
        head = raw.read(262)
    unpacker = next((opener for magic, opener in UNPACKERS.items() if head.startswith(magic)), None)
    if unpacker is None and head[257:262] != b"ustar":
        raise ContractError("is neither a tar, nor packed by gzip or xz")
    with unpacker(path) if unpacker is not None else path.open("rb") as stream:
        kept = _read_json_files(stream)
        while stream.read(CHUNK):  # a tar ends before its packing does, which closes with a checksum
            pass
    return kept


def _read_json_files(packed: BufferedIOBase) -> dict[str, bytes]:
    kept: dict[str, bytes] = {}
    room = KEPT_LIMIT
    with tarfile.open(fileobj=packed, mode="r|") as archive:
        for member in archive:
            name = PurePosixPath(member.name).as_posix()
            is_json = name.endswith(".json") or name.startswith("blobs/sha256/")
            if member.isfile() and is_json and member.size <= min(JSON_LIMIT, room):
                stream = archive.extractfile(member)
                kept[name] = stream.read() if stream is not None else b""
                room -= member.size
    return kept


def _config(entry: dict[str, Any], small: dict[str, bytes]) -> dict[str, Any]:
    name = entry.get("Config")
    content = small.get(PurePosixPath(name).as_posix()) if isinstance(name, str) else None
    if content is None:
        raise ContractError(f"the config {json.dumps(name)[:100]} that {MANIFEST} names is not in the archive")
    config = _parse(content)
    if not isinstance(config, dict):
        raise ContractError(f"the config {name} holds a {type(config).__name__}; expected an object")
    return config


def _parse(content: bytes) -> Any:  # noqa: ANN401
    return json.loads(content.decode("utf-8"), parse_constant=_refuse)


def _refuse(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")
