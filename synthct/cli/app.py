"""Finding sub-commands, running one, and turning what goes wrong into one line and an exit code."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.metadata import EntryPoint, entry_points, version
from typing import Annotated

import typer

from synthct.cli.console import say, show_warnings, tell
from synthct.failure import describe_failure, show_traceback_if_asked

__all__ = ["build_app", "main"]

COMMAND_GROUP = "synthct.commands"
"""Entry points of this group are sub-commands: name = function with typer annotations, or a typer.Typer of several."""

HELP = "Synthetic CT from MR and cone-beam CT: predict, train, evaluate, rank. Not a medical device."


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave by its exit code; the last line on stderr says why it failed."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    show_warnings()
    try:
        build_app(words)(words, prog_name="synthct")
    except KeyboardInterrupt:
        _leave("interrupted", 130)
    except Exception as error:  # noqa: BLE001  # the last line of stderr is all a platform user sees
        show_traceback_if_asked(error)
        _leave(*describe_failure(error))


def build_app(words: Sequence[str]) -> typer.Typer:
    """Build the application with the one sub-command that `words` ask for, or with all of them where none is named.

    Loading one keeps `synthct info` quick and lets an image that lacks a package run the commands of the others.
    """
    commands = {point.name: point for point in entry_points(group=COMMAND_GROUP)}
    wanted = next((word for word in words if not word.startswith("-")), None)
    chosen: list[EntryPoint] = [commands[wanted]] if wanted in commands else list(commands.values())
    app = typer.Typer(
        help=HELP,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,  # rich ends a usage error with the edge of a box instead of the reason
    )

    @app.callback(invoke_without_command=True)
    def _root(
        show_version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False,
    ) -> None:
        if show_version:
            tell(f"synthct {version('synthct')}")
            raise typer.Exit

    for point in sorted(chosen, key=lambda point: point.name):
        loaded = point.load()
        if isinstance(loaded, typer.Typer):
            app.add_typer(loaded, name=point.name)
        else:
            app.command(point.name)(loaded)
    return app


def _leave(message: str, code: int) -> None:
    say(f"error: {message}")
    sys.exit(code)
