"""What `synthct run` needs from a container's work, whoever does it."""

from __future__ import annotations

from typing import Protocol

__all__ = ["INVOKE_PORT", "RUNNER_GROUP", "Runner"]

RUNNER_GROUP = "synthct.runners"
"""Entry points `algorithm` and `evaluation`: each is called with the list of names and makes a Runner."""
INVOKE_PORT = 4743
"""Where the platform calls a container that serves (CONTRACT 2.2)."""


class Runner(Protocol):
    """The work of a container: prepared once, run once (exec) or several times (invoke)."""

    def prepare(self) -> None:
        """Load what can be loaded before there is an input; /input and /output must not be touched (CONTRACT 2.2)."""
        ...

    def run(self) -> None:
        """Do one platform run, /input to /output.

        It may be called again with fresh folders, and without `prepare` before it. What belongs to one case, GPU
        memory with it, is freed when it returns or raises.

        Raises:
            SynthCTError: whatever went wrong; nothing lies below /output/images then.
        """
        ...
