"""`synthct check`: what the platform would say of an image, before it is uploaded."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Literal, NoReturn

import typer

from synthct.anatomy import Task, parse_region
from synthct.cli.console import say, tell
from synthct.errors import ContractError, UsageError

if TYPE_CHECKING:
    from synthct.grand_challenge.sandbox import Report

__all__ = ["check"]

BUDGETS = {"algorithm": 600.0, "evaluation": 3600.0}
MEMORIES = {"algorithm": "16g", "evaluation": "8g"}
LONGEST_BUDGET = 7 * 24 * 3600
"""A week, in seconds: longer than any phase allows."""
ENDING = (signal.SIGTERM, signal.SIGHUP)


def check(
    image: Annotated[
        str, typer.Argument(metavar="IMAGE|TARBALL", help="Tag or id of an image, or docker save's file.")
    ],
    kind: Annotated[Literal["algorithm", "evaluation"], typer.Option(help="What the image does.")] = "algorithm",
    task: Annotated[Task | None, typer.Option(help="Which inputs an algorithm gets; by default the model's.")] = None,
    region: Annotated[
        str | None, typer.Option(metavar="AB|HN|TH|B|P|EX", help="Body of the cases; by default the model's, else AB.")
    ] = None,
    model: Annotated[
        Path | None, typer.Option(metavar="DIR|TARBALL", help="Model, put in place at /opt/ml/model.")
    ] = None,
    ground_truth: Annotated[
        Path | None, typer.Option(metavar="DIR|TARBALL", help="An evaluation's; by default three phantoms.")
    ] = None,
    api: Annotated[
        Literal["auto", "exec", "invoke"], typer.Option(help="How to call it; auto: by its label.")
    ] = "auto",
    budget: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="Limit of one run (600; an evaluation 3600).")
    ] = None,
    memory: Annotated[str | None, typer.Option(metavar="SIZE", help="Limit of a run (16g; an evaluation 8g).")] = None,
    gpus: Annotated[
        Literal["auto", "none", "all"], typer.Option(help="auto: all where the engine has nvidia's.")
    ] = "auto",
    skip_largest: Annotated[
        bool, typer.Option("--skip-largest", help="Leave out the case of 512 x 512 x 200.")
    ] = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="An algorithm's plain case and failures only: no odd and no largest case.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    keep: Annotated[Path | None, typer.Option(metavar="DIR", help="Keep inputs and outputs of all runs here.")] = None,
) -> None:
    """Run an image as Grand Challenge would, and say what would fail or be refused.

    The image's config is judged, then it is run without network, rights and root on phantom cases, plain and odd, once
    as on the platform and again with a read-only root and an unknown user. The engine is the one that DOCKER_HOST
    names. Exit code 6: something fails or would be refused.
    """
    from synthct.grand_challenge.sandbox import CheckOptions, Verdict, parse_memory
    from synthct.grand_challenge.sandbox import check as run_check

    if ground_truth is not None and kind != "evaluation":
        raise UsageError(f"--ground-truth {ground_truth} is for --kind evaluation; expected it there only")
    if budget is not None and not 1 <= budget <= LONGEST_BUDGET:
        raise UsageError(f"--budget {budget:g} cannot be meant; expected 1 to {LONGEST_BUDGET} seconds")
    body = parse_region(region) if region is not None else None
    if region is not None and body is None:
        raise UsageError(f"--region {region} is not known; expected AB, HN, TH, B, P or EX")
    options = CheckOptions(
        image=image,
        kind=kind,
        task=task,
        region=body,
        model=model,
        ground_truth=ground_truth,
        api=api,
        budget=budget if budget is not None else BUDGETS[kind],
        memory=parse_memory(memory if memory is not None else MEMORIES[kind]),
        gpus=gpus,
        quick=quick,
        with_largest=not skip_largest,
        keep=keep,
    )
    with _unwound_by_signals():
        report = run_check(options, say)
    if as_json:
        tell(json.dumps(report.to_json(), indent=2, allow_nan=False))
    else:
        _show(report)
    if report.verdict is not Verdict.PASS:
        raise ContractError(report.summary())
    say(report.summary())


class _Ended(BaseException):
    """A signal that ends the command."""

    def __init__(self, number: signal.Signals) -> None:
        super().__init__(number)
        self.number = number


@contextmanager
def _unwound_by_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the block by an exception, as Ctrl-C does, so that what it made is removed.

    A further one is ignored until the process is gone, so that it ends neither the removal nor the last line and the
    exit code; Ctrl-C ends the removal.
    """

    def end(number: int, frame: FrameType | None) -> None:
        for each in ENDING:
            signal.signal(each, signal.SIG_IGN)
        raise _Ended(signal.Signals(number))

    # nohup has SIGHUP ignored, and that must stay.
    before = {each: handler for each in ENDING if (handler := signal.getsignal(each)) is not signal.SIG_IGN}
    try:
        for each in before:
            signal.signal(each, end)
        yield
    except _Ended as error:
        before.clear()
        _leave(f"ended by {error.number.name}", 128 + error.number)
    except KeyboardInterrupt:
        _leave("interrupted", 128 + signal.SIGINT)
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _leave(reason: str, code: int) -> NoReturn:
    with suppress(OSError):  # the terminal may be gone
        say(f"error: {reason}")
    raise SystemExit(code)


def _show(report: Report) -> None:
    from synthct.grand_challenge.sandbox import HEADINGS, Verdict, table_lines, table_rows

    if not sys.stdout.isatty():
        tell("\n".join(table_lines(report)))
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    colours = {Verdict.PASS: "green", Verdict.FAIL: "red", Verdict.REFUSED: "bold red", Verdict.NOT_CHECKED: "yellow"}
    table = Table(*HEADINGS)
    for verdict, *cells in table_rows(report):
        colour = colours[Verdict(verdict)]
        table.add_row(f"[{colour}]{verdict}[/]", *(escape(cell) for cell in cells))
    Console().print(table)
