"""One check from end to end: what an image is, how it is run, and what it came to."""

from __future__ import annotations

import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from synthct.anatomy import Region, Task
from synthct.errors import InputError, OutputError, SynthCTError, UsageError
from synthct.grand_challenge.sandbox.algorithm_checks import AlgorithmChecks, Say
from synthct.grand_challenge.sandbox.archive import ImageArchive, check_archive
from synthct.grand_challenge.sandbox.calls import out_of_reach
from synthct.grand_challenge.sandbox.declared import choose_task_and_region
from synthct.grand_challenge.sandbox.engine import (
    connect,
    describe_image,
    engine_errors,
    find_image,
    has_gpu,
    loaded_image,
    read_passwd,
)
from synthct.grand_challenge.sandbox.evaluation_cases import find_truth, make_ground_truth, make_predictions
from synthct.grand_challenge.sandbox.evaluation_checks import EvaluationChecks
from synthct.grand_challenge.sandbox.findings import Findings, LargestCase, Report
from synthct.grand_challenge.sandbox.flags import core_set, usable_cores
from synthct.grand_challenge.sandbox.image import ImageFacts, check_image, check_passwd, known_uids
from synthct.grand_challenge.sandbox.runs import short_reason
from synthct.grand_challenge.sandbox.stage import Limits, Stage

if TYPE_CHECKING:
    from docker.client import DockerClient
    from docker.models.images import Image

__all__ = ["Api", "CheckOptions", "Kind", "check"]

Kind = Literal["algorithm", "evaluation"]
Api = Literal["auto", "exec", "invoke"]
NOBODY = 65532
STOPPING = ("image.architecture", "image.api-method", "image.command")
"""Rules without which nothing can be run: the engine could not start it, or nobody knows how to call it."""


@dataclass(frozen=True)
class CheckOptions:
    """What the user asked for; see `synthct check --help`."""

    image: str
    kind: Kind
    task: Task | None
    region: Region | None
    model: Path | None
    ground_truth: Path | None
    api: Api
    budget: float
    memory: int
    gpus: Literal["auto", "none", "all"]
    quick: bool
    with_largest: bool
    keep: Path | None


def check(options: CheckOptions, say: Say) -> Report:
    """Check an image of the engine, or a tarball of one.

    Raises:
        UsageError: no engine answers, it lacks the GPUs that are asked for, or a folder to keep things in is not empty.
        InputError: the image, the model or the ground truth cannot be found or read.
        ContractError: the platform would not unpack the model or the ground truth.
        SynthCTError: the engine fails, as on a full disk.
    """
    for path in (options.model, options.ground_truth):
        if path is not None and not path.exists():
            raise InputError(f"{path}: no such file or folder; expected a folder or a tarball")
    if Path(options.image).is_dir():
        raise InputError(f"{options.image}: is a folder; expected a tarball or the name of an image")
    client = connect()
    try:
        if options.gpus == "all" and not has_gpu(client):
            raise UsageError("--gpus all: the engine has no nvidia runtime; expected one that has, or --gpus none")
        return _check(client, options, say)
    except engine_errors() as error:
        raise SynthCTError(f"{options.image}: the container engine gives up ({short_reason(error)})") from error
    finally:
        client.close()


def _check(client: DockerClient, options: CheckOptions, say: Say) -> Report:
    findings = Findings()
    path = Path(options.image)
    with ExitStack() as stack:
        image: Image | None = None
        facts: ImageFacts | None = None
        if path.is_file():
            say(f"reading {path.name}")
            archive = check_archive(path, findings)
            if archive is not None:
                facts = archive.facts
                image = _load(client, path, archive, findings, stack, say)
        else:
            image = find_image(client, options.image)
            facts = describe_image(image)
        if facts is not None:
            check_image(facts, findings)
        api = options.api if options.api != "auto" else facts.api if facts is not None else "exec"
        largest = None
        if image is not None and facts is not None and _can_run(findings):
            largest = _Session(client, image, facts, options, api, findings, say).run()
    return Report(options.image, options.kind, api, findings.all(), largest)


def _load(
    client: DockerClient,
    path: Path,
    archive: ImageArchive,
    findings: Findings,
    stack: ExitStack,
    say: Say,
) -> Image | None:
    """Load a tarball into the engine; None where that makes no sense or the engine refuses it."""
    if archive.facts.architecture != "amd64":
        return None
    say(f"loading {path.name}")
    try:
        return stack.enter_context(loaded_image(client, path, archive))
    except InputError as error:
        findings.broken("archive.readable", str(error))
        return None


def _can_run(findings: Findings) -> bool:
    broken = [finding for rule in STOPPING for finding in findings.of_rule(rule) if finding.verdict != "pass"]
    for finding in broken:
        findings.skipped("run.platform", f"not run: {finding.id} is {finding.found}")
    return not broken


