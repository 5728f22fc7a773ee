"""Trying an algorithm out on the platform: its sockets, one job, and the sCT that the job made (CONTRACT 2.3, 2.9)."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from synthct.anatomy import Task
from synthct.dataset import CaseFiles, mask_file
from synthct.errors import ContractError, InputError, SynthCTError, UsageError
from synthct.files import staged_file
from synthct.grand_challenge.api_client import UnreachableError, open_client, plain_errors
from synthct.volume import Volume, read_volume

if TYPE_CHECKING:
    from gcapi import Client
    from gcapi.models import Algorithm, ComponentInterface, HyperlinkedJob

__all__ = ["Platform", "Sockets", "connect", "duration_text", "match_sockets"]

SCT_PATH = "images/synthetic-ct"
MASK_PATH = "images/body"
REGION_PATH = "region.json"
TASK_WORDS = {Task.MRI: {"mri", "mr"}, Task.CBCT: {"cbct"}}
MASK_WORDS = {"body", "mask", "outline"}
REGION_WORDS = {"region"}

SUCCEEDED = "Succeeded"
ENDED_BADLY = ("Failed", "Cancelled")

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 15.0
"""Seconds between two looks at a job; each is half as long again as the one before."""
PATIENCE = 60.0
"""Seconds for which the platform may be out of reach while a job runs there."""


@dataclass(frozen=True)
class Sockets:
    """The slugs of the inputs that one interface of an algorithm takes; `region` is None where it wants none."""

    image: str
    mask: str
    region: str | None


def match_sockets(algorithm: Algorithm, task: Task, *, with_region: bool) -> Sockets:
    """Pick the interface that takes a case: its image, the body mask and, where it wants one, the region.

    Sockets are told by `relative_path`, then by the words of their slug: SynthRAD's slugs are only partly known
    (CONTRACT 2.3).

    Args:
        algorithm: as the platform describes it, with `slug` and `interfaces`.
        task: of the case.
        with_region: whether the case's region is known. If so, an interface with a region goes before one without.

    Raises:
        InputError: no interface fits; the message lists the sockets that were found.
        UsageError: the only one that fits wants a region, and that is unknown.
    """
    found = [sockets for interface in algorithm.interfaces if (sockets := _sockets(interface.inputs, task)) is not None]
    if not found:
        offers = " or ".join(_describe(interface.inputs) for interface in algorithm.interfaces) or "no interface"
        wanted = f"images/{task}, {MASK_PATH} and, at will, {REGION_PATH}"
        raise InputError(f"{algorithm.slug}: no interface takes a case; found {offers}; expected {wanted}")
    found.sort(key=lambda sockets: (sockets.region is not None) != with_region)
    if found[0].region is not None and not with_region:
        raise UsageError(f"{algorithm.slug} wants a region, and the case's is unknown; expected --region")
    return found[0]


def _sockets(inputs: Sequence[ComponentInterface], task: Task) -> Sockets | None:
    roles: dict[str, str] = {}
    for socket in inputs:
        role = _role(socket, task)
        if role is None or role in roles:
            return None
        roles[role] = socket.slug
    if not roles.keys() >= {"image", "mask"}:
        return None
    return Sockets(roles["image"], roles["mask"], roles.get("region"))


def _role(socket: ComponentInterface, task: Task) -> str | None:
    """What of a case goes into a socket; None where nothing does."""
    is_image = socket.super_kind.casefold() == "image"
    if is_image and "dicom" in socket.kind.casefold():
        return None  # the platform takes nothing but DICOM files there
    path = PurePosixPath(socket.relative_path or "").as_posix()
    known = {f"images/{other}": "image" if other is task else None for other in Task}
    known |= {MASK_PATH: "mask", REGION_PATH: "region"}
    if path in known:
        return known[path] if is_image == (path != REGION_PATH) else None
    words = set(re.split(r"[^a-z0-9]+", socket.slug.casefold()))
    if not is_image:
        return "region" if words & REGION_WORDS else None
    if words & MASK_WORDS:
        return "mask"
    return "image" if words & TASK_WORDS[task] else None


def _describe(inputs: Sequence[ComponentInterface]) -> str:
    return "[" + ", ".join(f"{socket.slug} ({socket.relative_path}, {socket.super_kind})" for socket in inputs) + "]"


@contextmanager
def connect(token: str, url: str, ca_certificate: Path | None = None) -> Iterator[Platform]:
    """Open a connection to the platform and close it at the end.

    Raises:
        SynthCTError: it cannot be reached, or refuses this release of gcapi.
        InputError: the certificate cannot be read.
    """
    with open_client(token, url, ca_certificate) as client:
        yield Platform(client, url)


class Platform:
    """Grand Challenge, seen through gcapi. What goes wrong there becomes one line; the token never stands in it."""

    def __init__(self, client: Client, url: str) -> None:
        self._client = client
        self._url = url

    def algorithm(self, slug: str) -> Algorithm:
        """Return the platform's description of an algorithm.

        Raises:
            UsageError: there is none of that name that the token may see.
            SynthCTError: the platform refuses the token or does not answer.
        """
        expected = f"expected the last part of its address {self._site}/algorithms/SLUG/, and the right to use it"
        with plain_errors(self._url, missing=f"algorithm '{slug}' is unknown to this token's user; {expected}"):
            return self._client.algorithms.detail(slug=slug)

    def start(self, algorithm: Algorithm, files: CaseFiles, sockets: Sockets) -> str:
        """Send a case and start a job of an algorithm with it; the files go as they are.

        Returns:
            The job's pk.

        Raises:
            SynthCTError: the platform refuses the job: there is one with the same inputs, no credits are left.
        """
        from gcapi import SocketValueSpec

        inputs = [
            SocketValueSpec(socket_slug=sockets.image, file=files.image),
            SocketValueSpec(socket_slug=sockets.mask, file=mask_file(files)),
        ]
        if sockets.region is not None and files.region is not None:
            inputs.append(SocketValueSpec(socket_slug=sockets.region, value=files.region.title))
        with plain_errors(self._url, missing=f"a socket of {algorithm.slug} is unknown to the platform"):
            try:
                return str(self._client.start_algorithm_job(algorithm_slug=algorithm.slug, inputs=inputs).pk)
            except KeyError as error:  # gcapi looks for the ETag of a part without asking whether it was taken
                raise SynthCTError(f"{self._site}: its storage refused a file (no {error}); no job started") from error

    def wait(
        self,
        pk: str,
        *,
        of: Algorithm,
        limit: float,
        again: str,
        notice: Callable[[str, float], None],
        patience: float = PATIENCE,
    ) -> HyperlinkedJob:
        """Look at a job until it has finished.

        Args:
            pk: the job's.
            of: whose job it must be.
            limit: seconds to wait; 0 looks once.
            again: the command that fetches the job later, for messages.
            notice: called with each new status and the seconds since the first look.
            patience: seconds for which the platform may be out of reach.

        Returns:
            The platform's description of the succeeded job.

        Raises:
            UsageError: there is no such job, or it is another algorithm's.
            SynthCTError: the job failed, the time is over, or the platform stays out of reach.
        """
        began = heard = time.monotonic()
        status, pause = "unknown", FIRST_PAUSE
        while True:
            try:
                with plain_errors(self._url, missing=f"job '{pk}' is unknown to this token's user"):
                    job = self._client.algorithm_jobs.detail(pk)
            except UnreachableError as error:
                if time.monotonic() - heard > patience:
                    raise UnreachableError(f"{error}; job {pk} goes on; fetch it with: {again}") from error
            else:
                heard = time.monotonic()
                if job.algorithm != of.api_url:
                    raise UsageError(f"job {pk} is of another algorithm ({job.algorithm}); expected {of.api_url}")
                if job.status != status:
                    status = job.status
                    notice(status, heard - began)
                if status == SUCCEEDED:
                    return job
                if status in ENDED_BADLY:
                    # The API's job has no field for the error: it is shown on the job's page only.
                    raise SynthCTError(f"job {pk} ended as {status}{duration_text(job)}; its error stands at {job.url}")
            left = limit - (time.monotonic() - began)
            if left <= 0:
                waited = f"job {pk} is {status} after {limit:g} s and goes on"
                raise SynthCTError(f"{waited}; fetch it with: {again}")
            time.sleep(min(pause, left))
            pause = min(1.5 * pause, LONGEST_PAUSE)

    def download(self, job: HyperlinkedJob, target: Path) -> Volume:
        """Bring the sCT of a succeeded job here.

        Args:
            job: as `wait` returns it.
            target: the .mha to write.

        Returns:
            The sCT, with `target` as its path.

        Raises:
            ContractError: the job has not one sCT, or it is no sound .mha; nothing is written.
            OutputError: the target cannot be written.
        """
        address = self._sct_file(job)
        with plain_errors(self._url, missing=f"{job.url}: its sCT is gone"):
            content = self._client(method="GET", url=address, follow_redirects=True).content
        with staged_file(target) as staged:
            staged.write_bytes(content)
            try:
                volume = read_volume(staged)
            except InputError as error:
                reason = str(error).replace(str(staged), "it")
                raise ContractError(f"{job.url}: its sCT cannot be read: {reason}") from error
        return Volume(volume.voxels, volume.geometry, target)

    def _sct_file(self, job: HyperlinkedJob) -> str:
        """Address of the job's sCT."""
        images = [value for value in job.outputs if value.image is not None]
        named = [value for value in images if PurePosixPath(value.socket.relative_path).as_posix() == SCT_PATH]
        chosen = named or images
        if len(chosen) != 1:
            found = ", ".join(f"{value.socket.slug} ({value.socket.relative_path})" for value in job.outputs) or "none"
            raise ContractError(f"{job.url}: has outputs {found}; expected one image in {SCT_PATH}")
        with plain_errors(self._url, missing=f"{job.url}: its sCT is gone"):
            image = self._client.images.detail(api_url=chosen[0].image)
        files = [file.file for file in image.files]
        volumes = [str(file) for file in files if urlsplit(file).path.casefold().endswith(".mha")]
        if len(volumes) != 1:
            found = ", ".join(PurePosixPath(urlsplit(file).path).name for file in files) or "no file"
            raise ContractError(f"{job.url}: its sCT is {found}; expected one .mha")
        return volumes[0]

    @property
    def _site(self) -> str:
        return "https://" + urlsplit(self._url).netloc


def duration_text(job: HyperlinkedJob) -> str:
    """Say how long the platform ran the algorithm, in its own words; empty where it tells nothing."""
    told = [f"{name} {value}" for name in ("exec", "invoke") if (value := getattr(job, f"{name}_duration"))]
    return f" ({', '.join(told)})" if told else ""
