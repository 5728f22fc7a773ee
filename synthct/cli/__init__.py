"""The command `synthct`. Sub-commands are found by entry point, so this folder imports no upper floor."""

from synthct.cli.app import main

__all__ = ["main"]
