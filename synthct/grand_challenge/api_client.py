"""The way to the platform's API: the token, an open gcapi client, and its errors in plain words (CONTRACT 2.9)."""

from __future__ import annotations

import logging
import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from synthct.errors import InputError, SynthCTError, UsageError

if TYPE_CHECKING:
    import httpx
    from gcapi import Client
    from gcapi.retries import SelectiveBackoffStrategy

__all__ = ["DEFAULT_URL", "UnreachableError", "open_client", "parse_url", "plain_errors", "read_token"]

DEFAULT_URL = "https://grand-challenge.org/api/v1/"
TOKEN_VARIABLE = "GRAND_CHALLENGE_AUTHORIZATION"  # noqa: S105  # the name of a variable, no secret
WHERE_TO_MAKE_ONE = "make one on grand-challenge.org under Your Profile, Manage API Tokens"

TIMEOUT = 30.0
"""Seconds without a byte after which a request has failed."""
RETRIES = 8
BACKOFF = 0.1
RETRY_SECONDS = 30.0
"""How long all retries of one request may pause together: a Retry-After header could ask for hours."""
SHOWN = 200
"""Letters of the platform's own words that a message repeats."""


class UnreachableError(SynthCTError):
    """The platform does not answer, or answers that it cannot do so now."""


def parse_url(text: str) -> str:
    """Return the API's address with a slash at its end.

    Raises:
        UsageError: it is no https address; the token would go over the wire readable by all.
    """
    try:
        parts = urlsplit(text)
        _ = parts.port  # read for its check
    except ValueError as error:
        raise UsageError(f"--url '{text}' is no address ({error}); expected one like {DEFAULT_URL}") from error
    if parts.scheme != "https" or not parts.hostname or parts.query or parts.fragment or parts.username is not None:
        raise UsageError(f"--url '{text}' is no plain https address; expected one like {DEFAULT_URL}")
    return text.rstrip("/") + "/"


def read_token(path: Path | None = None) -> str:
    """Read the personal token: from a file that holds nothing else, or from GRAND_CHALLENGE_AUTHORIZATION.

    Raises:
        UsageError: there is none, or it is no single word of plain letters. The message never repeats it.
        InputError: the file cannot be read.
    """
    if path is None:
        source, text = f"${TOKEN_VARIABLE}", os.environ.get(TOKEN_VARIABLE, "")
    else:
        try:
            source, text = str(path), path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "is no text"
            raise InputError(f"{path}: cannot be read ({reason}); expected a file with a token") from error
    words = text.split()
    if not words:
        raise UsageError(f"{source} holds no token; expected one there or in --token-file: {WHERE_TO_MAKE_ONE}")
    if len(words) == 2 and words[0].casefold() == "bearer":
        words = words[1:]
    # Anything else would end in an error of the HTTP library that repeats the header, token and all.
    if len(words) != 1 or not (words[0].isascii() and words[0].isprintable()):
        raise UsageError(f"{source} holds no token but {len(words)} words; expected one word of plain letters")
    return words[0]


@contextmanager
def open_client(token: str, url: str, ca_certificate: Path | None = None) -> Iterator[Client]:
    """Open a gcapi client; at the start it asks the platform whether its release is still supported.

    Args:
        token: as `read_token` returns it.
        url: as `parse_url` returns it.
        ca_certificate: PEM file that is trusted besides the system's, for an instance of one's own.

    Raises:
        InputError: the certificate cannot be read.
        UnreachableError: the platform does not answer.
        SynthCTError: it refuses this release, or is no Grand Challenge.
    """
    from gcapi import Client
    from gcapi.check_version import UnsupportedVersionError

    logging.getLogger("gcapi").addHandler(logging.NullHandler())  # what it logs becomes an error, or was a retry
    verify = _trust(ca_certificate) if ca_certificate is not None else True
    with plain_errors(url, missing=f"{url} is no Grand Challenge API; expected one like {DEFAULT_URL}"):
        try:
            client = Client(token=token, base_url=url, verify=verify, timeout=TIMEOUT, retry_strategy=_retries)
        except UnsupportedVersionError as error:
            raise SynthCTError(f"{url}: no longer takes this gcapi; expected a newer release of it") from error
    with client:
        yield client


