"""build.sh: what the images hold, which layers they share, and what is refused before anything is built."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
from containers.images import ROOT, require_success

IMAGES = ("lookup_image", "lookup_invoke_image", "routed_image", "evaluation_image")


def build(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([ROOT / "build.sh", *arguments], capture_output=True, text=True, check=False)


def inspect(image: str) -> dict[str, object]:
    found: list[dict[str, object]] = json.loads(require_success("docker", "image", "inspect", image))
    return found[0]


def config(image: str) -> dict[str, object]:
    found = inspect(image)["Config"]
    assert isinstance(found, dict)
    return found


def shell(image: str, command: str) -> str:
    return require_success("docker", "run", "--rm", "--network", "none", "--entrypoint", "sh", image, "-c", command)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), ("nothing to build", "pix2pix-pelvis")),
        (("no-such-thing",), ("no-such-thing", "lookup-table")),
        (("lookup-table", "--api", "rest"), ("--api rest", "exec or invoke")),
        (("--algorithms", "lookup-table,pix2pix-pelvis"), ("--tag",)),
        (("--algorithms", "lookup-table,nothing", "--tag", "x"), ("nothing",)),
        (("--algorithms", "lookup-table,lookup-table", "--tag", "x"), ("lookup-table twice",)),
        (("--algorithms", "lookup-table", "evaluation", "--tag", "x"), ("exclude",)),
        (("lookup-table", "evaluation", "--tag", "x"), ("--tag x", "2")),
        (("lookup-table", "--wheelhouse", "/no/such/folder"), ("/no/such/folder",)),
        (("lookup-table", "--base"), ("--base needs a value",)),
        (("lookup-table", "--offline"), ("docker/wheelhouse.sh",)),
        (("all", "lookup-table"), ("all stands beside",)),
        (("--algorithms", "lookup-table,evaluation", "--tag", "x"), ("image of its own",)),
        (("--turbo", "1"), ("--turbo",)),
    ],
)
def test_wrong_usage_is_one_line_and_exit_2(arguments: tuple[str, ...], words: tuple[str, ...]) -> None:
    result = build(*arguments)
    assert result.returncode == 2
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert [word for word in words if word not in result.stderr] == []


def test_help_lists_every_option() -> None:
    shown = build("--help").stdout
    options = set(re.findall(r"--[a-z-]+(?=\))", (ROOT / "build.sh").read_text()))
    assert {option for option in options if option not in shown} - {"--help"} == set()
    assert "--api" in options


@pytest.mark.parametrize(
    "script", ["build.sh", "export.sh", *(f"docker/{p.name}" for p in (ROOT / "docker").glob("*.sh"))]
)
def test_scripts_parse(script: str) -> None:
    assert subprocess.run(["bash", "-n", ROOT / script], capture_output=True, check=False).stderr == b""


@pytest.mark.parametrize("kind", ["algorithm", "evaluation"])
def test_locked_requirements_agree_with_the_constraints(kind: str) -> None:
    def pins(path: Path) -> dict[str, str]:
        lines = re.findall(r"^([A-Za-z0-9_.-]+)==([^\s\\;]+)", path.read_text(), re.MULTILINE)
        return {name.lower().replace("_", "-"): version for name, version in lines}

    known = pins(ROOT / "constraints.txt")
    locked = pins(ROOT / "docker" / "requirements" / f"{kind}.txt")
    locked |= pins(ROOT / "docker" / "requirements" / f"torch-{kind}.txt")
    assert len(locked) > 20
    assert {name: version for name, version in locked.items() if known.get(name, version) != version} == {}
    assert "torch" in locked


@pytest.mark.parametrize("kind", ["algorithm", "evaluation"])
def test_each_locked_package_has_a_hash(kind: str) -> None:
    text = (ROOT / "docker" / "requirements" / f"{kind}.txt").read_text()
    entries = re.split(r"\n(?=[A-Za-z])", text.strip())
    assert [entry.partition("=")[0] for entry in entries if "--hash=sha256:" not in entry] == []


def test_the_dockerfiles_name_no_algorithm() -> None:
    names = [about.parent.name for about in (ROOT / "algorithms").glob("*/about.py")]
    texts = [path.read_text() for path in [*(ROOT / "docker").glob("*.Dockerfile"), *(ROOT / "docker").glob("*.sh")]]
    assert len(names) >= 2
    assert [name for name in names for text in texts if f"{name}/" in text] == []


@pytest.mark.container
@pytest.mark.parametrize("fixture", IMAGES)
def test_user_label_and_architecture(fixture: str, request: pytest.FixtureRequest) -> None:
    image: str = request.getfixturevalue(fixture)
    found = config(image)
    assert found["User"] == "user"
    assert inspect(image)["Architecture"] == "amd64"
    labels = found["Labels"]
    assert isinstance(labels, dict)
    assert labels["org.grand-challenge.api-method"] == image.rpartition(":")[2]
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert labels["org.opencontainers.image.version"] == "0.1.0"
    assert labels["synthct.base"] == "for tests"
    assert shell(image, "id -u").strip() == "1000"


@pytest.mark.container
@pytest.mark.parametrize("fixture", ["lookup_image", "evaluation_image"])
def test_no_compiler_and_no_pip(fixture: str, request: pytest.FixtureRequest) -> None:
    image = request.getfixturevalue(fixture)
    found = shell(image, "for tool in gcc cc g++ clang ld make pip; do command -v $tool || true; done")
    assert found == ""
    assert shell(image, "ls /build /opt/pip 2>/dev/null || echo absent").strip() == "absent"


@pytest.mark.container
def test_only_what_the_image_needs(lookup_image: str, evaluation_image: str, routed_image: str) -> None:
    def packages(image: str) -> set[str]:
        return set(shell(image, "cd /opt/algorithm/packages && ls . algorithms 2>/dev/null || true").split())

    assert "lookup_table" in packages(lookup_image)
    assert packages(lookup_image) & {"pix2pix_pelvis", "evaluation"} == set()
    assert {"lookup_table", "pix2pix_pelvis"} <= packages(routed_image)
    assert "evaluation" in packages(evaluation_image)
    assert "algorithms" not in packages(evaluation_image)
    for image in (lookup_image, routed_image):
        assert shell(image, "/opt/venv/bin/python -c 'import totalsegmentator' 2>&1 || true").count("ModuleNotFound")


@pytest.mark.container
def test_the_command_lists_only_what_the_image_can_do(lookup_image: str, evaluation_image: str) -> None:
    def commands(image: str) -> set[str]:
        listed = shell(image, "synthct --help").partition("Commands:")[2]
        return {line.split()[0] for line in listed.splitlines() if line.startswith("  ") and line[2:3].isalpha()}

    algorithm, judge = commands(lookup_image), commands(evaluation_image)
    assert {"predict", "run"} <= algorithm
    assert {"evaluate", "leaderboard", "run"} <= judge
    assert "evaluate" not in algorithm
    assert "predict" not in judge


@pytest.mark.container
def test_algorithms_share_all_layers_but_their_own(
    lookup_image: str, lookup_invoke_image: str, routed_image: str
) -> None:
    def layers(image: str) -> list[str]:
        root = inspect(image)["RootFS"]
        assert isinstance(root, dict)
        found: list[str] = root["Layers"]
        return found

    exec_layers, invoke_layers, routed_layers = map(layers, (lookup_image, lookup_invoke_image, routed_image))
    assert len(exec_layers) == len(routed_layers)
    assert exec_layers[:-1] == routed_layers[:-1] == invoke_layers[:-1]
    assert exec_layers[-1] != routed_layers[-1]


@pytest.mark.container
def test_a_build_that_cannot_be_meant_is_refused_by_the_dockerfile(engine: None, lookup_image: str) -> None:
    """Also where someone calls `docker build` without build.sh."""
    result = subprocess.run(
        ["bash", "-c", f"{ROOT}/build.sh nothing --tag x"], capture_output=True, text=True, check=False
    )
    assert result.returncode == 2
    command = "cp -r /opt/algorithm/packages source && sh assemble.sh algorithm rest lookup-table"
    refused = subprocess.run(
        [
            *("docker", "run", "--rm", "--user", "0", "--network", "none", "--workdir", "/build", "--entrypoint", "sh"),
            *("--volume", f"{ROOT}/docker:/build:ro", lookup_image, "-c", command.partition("&& ")[2]),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert refused.returncode == 2
    assert "expected exec or invoke" in refused.stderr
