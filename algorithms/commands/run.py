"""What `synthct run ALGORITHM` does in an image: the platform's /input to /output, one case."""

from __future__ import annotations

from collections.abc import Sequence

from synthct.cli.console import say
from synthct.dataset import load_case
from synthct.errors import UsageError
from synthct.files import prepare_output_folder
from synthct.grand_challenge.job import read_job, write_result

__all__ = ["run_algorithm"]


def run_algorithm(names: Sequence[str]) -> None:
    """Translate the platform's one case.

    Args:
        names: of the algorithms in the image; one, until routed images join (routes.json).

    Raises:
        SynthCTError: whatever went wrong; nothing lies in the output then.
    """
    from algorithms.interface import find_algorithm

    if len(names) != 1:
        raise UsageError(f"run got {len(names)} algorithms ({' '.join(names)}); expected one")
    about = find_algorithm(names[0])
    job = read_job()

    from algorithms.runtime import Runtime
    from synthct.inference.engine import choose_device

    runtime = Runtime(about, None, use_starter=False, force=False, device=choose_device("auto"))
    runtime.check([job.files])
    case = load_case(job.files, with_reference=False)
    prepare_output_folder(job.output_folder)
    say(f"{about.name}: case {case.id}, {case.task}, region {case.region or 'unknown'}, on {runtime.device}")
    prediction = runtime.predict(case, job.files, advance=_report)
    path = write_result(job, prediction.volume)
    say(f"{about.name}: wrote {path}")


def _report(done: int, total: int) -> None:
    """A plain progress line at every tenth of the windows: the platform keeps the last 500 lines only."""
    if total >= 10 and done * 10 // total > (done - 1) * 10 // total:
        say(f"window {done} of {total}")
