"""Containers of our images, run by the docker command behind the platform's walls; none of them stays in the engine."""

from __future__ import annotations

import http.client
import json
import os
import random
import re
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from commands.command_line import files_below
from containers.images import require_success

__all__ = [
    *("DATA", "MODEL", "WALLS", "Container", "Ended", "Server", "bind", "created", "link_input"),
    *("open_folder", "run_container", "running_server"),
]

PATIENCE = 120.0
PORT = 4743
DATA = "/opt/ml/input/data"
MODEL = "/opt/ml/model"
WALLS = (
    *("--cap-drop=ALL", "--security-opt=no-new-privileges", "--pids-limit=256", "--shm-size=128m"),
    *("--memory=4g", "--memory-swap=4g", "--read-only", "--tmpfs=/tmp"),
)
"""The flags of CONTRACT 6.A.6 beside network and user; one that is given again later counts."""
LINKED = f"USER root\nRUN rmdir /input && mkdir -p {DATA} && ln -s {DATA}/input /input\nUSER user\n"


class Container:
    """A container that was created."""

    def __init__(self, name: str) -> None:
        self.name = name

    def start(self) -> None:
        require_success("docker", "start", self.name)

    def wait(self) -> int:
        """Wait for the end; return the exit code."""
        done = subprocess.run(["docker", "wait", self.name], capture_output=True, text=True, timeout=PATIENCE)
        return int(done.stdout)

    def kill(self, signal: str) -> None:
        require_success("docker", "kill", "--signal", signal, self.name)

    def lines(self) -> list[str]:
        """What it has written to stderr so far; blank lines are left out."""
        log = subprocess.run(["docker", "logs", self.name], capture_output=True, text=True, check=True)
        return [line for line in log.stderr.splitlines() if line.strip()]

    def wait_for_line(self, pattern: str) -> str:
        """Wait until a line of stderr matches, and return it."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            running = self.state()["Running"]
            lines = self.lines()
            found = [line for line in lines if re.search(pattern, line)]
            if found:
                return found[0]
            assert running, f"ended without a line {pattern!r}: {lines}"
        raise AssertionError(f"no line {pattern!r} in {self.lines()}")

    def inspect(self) -> dict[str, Any]:
        found: list[dict[str, Any]] = json.loads(require_success("docker", "container", "inspect", self.name))
        return found[0]

    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = self.inspect()["State"]
        return found


@dataclass(frozen=True)
class Ended:
    """A run that has ended.

    Attributes:
        code: exit code.
        lines: of stderr, without blank ones.
        output: folder that was /output.
        out_of_memory: the kernel ended it for its memory limit.
        user: number of the user that it ran as.
        owners: whose the files were that it left.
    """

    code: int
    lines: list[str]
    output: Path
    out_of_memory: bool
    user: int
    owners: set[int]

    @property
    def reason(self) -> str:
        """The last line on stderr: all that the platform shows."""
        return self.lines[-1] if self.lines else ""

    @property
    def files(self) -> list[str]:
        """Every file below /output, as relative names."""
        return [name for name in files_below(self.output) if (self.output / name).is_file()]

    @property
    def manifest(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((self.output / "manifest.json").read_text())
        return content

    def about(self, word: str) -> list[str]:
        """The warnings that hold a word."""
        return [line for line in self.lines if line.startswith("warning: ") and word in line]


@contextmanager
def created(image: str, *flags: str, command: tuple[str, ...] = ()) -> Iterator[Container]:
    """Create a container; whatever happens, it is gone afterwards, with its anonymous volumes."""
    container = Container(require_success("docker", "create", *flags, image, *command).strip())
    try:
        yield container
    finally:
        require_success("docker", "rm", "--force", "--volumes", container.name)


def run_container(
    image: str,
    source: Path,
    output: Path,
    *flags: str,
    model: Path | None,
    place: str = "/input",
    command: tuple[str, ...] = (),
) -> Ended:
    """Run an exec image on a folder that is mounted read-only, under a random user behind WALLS.

    Args:
        image: its name.
        source: what is mounted at `place`.
        output: is made where it is missing; every user may write into it.
        flags: more of them, or others than WALLS holds.
        model: what is mounted at /opt/ml/model; None for nothing.
        place: where the inputs lie; DATA in an image whose /input is a link.
        command: words behind the image's name.
    """
    open_folder(output)
    mounts = [*bind(source, place, read_only=True), *bind(output, "/output")]
    if model is not None:
        mounts += bind(model, MODEL, read_only=True)
    user = _random_user()
    walls = ("--network=none", *WALLS, f"--user={user}:{user}")
    with created(image, *walls, *mounts, *flags, command=command) as container:
        container.start()
        code, lines = container.wait(), container.lines()
        killed = container.state()["OOMKilled"]
    owners = {(output / name).stat().st_uid for name in files_below(output) if (output / name).is_file()}
    ended = Ended(code, lines, output, killed, user, owners)
    _take_over(image, output)
    return ended


class Server(Container):
    """A container of an invoke image, called over HTTP at its address in a network that leads nowhere else."""

    def __init__(self, name: str, network: str, data: Path, output: Path) -> None:
        super().__init__(name)
        self.data = data
        self.output = output
        self._network = network
        self._address = ""

    def start(self) -> None:
        super().start()
        self._address = self.inspect()["NetworkSettings"]["Networks"][self._network]["IPAddress"]

    def request(self, method: str, path: str) -> tuple[int, str]:
        """Send one request without a body; return status and text."""
        connection = http.client.HTTPConnection(self._address, PORT, timeout=PATIENCE)
        try:
            connection.request(method, path, body=b"" if method == "POST" else None)
            response = connection.getresponse()
            return response.status, response.read().decode().strip()
        finally:
            connection.close()

    def wait_until_ready(self) -> list[int]:
        """Poll /health until it says 200; return the statuses on the way, each once in a row."""
        statuses: list[int] = []
        end = time.monotonic() + PATIENCE
        while statuses[-1:] != [200]:
            assert time.monotonic() < end, self.lines()
            try:
                status = self.request("GET", "/health")[0]
            except ConnectionRefusedError:  # it does not listen yet
                assert self.state()["Running"], self.lines()
                continue
            if statuses[-1:] != [status]:
                statuses.append(status)
        return statuses

    def point_to(self, folder: Path | None) -> None:
        """Make /input anew: a link to a folder beside it, as the platform does for each run; None leaves none."""
        link = self.data / "input"
        link.unlink(missing_ok=True)
        if folder is not None:
            link.symlink_to(folder.name)

    def invoke(self, folder: Path | None) -> tuple[int, str]:
        """POST /invoke on a folder below `data`."""
        self.point_to(folder)
        return self.request("POST", "/invoke")

    def clear_output(self) -> None:
        """Empty /output as the container's own user, who alone may do so everywhere."""
        require_success("docker", "exec", self.name, "sh", "-c", "rm -rf /output/* /output/.partial")


