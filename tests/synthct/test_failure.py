"""What a user sees of a failure: one line and an exit code."""

from __future__ import annotations

import pytest

from synthct.errors import ContractError, InputError, SynthCTError, WeightsError
from synthct.failure import describe_failure, show_traceback_if_asked


@pytest.mark.parametrize(
    ("error", "reason", "code"),
    [
        (SynthCTError("other"), "other", 1),
        (InputError("a.mha: is missing"), "a.mha: is missing", 3),
        (WeightsError("model.json:\n is bad"), "model.json: is bad", 4),
        (ContractError("two images"), "two images", 6),
        (MemoryError(), "the work does not fit into this machine's memory", 5),
        (ModuleNotFoundError("no", name="pandas"), "needs the package pandas; expected an installation with the", 1),
        (ZeroDivisionError("division\nby zero"), "unexpected ZeroDivisionError: division by zero (SYNTHCT_TRACE", 1),
        (KeyError(), "unexpected KeyError: no message (SYNTHCT_TRACEBACK=1 shows where)", 1),
        (SystemExit(7), "unexpected SystemExit: 7 (SYNTHCT_TRACEBACK=1 shows where)", 1),
    ],
)
def test_line_and_code(error: BaseException, reason: str, code: int) -> None:
    failure = describe_failure(error)
    assert failure.reason.startswith(reason)
    assert failure.reason.splitlines() == [failure.reason]
    assert failure.exit_code == code


def test_reader_that_got_no_memory_keeps_its_line_and_ends_in_5() -> None:
    error = InputError("a.mha: cannot be decoded (Failed to allocate memory for image.)")
    error.__cause__ = RuntimeError("ITK ERROR: Failed to allocate memory for image.")
    assert describe_failure(error) == (str(error), 5)


@pytest.mark.parametrize(
    ("asked", "error", "shown"),
    [("1", ValueError("x"), True), ("", ValueError("x"), False), ("1", InputError("x"), False)],
)
def test_traceback_where_it_is_asked_for(
    asked: str, error: Exception, shown: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SYNTHCT_TRACEBACK", asked)
    show_traceback_if_asked(error)
    assert ("ValueError: x" in capsys.readouterr().err) is shown