@dataclass(frozen=True)
class _Session:
    """An image that can be run, and how."""

    client: DockerClient
    image: Image
    facts: ImageFacts
    options: CheckOptions
    api: str
    findings: Findings
    say: Say

    def run(self) -> LargestCase | None:
        options = self.options
        passwd = read_passwd(self.client, self.image)
        check_passwd(self.facts, passwd, self.findings)
        info = self.client.info()
        reason = out_of_reach(self.client.api.base_url, info)
        if reason is not None and self.api == "invoke":
            for rule in ("invoke.health", "run.platform", "run.strict"):
                self.findings.skipped(rule, reason)
            return None
        gpu = options.gpus == "all" or (options.gpus == "auto" and has_gpu(self.client))
        cores = core_set(int(info.get("NCPU") or 0), usable_cores() if reason is None else ())
        limits = Limits(options.memory, options.budget, gpu, _free_uid(passwd), cores)
        owner = _user_numbers(self.facts.user, passwd)
        with _work_folder(options.keep) as work:
            if options.kind == "evaluation":
                self._run_evaluation(limits, owner, work)
                return None
            return self._run_algorithm(limits, owner, work)

    def _run_algorithm(self, limits: Limits, owner: tuple[int, int], work: Path) -> LargestCase | None:
        options = self.options
        task, region = choose_task_and_region(options.task, options.region, options.model)
        self.say(f"{'GPU' if limits.gpu else 'no GPU'}, {self.api}, cases of task {task}, region {region.value}")
        with Stage(
            self.client, self.image, limits, volumes=self.facts.volumes, owner=owner, model=options.model
        ) as stage:
            keep = options.keep is not None
            checks = AlgorithmChecks(
                stage, self.findings, task, region, work, keep, options.quick, options.with_largest, self.say
            )
            return checks.run_invoke() if self.api == "invoke" else checks.run_exec()

    def _run_evaluation(self, limits: Limits, owner: tuple[int, int], work: Path) -> None:
        options = self.options
        self.say(f"{'GPU' if limits.gpu else 'no GPU'}, {self.api}, preparing the ground truth")
        truth, predictions = _ground_truth(options, work)
        with Stage(
            self.client,
            self.image,
            limits,
            volumes=self.facts.volumes,
            owner=owner,
            model=options.model,
            ground_truth=truth,
        ) as stage:
            keep = options.keep is not None
            checks = EvaluationChecks(stage, self.findings, predictions, work, keep, self.say)
            if self.api == "invoke":
                checks.run_invoke()
            else:
                checks.run_exec()


def _ground_truth(options: CheckOptions, work: Path) -> tuple[Path, Mapping[str, Path]]:
    """The ground truth as it is handed to the container, and an sCT of each of its cases."""
    given = options.ground_truth
    if given is None:
        truth = work / "ground-truth"
        return truth, make_ground_truth(truth, work / "predictions", with_settings=options.model is None)
    if given.is_dir():
        return given, make_predictions(find_truth(given), work / "predictions")
    unpacked = work / "ground-truth"
    try:
        with tarfile.open(given, "r:*") as archive:
            archive.extractall(unpacked, filter="data")
    except (OSError, EOFError, tarfile.TarError) as error:
        raise InputError(
            f"{given}: cannot be unpacked ({error}); expected a tarball that holds ct/ and mask/"
        ) from error
    return given, make_predictions(find_truth(unpacked), work / "predictions")


def _free_uid(passwd: str | None) -> int:
    """A user number that the image does not know."""
    taken = known_uids(passwd)
    return next(uid for uid in range(NOBODY, 0, -1) if uid not in taken)


def _user_numbers(user: str, passwd: str | None) -> tuple[int, int]:
    """The numbers of an image's USER and its group; 0 for what /etc/passwd does not tell."""
    name, _, group = user.partition(":")
    lines = (line.split(":") for line in (passwd or "").splitlines())
    known = next((line for line in lines if len(line) > 3 and name in (line[0], line[2])), [])
    uid, gid = known[2:4] or [name, "0"]
    gid = group if group.isdecimal() else gid
    return int(uid) if uid.isdecimal() else 0, int(gid) if gid.isdecimal() else 0


@contextmanager
def _work_folder(keep: Path | None) -> Iterator[Path]:
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="synthct-check-") as folder:
            yield Path(folder)
        return
    if keep.exists() and (not keep.is_dir() or any(keep.iterdir())):
        raise UsageError(f"--keep {keep}: is not empty; expected a new folder")
    try:
        keep.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{keep}: cannot be made ({error.strerror}); expected a new folder") from error
    yield keep
