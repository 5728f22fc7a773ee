"""Files into and out of containers: rights, links, and tarballs that the platform would not unpack."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import pytest

from synthct.errors import ContractError, InputError
from synthct.grand_challenge.sandbox.parcel import Parcel, read_output


def packed(fill: Callable[[Parcel], None]) -> dict[str, tuple[tarfile.TarInfo, bytes]]:
    """What a parcel holds, by name."""
    with Parcel.pack() as (parcel, stream):
        fill(parcel)
        parcel.close()
        with tarfile.open(fileobj=stream) as archive:
            found = {}
            for member in archive.getmembers():
                content = archive.extractfile(member) if member.isreg() else None
                found[member.name] = (member, content.read() if content is not None else b"")
    return found


def tar_of(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for member, content in members:
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def member(name: str, kind: bytes = tarfile.REGTYPE, mode: int = 0o644, target: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.mode, made.linkname = kind, mode, target
    return made


def test_a_tree_is_readable_for_all_and_of_root(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "secret.txt").write_bytes(b"content")
    (tmp_path / "a" / "b" / "secret.txt").chmod(0o600)
    (tmp_path / "a").chmod(0o700)
    found = packed(lambda parcel: parcel.tree(tmp_path, "/opt/ml/model"))
    assert list(found) == ["opt/ml/model", "opt/ml/model/a", "opt/ml/model/a/b", "opt/ml/model/a/b/secret.txt"]
    assert [entry.mode for entry, _ in found.values()] == [0o755, 0o755, 0o755, 0o644]
    assert {(entry.uid, entry.gid) for entry, _ in found.values()} == {(0, 0)}
    assert found["opt/ml/model/a/b/secret.txt"][1] == b"content"


def test_links_in_a_tree_are_followed(tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(b"1")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").symlink_to("../weights")
    assert packed(lambda parcel: parcel.tree(tmp_path / "model", "m"))["m/weights"][1] == b"1"


def test_linked_folders_are_followed_too(tmp_path: Path) -> None:
    (tmp_path / "store" / "deep").mkdir(parents=True)
    (tmp_path / "store" / "deep" / "weights").write_bytes(b"12")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "fold_0").symlink_to("../store")
    (tmp_path / "model" / "fold_1").symlink_to("fold_0")
    found = packed(lambda parcel: parcel.tree(tmp_path / "model", "m"))
    assert [name for name, (_, content) in found.items() if content == b"12"] == [
        "m/fold_0/deep/weights",
        "m/fold_1/deep/weights",
    ]
    assert found["m/fold_0"][0].isdir()


@pytest.mark.parametrize("target", [".", "..", "../a"])
def test_a_loop_of_links_is_named(tmp_path: Path, target: str) -> None:
    (tmp_path / "m" / "a").mkdir(parents=True)
    (tmp_path / "m" / "a" / "again").symlink_to(target)
    with pytest.raises(InputError, match=r"again: leads back to .*; expected no loop of links"):
        packed(lambda parcel: parcel.tree(tmp_path / "m", "m"))


@pytest.mark.parametrize(("mode", "kept"), [(0o755, 0o755), (0o700, 0o755), (0o600, 0o644), (0o4755, 0o755)])
def test_what_its_owner_may_run_all_may_run(tmp_path: Path, mode: int, kept: int) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "tool").write_bytes(b"#!")
    (tmp_path / "m" / "tool").chmod(mode)
    (tmp_path / "m.tar").write_bytes(tar_of((member("tool", mode=mode), b"#!")))
    assert packed(lambda parcel: parcel.tree(tmp_path / "m", "m"))["m/tool"][0].mode == kept
    assert packed(lambda parcel: parcel.tarball(tmp_path / "m.tar", "m"))["m/tool"][0].mode == kept


def test_an_owner_of_ones_choice(tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(b"1")
    with Parcel.pack((1000, 7)) as (parcel, stream):
        parcel.tree(tmp_path, "m")
        parcel.link("m/link", "weights")
        parcel.close()
        with tarfile.open(fileobj=stream) as archive:
            assert {(entry.uid, entry.gid) for entry in archive} == {(1000, 7)}


def test_a_link_that_leads_nowhere_is_named(tmp_path: Path) -> None:
    (tmp_path / "weights").symlink_to("absent")
    with pytest.raises(InputError, match="weights: cannot be read"):
        packed(lambda parcel: parcel.tree(tmp_path, "m"))


def test_a_tarball_is_taken_as_the_platform_unpacks_it(tmp_path: Path) -> None:
    path = tmp_path / "model.tar"
    path.write_bytes(
        tar_of(
            (member("./model.json", mode=0o600), b"{}"),
            (member("sub", tarfile.DIRTYPE), b""),
            (member("sub/weights"), b"abc"),
            (member("again", tarfile.LNKTYPE, target="sub/weights"), b""),
            (member("link", tarfile.SYMTYPE, target="sub/weights"), b""),
        )
    )
    found = packed(lambda parcel: parcel.tarball(path, "m"))
    assert found["m/model.json"][1] == b"{}"
    assert found["m/model.json"][0].mode == 0o644
    assert found["m/again"][1] == found["m/sub/weights"][1] == b"abc"
    assert found["m/link"][0].linkname == "sub/weights"


@pytest.mark.parametrize(
    "hostile",
    [
        member("../outside"),
        member("link", tarfile.SYMTYPE, target="../../etc/passwd"),
        member("link", tarfile.SYMTYPE, target="/etc/passwd"),
        member("device", tarfile.CHRTYPE),
    ],
)
def test_what_the_platform_would_not_unpack(tmp_path: Path, hostile: tarfile.TarInfo) -> None:
    path = tmp_path / "model.tar"
    path.write_bytes(tar_of((hostile, b"")))
    with pytest.raises(ContractError, match="the platform would not unpack it"):
        packed(lambda parcel: parcel.tarball(path, "m"))


@pytest.mark.parametrize("content", [b"", b"no tarball", b"\x1f\x8b\x08broken"])
def test_what_is_no_tarball(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.tar.gz"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"model\.tar\.gz: cannot be read as a tarball"):
        packed(lambda parcel: parcel.tarball(path, "m"))


def test_an_output_is_listed_whole_and_its_files_are_taken_over(tmp_path: Path) -> None:
    stream = tar_of(
        (member("output", tarfile.DIRTYPE, 0o777), b""),
        (member("output/images", tarfile.DIRTYPE, 0o700), b""),
        (member("output/images/sct.mha", mode=0o600), b"voxels"),
        (member("output/images/link", tarfile.SYMTYPE, 0o777, "/etc/passwd"), b""),
        (member("output/pipe", tarfile.FIFOTYPE), b""),
    )
    output = read_output([stream[:700], stream[700:]], tmp_path / "out")
    assert [(str(entry.path), entry.kind, entry.is_readable) for entry in output.entries] == [
        (".", "folder", True),
        ("images", "folder", False),
        ("images/sct.mha", "file", False),
        ("images/link", "link", True),
        ("pipe", "other", True),
    ]
    assert [entry.path for entry in output.below("images")] == [
        PurePosixPath("images/sct.mha"),
        PurePosixPath("images/link"),
    ]
    assert sorted(path.name for path in (tmp_path / "out").rglob("*")) == ["images", "sct.mha"]
    assert (tmp_path / "out" / "images" / "sct.mha").read_bytes() == b"voxels"


def test_hard_links_of_an_output_are_files(tmp_path: Path) -> None:
    stream = tar_of(
        (member("output", tarfile.DIRTYPE, 0o777), b""),
        (member("output/cache.mha", mode=0o600), b"voxels"),
        (member("output/images/sct.mha", tarfile.LNKTYPE, 0o600, "output/cache.mha"), b""),
        (member("output/link", tarfile.SYMTYPE, 0o777, "cache.mha"), b""),
        (member("output/again", tarfile.LNKTYPE, 0o777, "output/link"), b""),
        (member("output/stolen", tarfile.LNKTYPE, 0o777, "output/../../secret"), b""),
    )
    (tmp_path / "secret").write_bytes(b"of this machine")
    output = read_output([stream], tmp_path / "out")
    assert [(str(entry.path), entry.kind, entry.mode, entry.target) for entry in output.entries[1:]] == [
        ("cache.mha", "file", 0o600, ""),
        ("images/sct.mha", "file", 0o600, ""),
        ("link", "link", 0o777, "cache.mha"),
        ("again", "link", 0o777, "cache.mha"),
        ("stolen", "other", 0, ""),
    ]
    assert (tmp_path / "out" / "images" / "sct.mha").read_bytes() == b"voxels"
    assert sorted(path.name for path in (tmp_path / "out").rglob("*.mha")) == ["cache.mha", "sct.mha"]
    assert not (tmp_path / "out" / "stolen").exists()


def test_an_output_cannot_write_through_its_own_link(tmp_path: Path) -> None:
    stream = tar_of(
        (member("output", tarfile.DIRTYPE, 0o777), b""),
        (member("output/out", tarfile.SYMTYPE, 0o777, str(tmp_path)), b""),
        (member("output/out/stolen"), b"x"),
    )
    read_output([stream], tmp_path / "taken")
    assert not (tmp_path / "stolen").exists()
    assert (tmp_path / "taken" / "out" / "stolen").read_bytes() == b"x"
