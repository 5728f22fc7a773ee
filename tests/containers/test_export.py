"""export.sh: tarballs that the platform takes, checked in a second engine that is empty."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands.command_line import synthct
from containers.images import BASE, ROOT, engine_answers

STARTER = ROOT / "algorithms" / "lookup_table" / "starter"


def export(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([ROOT / "export.sh", *map(str, arguments)], capture_output=True, text=True, check=False)


def members(path: Path) -> list[str]:
    with tarfile.open(path) as archive:
        return sorted(member.name for member in archive if member.isfile())


def labelled(kind: str) -> str:
    """An image that only its label tells: enough for what export.sh packs beside it."""
    title = {"evaluation": "synthct evaluation", "stranger": "their own"}[kind]
    tag = f"synthct-test/{kind}:labelled"
    lines = f'FROM {BASE}\nLABEL org.opencontainers.image.title="{title}"\nUSER 1000\n'
    subprocess.run(["docker", "build", "--tag", tag, "-"], input=lines.encode(), capture_output=True, check=True)
    return tag


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), ("no name",)),
        (("a", "b"), ("expected one name",)),
        (("lookup-table", "--speed", "1"), ("--speed",)),
        (("lookup-table", "--model"), ("--model needs a value",)),
        (("lookup-table", "--no-image"), ("--model or --ground-truth",)),
    ],
)
def test_wrong_usage_is_one_line_and_exit_2(arguments: tuple[str, ...], words: tuple[str, ...]) -> None:
    result = export(*arguments)
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert [word for word in words if word not in result.stderr] == []


@pytest.mark.container
def test_an_image_that_was_not_built(engine: None, tmp_path: Path) -> None:
    result = export("synthct-test/nothing:none", "--output", tmp_path / "out")
    assert result.returncode == 3
    assert "no such image" in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.container
def test_folders_that_are_no_model_and_no_ground_truth(lookup_image: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    no_model = export(lookup_image, "--model", tmp_path / "empty", "--output", tmp_path / "out")
    no_truth = export(labelled("evaluation"), "--ground-truth", tmp_path / "empty", "--output", tmp_path / "out")
    wrong = export(lookup_image, "--ground-truth", tmp_path / "empty", "--output", tmp_path / "out")
    assert (no_model.returncode, no_truth.returncode, wrong.returncode) == (3, 3, 2)
    assert "is an algorithm" in wrong.stderr
    assert "model.json" in no_model.stderr
    assert "ct/" in no_truth.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.container
def test_an_image_that_runs_as_root_is_not_exported(lookup_image: str, tmp_path: Path) -> None:
    subprocess.run(
        ["docker", "build", "--tag", "synthct-test/root:exec", "-"],
        input=f"FROM {lookup_image}\nUSER root\n".encode(),
        capture_output=True,
        check=True,
    )
    result = export("synthct-test/root:exec", "--output", tmp_path / "out")
    assert result.returncode == 6
    assert "runs as root" in result.stderr


@pytest.mark.container
def test_somebody_elses_model_is_packed_whole(lookup_image: str, tmp_path: Path) -> None:
    """Which files another image needs is not for us to know."""
    tag = labelled("stranger")
    (tmp_path / "model").mkdir()
    for name in ("model.json", "network.pth", "plans.json"):
        (tmp_path / "model" / name).write_text(name)
    result = export(tag, "--no-image", "--model", tmp_path / "model", "--output", tmp_path / "dist")
    assert result.returncode == 0, result.stderr
    found = members(tmp_path / "dist" / "stranger-model.tar.gz")
    assert [name.removeprefix("./") for name in found] == ["model.json", "network.pth", "plans.json"]


@pytest.mark.container
def test_a_model_of_another_algorithm_and_a_route_to_nothing(lookup_image: str, tmp_path: Path) -> None:
    other = ROOT / "algorithms" / "pix2pix_pelvis" / "starter"
    shutil.copytree(STARTER, tmp_path / "routed" / "limb")
    (tmp_path / "routed" / "routes.json").write_text('{"mri/EX": "limb", "mri/P": "gone"}')
    for model, words in ((other, "is a model of pix2pix-pelvis"), (tmp_path / "routed", "leads to gone")):
        result = export(lookup_image, "--no-image", "--model", model, "--output", tmp_path / "dist")
        assert result.returncode == 4
        assert words in result.stderr
    assert not (tmp_path / "dist").exists()


@pytest.fixture(scope="module")
def exported(lookup_image: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Image and weights of the yardstick, beside what a training leaves in a run's folder."""
    root = tmp_path_factory.mktemp("export")
    shutil.copytree(STARTER, root / "model")
    (root / "model" / "checkpoint.pt").write_bytes(b"only a training needs it")
    result = export(lookup_image, "--model", root / "model", "--output", root / "dist")
    assert result.returncode == 0, result.stderr
    assert "base for tests" in result.stderr
    (root / "said").write_text(result.stdout)
    return root


@pytest.mark.container
def test_the_archive_holds_one_image(exported: Path, lookup_image: str) -> None:
    with tarfile.open(exported / "dist" / "lookup-table.tar.gz") as archive:
        stream = archive.extractfile("manifest.json")
        assert stream is not None
        manifest = json.load(stream)
    assert len(manifest) == 1
    assert manifest[0]["RepoTags"] == [lookup_image]


@pytest.mark.container
def test_the_model_has_no_top_folder_and_no_checkpoints(exported: Path) -> None:
    found = members(exported / "dist" / "lookup-table-model.tar.gz")
    assert [name.removeprefix("./") for name in found] == ["README.md", "model.json", "weights.safetensors"]


