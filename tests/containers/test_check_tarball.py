"""`synthct check` on tarballs of docker save: loaded for the check, gone afterwards, refused for what they are."""

from __future__ import annotations

import gzip
import io
import json
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from containers.checks import run_check, stand_in_image
from containers.images import require_success
from image_archives import image_config, save_archive

pytestmark = [pytest.mark.container, pytest.mark.usefixtures("engine")]


def image_id(tag: str) -> str:
    """The id of an image; empty where there is none."""
    command = ["docker", "image", "inspect", "--format", "{{.Id}}", tag]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


@pytest.fixture(scope="module")
def saved(engine: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sound image, saved under a name of its own, which the engine then forgets."""
    tag = "synthct-test/saved:only-here"
    image = stand_in_image(LABEL="tested-by=tarball")
    require_success("docker", "tag", image, tag)
    path = tmp_path_factory.mktemp("saved") / "image.tar"
    require_success("docker", "save", "--output", path, tag)
    require_success("docker", "rmi", "--force", image_id(image))
    assert image_id(tag) == ""
    return path


def edited(source: Path, target: Path, change: Callable[[dict[str, Any]], None], *, manifest: bool = False) -> Path:
    """Copy a tarball, its config (or its manifest) changed."""
    with tarfile.open(source) as archive, tarfile.open(target, "w") as copy:
        listed = archive.extractfile("manifest.json")
        assert listed is not None
        wanted = "manifest.json" if manifest else json.load(listed)[0]["Config"]
        for member in archive:
            stream = archive.extractfile(member) if member.isreg() else None
            if stream is not None and member.name == wanted:
                content = json.load(stream)
                change(content)
                raw = json.dumps(content).encode()
                member.size = len(raw)
                stream = io.BytesIO(raw)
            copy.addfile(member, stream)
    return target


def test_a_sound_tarball_is_loaded_checked_and_removed(saved: Path, tmp_path: Path) -> None:
    packed = tmp_path / "image.tar.gz"
    content = saved.read_bytes()
    middle = len(content) // 2
    with packed.open("wb") as target:  # in two members, as bgzip packs
        for piece in (content[:middle], content[middle:]):
            target.write(gzip.compress(piece, compresslevel=1))
    outcome = run_check(packed)
    assert (outcome.code, outcome.broken) == (0, {}), outcome.stderr
    rules = [check["id"] for check in outcome.report["checks"] if check["verdict"] == "pass"]
    assert {"archive.readable", "archive.manifest", "archive.one-image", "image.user", "run.strict"} <= set(rules)
    assert outcome.report["image"] == str(packed)
    assert image_id("synthct-test/saved:only-here") == ""


def test_a_tag_that_is_taken_goes_back_to_its_own_image(saved: Path) -> None:
    other = image_id(stand_in_image())
    require_success("docker", "tag", other, "synthct-test/saved:only-here")
    try:
        outcome = run_check(saved)
        assert (outcome.code, outcome.broken) == (0, {}), outcome.stderr
        assert image_id("synthct-test/saved:only-here") == other
    finally:
        require_success("docker", "rmi", "synthct-test/saved:only-here")


def test_an_arm64_config_is_refused_before_it_is_loaded(saved: Path, tmp_path: Path) -> None:
    def change(config: dict[str, Any]) -> None:
        config["architecture"] = "arm64"

    outcome = run_check(edited(saved, tmp_path / "arm.tar", change))
    assert (outcome.code, outcome.broken) == (6, {"image.architecture": "would be refused"})
    assert outcome.found("image.architecture") == "arm64"
    assert "loading" not in outcome.stderr


def test_two_images_are_refused(saved: Path, tmp_path: Path) -> None:
    def double(manifest: Any) -> None:  # the list is changed in place
        manifest.append(manifest[0])

    outcome = run_check(edited(saved, tmp_path / "two.tar", double, manifest=True))
    assert (outcome.code, outcome.broken) == (6, {"archive.one-image": "would be refused"})
    assert outcome.found("archive.one-image") == "2 images"


def test_another_label_in_the_config_is_refused(saved: Path, tmp_path: Path) -> None:
    def change(config: dict[str, Any]) -> None:
        config["config"]["Labels"] = {"org.grand-challenge.api-method": "both"}

    outcome = run_check(edited(saved, tmp_path / "label.tar", change))
    assert (outcome.code, outcome.broken) == (6, {"image.api-method": "would be refused"})


def test_a_tarball_cut_short_is_not_readable(saved: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.tar"
    cut.write_bytes(saved.read_bytes()[:-2_000_000])
    outcome = run_check(cut)
    assert (outcome.code, outcome.broken) == (6, {"archive.readable": "would be refused"})


def test_what_the_engine_cannot_load_is_not_readable(tmp_path: Path) -> None:
    path = save_archive(tmp_path / "hollow.tar", image_config(), layer=b"no layer")
    outcome = run_check(path)
    assert (outcome.code, outcome.broken) == (6, {"archive.readable": "would be refused"})
    assert "hollow.tar" in outcome.found("archive.readable")
