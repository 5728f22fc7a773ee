"""Payloads: whole, truncated, damaged, too long, bombs, and random damage to any byte of a file."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from header_files import VOXELS, meta_image, nifti, nrrd, require_refused, saved
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from synthct.errors import SynthCTError
from synthct.header import Header, check_file, read_header
from synthct.header.payload import _MOST_MEMBERS

RAW = VOXELS.tobytes()
PLAIN = {".mha": meta_image(), ".nii": nifti(), ".nrrd": nrrd()}


def packed(suffix: str, stream: bytes, *, voxels: int = 24) -> bytes:
    """Return a file of `voxels` x 1 x 1 int16 voxels whose compressed stream is given."""
    if suffix == ".mha":
        return meta_image(compressed=True, payload=stream, DimSize=f"{voxels} 1 1")
    return nrrd(encoding="gzip", payload=stream, sizes=f"{voxels} 1 1")


def squeezed(suffix: str, content: bytes) -> bytes:
    return zlib.compress(content, 9) if suffix == ".mha" else gzip.compress(content)


@pytest.mark.parametrize("suffix", PLAIN)
@pytest.mark.parametrize("change", [-48, -1, 1, 1000])
def test_a_raw_payload_has_exactly_the_announced_length(tmp_path: Path, suffix: str, change: int) -> None:
    content = PLAIN[suffix][:change] if change < 0 else PLAIN[suffix] + bytes(change)
    path = saved(tmp_path, f"a{suffix}", content)
    require_refused(path, f"holds {48 + change} bytes", "expected 48")
    assert read_header(path).size == (4, 3, 2)


@pytest.mark.parametrize("suffix", [".mha", ".nrrd"])
def test_a_stream_that_inflates_to_another_length_is_refused(tmp_path: Path, suffix: str) -> None:
    for length, words in ((47, ("inflates to 47 bytes", "48")), (49, ("more than 48 bytes",)), (0, ("to 0 bytes",))):
        require_refused(saved(tmp_path, f"a{suffix}", packed(suffix, squeezed(suffix, bytes(length)))), *words)


@pytest.mark.parametrize("suffix", [".mha", ".nrrd"])
def test_every_truncation_is_refused(tmp_path: Path, suffix: str) -> None:
    stream = squeezed(suffix, RAW)
    assert check_file(saved(tmp_path, f"a{suffix}", packed(suffix, stream))).size == (24, 1, 1)
    for end in range(1, len(stream)):
        require_refused(saved(tmp_path, f"a{suffix}", packed(suffix, stream[:end])), "truncated")


def test_every_truncation_of_a_packed_nifti_is_refused(tmp_path: Path) -> None:
    content = gzip.compress(nifti())
    assert check_file(saved(tmp_path, "a.nii.gz", content)).size == (4, 3, 2)
    for end in range(1, len(content)):
        require_refused(saved(tmp_path, "a.nii.gz", content[:end]))


@pytest.mark.parametrize("suffix", [".mha", ".nrrd"])
def test_damage_and_what_follows_the_stream_are_refused(tmp_path: Path, suffix: str) -> None:
    stream = squeezed(suffix, RAW)
    damaged = bytearray(stream)
    damaged[-1] ^= 1
    require_refused(saved(tmp_path, f"a{suffix}", packed(suffix, bytes(damaged))), "damaged")
    require_refused(saved(tmp_path, f"a{suffix}", packed(suffix, stream + b"tail")))
    require_refused(saved(tmp_path, f"a{suffix}", packed(suffix, RAW)), "damaged")


def test_the_compressed_size_must_be_what_the_file_holds(tmp_path: Path) -> None:
    content = meta_image(compressed=True)
    stream = len(zlib.compress(RAW))
    for tail, found in ((b"tail", stream + 4), (b"", stream - 1)):
        path = saved(tmp_path, "a.mha", content + tail if tail else content[:-1])
        require_refused(path, f"holds {found} compressed bytes", f"expected {stream}")
    two = zlib.compress(RAW[:10]) + zlib.compress(RAW[10:])
    require_refused(saved(tmp_path, "a.mha", packed(".mha", two)), "behind its compressed data")


def test_gzip_members_add_up_and_have_a_bound(tmp_path: Path) -> None:
    members = b"".join(gzip.compress(RAW[start : start + 5]) for start in range(0, 48, 5))
    assert check_file(saved(tmp_path, "a.nrrd", packed(".nrrd", members))).size == (24, 1, 1)
    whole = nifti()
    members = b"".join(gzip.compress(whole[start : start + 50]) for start in range(0, len(whole), 50))
    assert check_file(saved(tmp_path, "a.nii.gz", members)).size == (4, 3, 2)
    empty = gzip.compress(b"") * (_MOST_MEMBERS + 1)
    path = saved(tmp_path, "b.nrrd", packed(".nrrd", empty))
    require_refused(path, f"{_MOST_MEMBERS} gzip members")


@pytest.mark.parametrize("suffix", [".mha", ".nrrd", ".nii.gz"])
def test_a_bomb_is_left_at_the_announced_size_and_never_held(tmp_path: Path, suffix: str) -> None:
    bomb = bytes(2**28)
    content = gzip.compress(nifti(payload=bomb), 1) if suffix == ".nii.gz" else packed(suffix, squeezed(suffix, bomb))
    path = saved(tmp_path, f"a{suffix}", content)
    del bomb, content
    tracemalloc.start()
    require_refused(path, "more than")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 * 2**20


def test_an_honest_mask_of_a_thousand_to_one_passes(tmp_path: Path) -> None:
    mask = SimpleITK.Image((512, 512, 400), SimpleITK.sitkUInt8)
    for suffix in (".mha", ".nii.gz", ".nrrd"):
        path = tmp_path / f"mask{suffix}"
        SimpleITK.WriteImage(mask, str(path), useCompression=True)
        assert path.stat().st_size * 500 < 512 * 512 * 400
        assert check_file(path).voxel_bytes == 512 * 512 * 400


def test_a_large_volume_is_checked_in_pieces(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(0, 20, (150, 512, 512)).astype(np.int16)
    path = tmp_path / "ct.mha"
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(noise), str(path), useCompression=True, compressionLevel=1)
    tracemalloc.start()
    assert check_file(path).voxel_bytes == noise.nbytes
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < noise.nbytes / 8


FUZZED = {
    ".mha": (meta_image(extra=("Free = 1",)), meta_image(compressed=True)),
    ".mhd": (meta_image(ElementDataFile="a.raw", payload=b""),),
    ".nii": (nifti(codes=(1, 1)),),
    ".nii.gz": (gzip.compress(nifti()),),
    ".nrrd": (nrrd(), nrrd(encoding="gzip", payload=gzip.compress(RAW))),
}


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, tuple[bytes, ...]]]:
    folder = tmp_path_factory.mktemp("fuzzed")
    (folder / "a.raw").write_bytes(RAW)
    image = SimpleITK.GetImageFromArray(VOXELS)
    SimpleITK.WriteImage(image, str(folder / "valid.tif"))
    return folder, FUZZED | {".tif": ((folder / "valid.tif").read_bytes(),)}


@pytest.mark.parametrize("suffix", [*FUZZED, ".tif"])
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damage_yields_a_header_or_an_error_of_ours(
    fuzzed: tuple[Path, dict[str, tuple[bytes, ...]]], suffix: str, data: st.DataObject
) -> None:
    folder, valid = fuzzed
    content = bytearray(data.draw(st.sampled_from(valid[suffix])))
    for _ in range(data.draw(st.integers(1, 6))):
        start = data.draw(st.integers(0, len(content)))
        length = data.draw(st.sampled_from((0, 1, 1, 1, 4, 30)))
        content[start : start + length] = data.draw(
            st.binary(max_size=8) | st.sampled_from((b"\n", b"=", b"-1", b"nan"))
        )
    path = saved(folder, f"damaged{suffix}", bytes(content))
    with suppress(SynthCTError):
        assert isinstance(check_file(path), Header)