@pytest.mark.container
def test_checksums_and_steps(exported: Path) -> None:
    lines = (exported / "dist" / "lookup-table.sha256").read_text().splitlines()
    assert len(lines) == 2
    for line in lines:
        digest, name = line.split()
        with (exported / "dist" / name).open("rb") as stream:
            assert hashlib.file_digest(stream, "sha256").hexdigest() == digest
    said = (exported / "said").read_text()
    for word in ("Algorithm -> Containers", "Algorithm -> Models", "Try-out", "MB", "synthct check"):
        assert word in said
    assert sorted(path.name for path in (exported / "dist").iterdir()) == [
        "lookup-table-model.tar.gz",
        "lookup-table.sha256",
        "lookup-table.tar.gz",
    ]


@pytest.mark.container
def test_a_ground_truth_is_packed_whole_but_for_its_own_tarball(exported: Path) -> None:
    truth = exported / "truth"
    for name in ("ct/1ABA001.mha", "mask/1ABA001.mha", "evaluation.json", "weights/model.bin", "ground_truth.tar.gz"):
        (truth / name).parent.mkdir(parents=True, exist_ok=True)
        (truth / name).write_text(name)
    result = export(labelled("evaluation"), "--no-image", "--ground-truth", truth, "--output", exported / "truth-dist")
    assert result.returncode == 0, result.stderr
    assert "--kind evaluation --ground-truth" in result.stdout
    found = members(exported / "truth-dist" / "evaluation-ground-truth.tar.gz")
    expected = ["ct/1ABA001.mha", "evaluation.json", "mask/1ABA001.mha", "weights/model.bin"]
    assert [name.removeprefix("./") for name in found] == expected


@pytest.mark.container
def test_the_same_folder_gives_the_same_model_tarball(exported: Path, lookup_image: str) -> None:
    """The platform refuses a file that it has already, so an unchanged model must not look new, nor a new one old."""
    again = export(lookup_image, "--no-image", "--model", exported / "model", "--output", exported / "again")
    assert again.returncode == 0, again.stderr
    assert not (exported / "again" / "lookup-table.tar.gz").exists()
    first, second = (exported / place / "lookup-table-model.tar.gz" for place in ("dist", "again"))
    assert first.read_bytes() == second.read_bytes()


@pytest.fixture(scope="module")
def second_engine(exported: Path) -> Iterator[str]:
    """An empty engine of its own: another data root and socket, and a network of its own.

    In the first one's network, dockerd without a bridge takes the first one's bridge away.
    """
    if os.geteuid() != 0 or shutil.which("dockerd") is None:
        pytest.skip("a second engine needs root and dockerd on this machine")
    root = exported / "second-engine"
    root.mkdir()
    socket = f"unix://{root}/docker.sock"
    places = [f"--data-root={root}/data", f"--exec-root={root}/exec", f"--pidfile={root}/pid", f"--host={socket}"]
    with (root / "log").open("wb") as log:
        server = subprocess.Popen(
            ["unshare", "--net", "dockerd", *places, "--bridge=none", "--iptables=false", "--ip6tables=false"],
            stdout=log,
            stderr=log,
        )
        try:
            for _ in range(60):
                if (
                    subprocess.run(["docker", "--host", socket, "info"], capture_output=True, check=False).returncode
                    == 0
                ):
                    break
                time.sleep(1)
            else:
                pytest.fail(f"the second dockerd did not start: {(root / 'log').read_text()[-800:]}")
            yield socket
        finally:
            server.terminate()
            server.wait(30)
            shutil.rmtree(root, ignore_errors=True)


@pytest.mark.container
@pytest.mark.slow
def test_the_tarballs_pass_in_a_second_empty_engine(exported: Path, second_engine: str) -> None:
    def images() -> str:
        return subprocess.run(
            ["docker", "--host", second_engine, "images", "--quiet"], capture_output=True, text=True, check=True
        ).stdout

    assert images() == ""
    outcome = synthct(
        *("check", exported / "dist" / "lookup-table.tar.gz", "--memory", "4g", "--skip-largest", "--json"),
        *("--model", exported / "dist" / "lookup-table-model.tar.gz"),
        DOCKER_HOST=second_engine,
    )
    assert outcome.code == 0, outcome.out[-3000:] + outcome.err[-2000:]
    found = json.loads(outcome.out)
    assert found["verdict"] == "pass"
    assert len(found["checks"]) > 20
    assert images() == ""  # nothing is left behind


def test_engine_script_uses_the_engine_that_answers() -> None:
    if not engine_answers():
        pytest.skip("no Docker engine answers (docker/engine.sh start)")
    result = subprocess.run([ROOT / "docker" / "engine.sh", "start"], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_engine_script_leaves_a_process_alone_that_it_did_not_start(tmp_path: Path) -> None:
    """A number in an old file may belong to another process by now."""
    other = subprocess.Popen(["sleep", "60"])
    (tmp_path / "pid").write_text(str(other.pid))
    try:
        command = [ROOT / "docker" / "engine.sh", "stop"]
        subprocess.run(command, env={**os.environ, "SYNTHCT_ENGINE_STATE": str(tmp_path)}, check=True)
        assert other.poll() is None
        assert not (tmp_path / "pid").exists()
    finally:
        other.kill()
        other.wait()


def test_engine_script_says_how_to_call_it() -> None:
    result = subprocess.run([ROOT / "docker" / "engine.sh"], capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert "docker/engine.sh start" in result.stderr