@contextmanager
def running_server(image: str, root: Path, *, model: Path) -> Iterator[Server]:
    """Start an invoke image without an /input; `root` gets a folder `data` for inputs and `output`."""
    network = f"synthct-test-{uuid.uuid4().hex}"
    data, output = open_folder(root / "data"), open_folder(root / "output")
    mounts = [*bind(data, DATA, read_only=True), *bind(output, "/output"), *bind(model, MODEL, read_only=True)]
    require_success("docker", "network", "create", "--internal", network)
    try:
        user = _random_user()
        with created(image, f"--network={network}", *WALLS, f"--user={user}:{user}", *mounts) as container:
            server = Server(container.name, network, data, output)
            server.start()
            yield server
    finally:
        require_success("docker", "network", "rm", network)
        _take_over(image, output)


def link_input(image: str) -> str:
    """Make an image whose /input is a link into DATA, as on the platform's machines; return its name."""
    tag = f"{image}-linked"
    command = ["docker", "build", "--quiet", "--tag", tag, "-"]
    subprocess.run(command, input=f"FROM {image}\n{LINKED}", text=True, capture_output=True, check=True)
    return tag


def bind(source: Path, place: str, *, read_only: bool = False) -> list[str]:
    """The flags that mount a folder of this machine."""
    return ["--mount", f"type=bind,src={source},dst={place}{',readonly' if read_only else ''}"]


def _random_user() -> int:
    """The number of a user and group that no passwd file knows."""
    return random.randrange(20_000, 60_000)


def open_folder(folder: Path) -> Path:
    """Make a folder into which every user may write."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o777)
    return folder


def _take_over(image: str, folder: Path) -> None:
    """Hand what a container wrote to the user of this process; root needs no such thing."""
    if os.geteuid() == 0:
        return
    owner = f"{os.geteuid()}:{os.getegid()}"
    command = ("--user=0", "--network=none", "--entrypoint=chown", *bind(folder, "/taken"), image)
    require_success("docker", "run", "--rm", *command, "-R", owner, "/taken")
