"""`synthct run`: what an image's ENTRYPOINT calls. The package that can do it is found by entry point."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Annotated, Literal

import typer

from synthct.errors import UsageError

__all__ = ["run"]

RUNNER_GROUP = "synthct.runners"
"""Entry points `algorithm` and `evaluation`: functions that take the list of names."""


def run(
    names: Annotated[list[str], typer.Argument(metavar="ALGORITHM...|evaluation", help="What to run.")],
    api: Annotated[Literal["exec", "invoke"], typer.Option(help="How the platform calls.")] = "exec",
) -> None:
    """Run as a Grand Challenge container: /input to /output."""
    if api == "invoke":
        raise UsageError("--api invoke is not built yet; expected --api exec")
    kind = "evaluation" if names == ["evaluation"] else "algorithm"
    runners = {point.name: point for point in entry_points(group=RUNNER_GROUP)}
    if kind not in runners:
        raise UsageError(f"this installation cannot run {' '.join(names)}; expected the package that brings it")
    runners[kind].load()(names)
