"""The tree of exceptions, its exit codes (ARCHITECTURE), and messages of one line (CONTRACT 2.2)."""

from __future__ import annotations

import inspect

import pytest

from synthct import errors

EXIT_CODES = {
    "SynthCTError": 1,
    "UsageError": 2,
    "InputError": 3,
    "HeaderError": 3,
    "GeometryError": 3,
    "OutputError": 3,
    "WeightsError": 4,
    "MemoryLimitError": 5,
    "ContractError": 6,
    "DiskFullError": 1,
}


def test_every_class_has_its_exit_code() -> None:
    classes = {
        name: kind for name, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, BaseException)
    }
    assert {name: kind("text").exit_code for name, kind in classes.items()} == EXIT_CODES
    assert sorted(errors.__all__) == sorted(EXIT_CODES)


def test_tree() -> None:
    assert errors.SynthCTError.__mro__[1] is Exception
    for kind in (errors.HeaderError, errors.GeometryError, errors.OutputError):
        assert kind.__bases__ == (errors.InputError,)
    for kind in (
        errors.UsageError,
        errors.InputError,
        errors.WeightsError,
        errors.MemoryLimitError,
        errors.ContractError,
        errors.DiskFullError,
    ):
        assert kind.__bases__ == (errors.SynthCTError,)


@pytest.mark.parametrize("name", sorted(EXIT_CODES))
@pytest.mark.parametrize(
    "raw", ["a\nb", "a\r\nb", " a \t b\n", "a\u2028b", "a\x0bb", "a\x85b"], ids=lambda text: ascii(text)
)
def test_message_is_one_line(name: str, raw: str) -> None:
    error = getattr(errors, name)(raw)
    assert str(error) == "a b"
    assert error.args == ("a b",)
