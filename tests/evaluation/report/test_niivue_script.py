"""The viewer's script: found in the installed package, in a file, and what is no viewer."""

from __future__ import annotations

import base64
import gzip
import hashlib
import subprocess
from pathlib import Path
from urllib.parse import quote

import pytest

from evaluation.report.niivue import CALLBACK, find_viewer, read_viewer
from synthct.errors import InputError

MODULE = "class Niivue{};class NVImage{};export{NVImage,Niivue,PEN_TYPE};"


def test_the_installed_package_holds_a_whole_viewer() -> None:
    viewer = find_viewer()
    if viewer is None:
        pytest.skip("ipyniivue is not installed (extra report)")
    assert viewer.origin.startswith("NiiVue of ipyniivue 2.")
    assert "BSD 2-Clause" in viewer.licence
    assert viewer.source.endswith(f";globalThis.{CALLBACK}(Niivue);")
    assert 1_000_000 < len(viewer.source) < 4_000_000
    assert "</script" not in viewer.source.lower()


def test_packed_is_the_source_and_the_hash_is_its_own(tmp_path: Path) -> None:
    path = tmp_path / "index.js"
    path.write_text(MODULE)
    viewer = read_viewer(path)
    assert gzip.decompress(base64.b64decode(viewer.packed)).decode() == viewer.source
    digest = subprocess.run(["sha256sum"], input=viewer.source.encode(), capture_output=True, check=True).stdout
    assert viewer.content_hash == "sha256-" + base64.b64encode(bytes.fromhex(digest.decode()[:64])).decode()
    assert viewer.content_hash == "sha256-" + base64.b64encode(hashlib.sha256(viewer.source.encode()).digest()).decode()


@pytest.mark.parametrize(
    ("text", "called"),
    [
        (MODULE, "Niivue"),
        ("class a{};class b{};export{a as NVImage, b as Niivue}", "b"),
        ("class t$1{};export{t$1 as Niivue};\n", "t$1"),
        ('var o="' + quote(MODULE, safe="") + '";export{o as default};', "Niivue"),
    ],
)
def test_modules_call_the_page_with_their_class(text: str, called: str, tmp_path: Path) -> None:
    path = tmp_path / "viewer.js"
    path.write_text(text)
    source = read_viewer(path).source
    assert source.endswith(f";globalThis.{CALLBACK}({called});")
    assert "export" not in source


def test_a_umd_build_is_taken_by_its_global(tmp_path: Path) -> None:
    path = tmp_path / "niivue.umd.js"
    path.write_text("(function(g,f){f(g.niivue={})})(this,function(e){e.Niivue=class{}});")
    assert read_viewer(path).source.endswith(f"globalThis.{CALLBACK}(globalThis.niivue.Niivue);")


def test_the_licence_beside_the_file_goes_with_it(tmp_path: Path) -> None:
    (tmp_path / "dist").mkdir()
    path = tmp_path / "dist" / "index.js"
    path.write_text(MODULE)
    assert "BSD" in read_viewer(path).licence
    (tmp_path / "LICENSE").write_text("BSD of the package")
    assert read_viewer(path).licence == "BSD of the package"


@pytest.mark.parametrize("text", ["", "export{a as b};", "console.log(1)", "export{MyNiivue, Niivue2};"])
def test_what_is_no_viewer_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "other.js"
    path.write_text(text)
    with pytest.raises(InputError, match=r"other\.js: exports no class Niivue"):
        read_viewer(path)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.js: cannot be read"):
        read_viewer(tmp_path / "none.js")
    (tmp_path / "bytes.js").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(InputError, match=r"bytes\.js: cannot be read"):
        read_viewer(tmp_path / "bytes.js")
