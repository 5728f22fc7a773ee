"""`synthct try-out`: one case through an algorithm that stands on Grand Challenge, and its sCT back here."""

from __future__ import annotations

import shlex
import sys
import time
import uuid
import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from synthct.anatomy import Region, parse_region
from synthct.cli.console import say, tell
from synthct.dataset import CaseFiles, find_cases, load_case, mask_file, read_image
from synthct.errors import ContractError, InputError, SynthCTError, UsageError
from synthct.files import prepare_output_folder
from synthct.grand_challenge.api_client import DEFAULT_URL, parse_url, read_token
from synthct.grand_challenge.job import is_platform_folder, read_job
from synthct.volume import Geometry, Volume

if TYPE_CHECKING:
    from gcapi.models import Algorithm

    from synthct.grand_challenge.try_out import Platform

__all__ = ["InterruptedTryOutError", "try_out"]


class InterruptedTryOutError(SynthCTError):
    """The user ended the command; what it has started goes on."""

    exit_code: ClassVar[int] = 130


def try_out(
    algorithm: Annotated[str, typer.Argument(metavar="SLUG", help="Last part of the algorithm's address there.")],
    source: Annotated[
        Path, typer.Argument(metavar="CASE", help="Case folder of a SynthRAD data set, or a platform folder.")
    ],
    output: Annotated[Path, typer.Option(metavar="DIR", help="Folder for <id>.mha.")],
    token_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Holds the token (else $GRAND_CHALLENGE_AUTHORIZATION).")
    ] = None,
    url: Annotated[str, typer.Option(help="Where the API is.")] = DEFAULT_URL,
    ca_certificate: Annotated[
        Path | None, typer.Option(metavar="FILE", help="PEM file, trusted besides the system's.")
    ] = None,
    region: Annotated[str | None, typer.Option(help="Region of the case, whatever its id says.")] = None,
    wait: Annotated[float, typer.Option(metavar="SECONDS", min=0, help="How long to wait for the job.")] = 3600,
    job: Annotated[str | None, typer.Option(metavar="PK", help="Send nothing; fetch this earlier job.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Send the case without asking.")] = False,
) -> None:
    """Send one case to an algorithm on Grand Challenge, wait, and fetch its synthetic CT."""
    url = parse_url(url)
    token = read_token(token_file)
    if job is not None:
        job = _parse_pk(job)
    elif not yes and not sys.stdin.isatty():
        raise UsageError("the case's images leave this machine, and nobody can be asked here; expected --yes")
    files = _case(source, region)
    grid = _grid(files, sent=job is None)
    prepare_output_folder(output)

    from synthct.grand_challenge.try_out import connect, duration_text

    options: list[str | Path] = ["--output", output]
    options += ["--url", url] if url != DEFAULT_URL else []
    options += ["--ca-certificate", ca_certificate] if ca_certificate is not None else []
    options += ["--token-file", token_file] if token_file is not None else []
    began = time.monotonic()
    with connect(token, url, ca_certificate) as platform:
        about = platform.algorithm(algorithm)
        pk = job or _send(platform, about, files, url, ask=not yes)
        words = ["synthct", "try-out", algorithm, source, *options, "--job", pk]
        again = shlex.join(str(word) for word in words)
        try:
            done = platform.wait(pk, of=about, limit=wait, again=again, notice=_notice)
            sct = platform.download(done, output / f"{files.id}.mha")
        except KeyboardInterrupt as error:
            raise InterruptedTryOutError(f"interrupted; job {pk} goes on; fetch it with: {again}") from error
    tell(f"{sct.path}: sCT of {files.id} by {algorithm}")
    tell(f"{done.url}: {time.monotonic() - began:.0f} s in all{duration_text(done)}")
    _compare(sct, grid, files)


def _parse_pk(text: str) -> str:
    try:
        return str(uuid.UUID(text))
    except ValueError as error:
        raise UsageError(f"--job '{text}' is no key of a job; expected a uuid, the last part of its address") from error


def _case(source: Path, region: str | None) -> CaseFiles:
    wanted = parse_region(region) if region is not None else None
    if region is not None and wanted is None:
        raise UsageError(f"region '{region}' is unknown; expected one of {', '.join(Region)}")
    if is_platform_folder(source):
        return read_job(source, region=wanted).files
    cases = find_cases(source)
    if len(cases) != 1:
        raise InputError(f"{source}: holds {len(cases)} cases; expected the folder of one, such as {cases[0].id}")
    return replace(cases[0], region=wanted) if wanted is not None else cases[0]


def _grid(files: CaseFiles, *, sent: bool) -> Geometry:
    """The grid of the case's image. What is to be sent is read and checked first: a bad case costs credits there."""
    if not sent:
        return read_image(files.image).geometry
    for path in (files.image, mask_file(files)):
        if path.name.casefold().endswith(".mhd"):
            raise InputError(f"{path}: is one of two files; expected a format of one file, such as .mha")
    return load_case(files, with_reference=False).image.geometry


def _send(platform: Platform, about: Algorithm, files: CaseFiles, url: str, *, ask: bool) -> str:
    """Say what leaves this machine, ask, send it and start the job; return the job's pk."""
    from synthct.grand_challenge.try_out import match_sockets

    sockets = match_sockets(about, files.task, with_region=files.region is not None)
    sent = [f"{path.name} ({_size_text(path)})" for path in (files.image, mask_file(files))]
    if sockets.region is not None and files.region is not None:
        sent.append(f"the region '{files.region.title}'")
    where = f"algorithm {about.slug} ({about.title}) at {url}"
    say(f"leaving this machine, file names and headers included: {', '.join(sent)} of case {files.id}, to {where}")
    if ask and not typer.confirm("May these data be sent there?", err=True):
        raise SynthCTError("nothing was sent")
    try:
        pk = platform.start(about, files, sockets)
    except KeyboardInterrupt as error:
        raise InterruptedTryOutError(
            f"interrupted while the case was sent; whether a job was started stands at {about.url}"
        ) from error
    say(f"job {pk} is started")
    return pk


def _size_text(path: Path) -> str:
    size = path.stat().st_size
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.1f} kB"


def _notice(status: str, seconds: float) -> None:
    say(f"{status} ({seconds:.0f} s)")


def _compare(sct: Volume, grid: Geometry, files: CaseFiles) -> None:
    """Hold the sCT against its input: scoring needs equal sizes and takes the rest from the CT (CONTRACT 1.5)."""
    difference = sct.geometry.difference(grid)
    if difference is None:
        return
    text = f"{sct.path}: lies on another grid than {files.image}: {difference}"
    if sct.geometry.size != grid.size:
        raise ContractError(f"{text}; expected the input's grid")
    warnings.warn(text, stacklevel=2)