@contextmanager
def plain_errors(url: str, *, missing: str) -> Iterator[None]:
    """Turn what gcapi and httpx raise into one line of ours.

    Args:
        url: the API's.
        missing: what to say where the platform knows no such thing (404, an empty list).

    Raises:
        UsageError: the thing is missing.
        UnreachableError: no answer, or a server error after all retries.
        SynthCTError: the platform refuses; its own words stand in the message.
    """
    import httpx
    from gcapi.exceptions import GCAPIError, ObjectNotFound

    site = urlsplit(url).netloc
    try:
        yield
    except ObjectNotFound as error:
        raise UsageError(missing) from error
    except httpx.HTTPStatusError as error:
        raise _refusal(error.response, site, missing) from error
    except httpx.RequestError as error:
        reason = str(error) or type(error).__name__
        raise UnreachableError(f"{site} does not answer ({reason}); expected a platform at {url}") from error
    except (GCAPIError, LookupError, RuntimeError, TypeError, ValueError) as error:
        # gcapi's models are strict: a server that is another, or much newer, ends here.
        reason = f"{type(error).__name__}: {error}"[:SHOWN]
        raise SynthCTError(f"{site} answers what gcapi does not understand ({reason})") from error


def _refusal(response: httpx.Response, site: str, missing: str) -> SynthCTError:
    code = response.status_code
    told = _words(response)
    if code == 404:
        return UsageError(missing)
    if code in (401, 403):
        return SynthCTError(f"{site} refuses the token ({code}{told}); expected a valid one: {WHERE_TO_MAKE_ONE}")
    if code >= 500 or code == 429:
        return UnreachableError(f"{site} cannot answer now ({code}{told}); expected it to work later")
    if "already exists" in told:
        known = "each job is run once; expected another case or image, or --job PK with the key of the earlier job"
        return SynthCTError(f"{site} has a job of this image with the same inputs ({code}{told}); {known}")
    return SynthCTError(f"{site} refuses the request ({code}{told})")


def _words(response: httpx.Response) -> str:
    """The texts in a JSON answer, behind a colon; empty for a page."""
    try:
        texts = list(_texts(response.json()))
    except (ValueError, RecursionError):
        return ""
    return f": {' '.join(texts)}"[:SHOWN] if texts else ""


def _texts(content: object) -> Iterator[str]:
    if isinstance(content, str):
        yield content
    elif isinstance(content, dict | list):
        for part in content.values() if isinstance(content, dict) else content:
            yield from _texts(part)


def _trust(ca_certificate: Path) -> ssl.SSLContext:
    context = ssl.create_default_context()
    try:
        context.load_verify_locations(cafile=ca_certificate)
    except OSError as error:  # of which ssl.SSLError is one
        reason = error.strerror or type(error).__name__
        raise InputError(f"{ca_certificate}: cannot be read ({reason}); expected a certificate in PEM") from error
    return context


def _retries() -> SelectiveBackoffStrategy:
    """Make gcapi's own retries of one request, ended where the pauses grow too long."""
    from gcapi.retries import SelectiveBackoffStrategy

    strategy = SelectiveBackoffStrategy(backoff_factor=BACKOFF, maximum_number_of_retries=RETRIES)
    usual = strategy.get_delay
    paused = 0.0

    def get_delay(response: httpx.Response) -> float | None:
        nonlocal paused
        delay: float | None = usual(response)
        if delay is None or paused + delay > RETRY_SECONDS:
            return None
        paused += delay
        return delay

    strategy.get_delay = get_delay
    return strategy
