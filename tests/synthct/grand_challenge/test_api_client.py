"""The way to the platform: the token, the address, and what answers there or does not."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from platform_server import TOKEN, PlatformServer, make_certificate, running_platform

from synthct.errors import InputError, SynthCTError, UsageError
from synthct.grand_challenge.api_client import UnreachableError, open_client, parse_url, read_token


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture
def server(certificate: tuple[Path, Path]) -> Iterator[PlatformServer]:
    with running_platform(*certificate) as running:
        yield running


def test_a_newer_gcapi_is_a_warning(server: PlatformServer, certificate: tuple[Path, Path]) -> None:
    server.latest_version = "99"
    with (
        pytest.warns(UserWarning, match="version 99 is available"),
        open_client(TOKEN, server.url, certificate[0]) as client,
    ):
        assert client.algorithms.detail(slug="our-sct").title == "Our sCT"


def test_a_platform_that_is_not_there_or_another_program(
    server: PlatformServer, certificate: tuple[Path, Path]
) -> None:
    def opened(url: str, trusted: Path | None = certificate[0]) -> None:
        with open_client(TOKEN, url, trusted):
            pytest.fail("a platform was found")

    with socket.create_server(("localhost", 0)) as silent:
        port = silent.getsockname()[1]
        began = time.monotonic()
        with pytest.raises(UnreachableError, match=f"localhost:{port} does not answer"):
            opened(f"https://localhost:{port}/api/v1/")
        assert time.monotonic() - began < 20
    with pytest.raises(UnreachableError, match="Connection refused"):
        opened(f"https://localhost:{port}/api/v1/")
    with pytest.raises(UnreachableError, match="CERTIFICATE_VERIFY_FAILED"):
        opened(server.url, None)
    with pytest.raises(UsageError, match="is no Grand Challenge API"):
        opened(f"{server.origin}/wrong/")
    server.refusals["GET /api/v1/gcapi/"] = (200, b"<html>a start page</html>")
    with pytest.raises(SynthCTError, match="gcapi does not understand"):
        opened(server.url)
    server.refusals.clear()
    server.lowest_version = "99"
    with pytest.raises(SynthCTError, match="no longer takes this gcapi"):
        opened(server.url)


@pytest.mark.parametrize(
    "text", ["http://a.org/", "a.org/api", "https://", "https://u:p@a.org/", "https://a.org:x/", ""]
)
def test_only_plain_https_addresses(text: str) -> None:
    with pytest.raises(UsageError, match="--url"):
        parse_url(text)


def test_an_address_gets_its_slash() -> None:
    assert parse_url("https://a.org/api/v1") == parse_url("https://a.org/api/v1/") == "https://a.org/api/v1/"


def test_the_token_comes_from_its_file_or_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "token"
    path.write_text("  from-file\n")
    monkeypatch.setitem(os.environ, "GRAND_CHALLENGE_AUTHORIZATION", "BEARER from-variable")
    assert (read_token(path), read_token()) == ("from-file", "from-variable")
    monkeypatch.delenv("GRAND_CHALLENGE_AUTHORIZATION")
    with pytest.raises(UsageError, match="Your Profile, Manage API Tokens"):
        read_token()
    with pytest.raises(InputError, match="cannot be read"):
        read_token(tmp_path / "none")
    for bad in ("s3cret\x01", "s3crét", "s3cret s3cret s3cret", "s3cret\nsecond"):
        path.write_text(bad)
        with pytest.raises(UsageError, match="expected one word of plain letters") as caught:
            read_token(path)
        assert "s3cr" not in str(caught.value)
