"""Tarballs of docker save: both layouts and packings are read, and each way of being broken is told by its name."""

from __future__ import annotations

import gzip
import json
import lzma
from collections.abc import Callable
from pathlib import Path

import pytest
from image_archives import image_config, pack, save_archive

from synthct.grand_challenge.sandbox.archive import ImageArchive, check_archive
from synthct.grand_challenge.sandbox.findings import Findings
from synthct.grand_challenge.sandbox.verdict import Verdict


def read(path: Path) -> tuple[ImageArchive | None, dict[str, str]]:
    """The archive, and what was found of each rule that is broken."""
    findings = Findings()
    archive = check_archive(path, findings)
    return archive, {finding.id: finding.found for finding in findings.all() if finding.verdict is Verdict.REFUSED}


@pytest.mark.parametrize("layout", ["classic", "oci"])
@pytest.mark.parametrize(("suffix", "mode"), [(".tar", "w"), (".tar.gz", "w:gz"), (".tar.xz", "w:xz")])
def test_both_layouts_in_every_packing(tmp_path: Path, layout: str, suffix: str, mode: str) -> None:
    path = save_archive(tmp_path / f"image{suffix}", image_config(User="1000"), layout=layout, mode=mode)
    archive, broken = read(path)
    assert broken == {}
    assert archive is not None
    assert archive.facts.user == "1000"
    assert archive.facts.architecture == "amd64"
    assert archive.facts.command == ("/start",)
    assert archive.facts.compressed
    assert archive.facts.size == path.stat().st_size
    assert archive.tags == ("image:0",)


def test_two_images_are_refused_and_counted(tmp_path: Path) -> None:
    archive, broken = read(save_archive(tmp_path / "two.tar", image_config(), image_config(User="other")))
    assert archive is None
    assert broken == {"archive.one-image": "2 images"}


def test_no_image_is_refused(tmp_path: Path) -> None:
    assert read(save_archive(tmp_path / "none.tar"))[1] == {"archive.one-image": "0 images"}


def test_a_tarball_of_something_else(tmp_path: Path) -> None:
    path = pack(tmp_path / "model.tar.gz", {"model.json": b"{}"}, "w:gz")
    archive, broken = read(path)
    assert archive is None
    assert list(broken) == ["archive.manifest"]
    assert "docker save" in broken["archive.manifest"]


@pytest.mark.parametrize("share", [0.02, 0.5, 0.9])
@pytest.mark.parametrize(("suffix", "mode"), [(".tar", "w"), (".tar.gz", "w:gz"), (".tar.xz", "w:xz")])
def test_a_cut_tarball_is_not_readable(tmp_path: Path, suffix: str, mode: str, share: float) -> None:
    layer = bytes(range(256)) * 800
    path = save_archive(tmp_path / f"cut{suffix}", image_config(), mode=mode, layer=layer)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    archive, broken = read(path)
    assert archive is None
    assert [rule for rule in broken if rule.startswith("archive.")] == list(broken) != []


def in_members(path: Path, compress: Callable[[bytes], bytes]) -> list[bytes]:
    """The pieces of a tarball, each packed by itself, as bgzip and `cat a.gz b.gz` do."""
    content = save_archive(path, image_config(User="1000"), layer=bytes(range(256)) * 800).read_bytes()
    third = len(content) // 3
    return [compress(piece) for piece in (content[:third], b"", content[third : 2 * third], content[2 * third :])]


@pytest.mark.parametrize(("suffix", "compress"), [(".tar.gz", gzip.compress), (".tar.xz", lzma.compress)])
def test_a_packing_of_several_members(tmp_path: Path, suffix: str, compress: Callable[[bytes], bytes]) -> None:
    path = tmp_path / f"image{suffix}"
    path.write_bytes(b"".join(in_members(tmp_path / "plain.tar", compress)))
    archive, broken = read(path)
    assert broken == {}
    assert archive is not None
    assert archive.facts.user == "1000"


@pytest.mark.parametrize("member", [0, 2, 3])
def test_a_wrong_checksum_of_any_member(tmp_path: Path, member: int) -> None:
    members = in_members(tmp_path / "plain.tar", gzip.compress)
    wrong = bytearray(members[member])
    wrong[-8] ^= 1  # the first byte of its CRC-32
    members[member] = bytes(wrong)
    path = tmp_path / "image.tar.gz"
    path.write_bytes(b"".join(members))
    archive, broken = read(path)
    assert archive is None
    assert list(broken) == ["archive.readable"]
    assert "CRC" in broken["archive.readable"]


@pytest.mark.parametrize("content", [b"", b"hello", b"\x1f\x8b", b"\x1f\x8bgarbage" * 100, b"\xfd7zXZ\x00" * 50])
def test_other_files_are_no_tarball(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "image.tar"
    path.write_bytes(content)
    archive, broken = read(path)
    assert archive is None
    assert list(broken) == ["archive.readable"]


def test_bzip2_is_not_taken_though_docker_would_load_it(tmp_path: Path) -> None:
    path = save_archive(tmp_path / "image.tar.bz2", image_config(), mode="w:bz2")
    assert list(read(path)[1]) == ["archive.readable"]


@pytest.mark.parametrize(
    ("manifest", "word"),
    [
        (b"not json", "Expecting value"),
        (b"{}", "holds a dict"),
        (b"[1]", "null"),
        (b'[{"Config": 3}]', "3"),
        (b'[{"Config": "absent.json"}]', "absent.json"),
        (b'[{"Config": "../../etc/passwd"}]', "etc/passwd"),
        (b"\xff\xfe", "decode"),
        (b"[" * 100_000, ""),
    ],
)
def test_a_broken_manifest_is_one_line(tmp_path: Path, manifest: bytes, word: str) -> None:
    archive, broken = read(pack(tmp_path / "image.tar", {"manifest.json": manifest}))
    assert archive is None
    assert list(broken) == ["archive.manifest"]
    assert word in broken["archive.manifest"]
    assert "\n" not in broken["archive.manifest"]


@pytest.mark.parametrize("config", [b"[]", b"{", b'{"architecture": NaN}'])
def test_a_broken_config_is_one_line(tmp_path: Path, config: bytes) -> None:
    manifest = json.dumps([{"Config": "a.json"}]).encode()
    assert list(read(pack(tmp_path / "image.tar", {"manifest.json": manifest, "a.json": config}))[1]) == [
        "archive.manifest"
    ]


def test_a_huge_config_is_not_read(tmp_path: Path) -> None:
    manifest = json.dumps([{"Config": "a.json"}]).encode()
    huge = b'{"config": "' + b"x" * (5 << 20) + b'"}'
    broken = read(pack(tmp_path / "image.tar", {"a.json": huge, "manifest.json": manifest}))[1]
    assert "a.json" in broken["archive.manifest"]


def test_names_with_a_leading_dot_are_the_same_names(tmp_path: Path) -> None:
    files = {"./manifest.json": b'[{"Config": "a.json"}]', "./a.json": json.dumps(image_config()).encode()}
    archive, broken = read(pack(tmp_path / "image.tar", files))
    assert broken == {}
    assert archive is not None
    assert archive.tags == ()
