"""What every test may ask for: the folder with real data, and a clean environment."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

REPOSITORY = Path(__file__).resolve().parents[1]
OWN_VARIABLES = (
    *("GRAND_CHALLENGE_AUTHORIZATION", "GROUND_TRUTH_FOLDER", "INPUT_FOLDER", "MODEL_DIR", "NPROCS", "OUTPUT_FOLDER"),
    *("SYNTHCT_STARTER", "TASK_TYPE", "TOTALSEG_HOME_DIR", "TOTALSEG_WEIGHTS_PATH"),
)

# How fast a machine is, and what else it does, is no property of the code.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--data", metavar="DIR", default=None, help="folder with real data (else $SYNTHCT_DATA)")


@pytest.fixture(scope="session")
def data_root(pytestconfig: pytest.Config) -> Path:
    """Folder with real data: --data, then $SYNTHCT_DATA, then ../shared/data beside the repository."""
    named = pytestconfig.getoption("--data") or os.environ.get("SYNTHCT_DATA")
    folder = Path(named) if named else REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"real data are absent: {folder} is no folder (--data DIR or SYNTHCT_DATA names another)")
    return folder


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of the machine decides what a test finds."""
    for name in OWN_VARIABLES:
        monkeypatch.delenv(name, raising=False)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many tests were skipped and why, also where none was."""
    reasons: dict[str, int] = {}
    for report in terminalreporter.getreports("skipped"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        reasons[reason.removeprefix("Skipped: ")] = reasons.get(reason.removeprefix("Skipped: "), 0) + 1
    terminalreporter.write_line(f"tests skipped: {sum(reasons.values())}")
    for reason, count in sorted(reasons.items()):
        terminalreporter.write_line(f"  {count} x {reason}")
