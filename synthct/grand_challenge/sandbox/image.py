"""What an image's config says, and whether the platform takes it (CONTRACT 2.1)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from synthct.grand_challenge.sandbox.findings import Findings

__all__ = ["API_LABEL", "ImageFacts", "check_image", "check_passwd", "known_uids"]

API_LABEL = "org.grand-challenge.api-method"
API_METHODS = ("exec", "invoke")
PLAIN_USER = re.compile(r"(?P<user>[A-Za-z][A-Za-z0-9._-]*|[0-9]+)(?::(?P<group>[A-Za-z][A-Za-z0-9._-]*|[0-9]+))?")
SIZE_LIMIT = 10_000_000_000
STRIPPED = "GRAND_CHALLENGE_"


@dataclass(frozen=True)
class ImageFacts:
    """An image's config, as far as the platform looks at it.

    Attributes:
        user: USER, empty where it is not set.
        architecture: such as amd64.
        label: value of the api-method label; None where it is missing.
        command: ENTRYPOINT and CMD together.
        environment: names of the ENV variables.
        volumes: VOLUME folders.
        size: bytes.
        compressed: whether the size is a tarball's.
    """

    user: str
    architecture: str
    label: str | None
    command: tuple[str, ...]
    environment: tuple[str, ...]
    volumes: tuple[str, ...]
    size: int
    compressed: bool

    @classmethod
    def from_config(cls, config: Mapping[str, Any], *, size: int, compressed: bool) -> ImageFacts:
        """Read an archive's config, or what `docker inspect` says: both have `architecture` and `config`."""
        lower = {key.casefold(): value for key, value in config.items()}
        inner = lower.get("config")
        settings: Mapping[str, Any] = inner if isinstance(inner, Mapping) else {}
        labels, volumes = settings.get("Labels"), settings.get("Volumes")
        label = labels.get(API_LABEL) if isinstance(labels, Mapping) else None
        return cls(
            user=str(settings.get("User") or ""),
            architecture=str(lower.get("architecture") or ""),
            label=str(label) if label is not None else None,
            command=(*_words(settings.get("Entrypoint")), *_words(settings.get("Cmd"))),
            environment=tuple(word.partition("=")[0] for word in _words(settings.get("Env"))),
            volumes=tuple(sorted(volumes)) if isinstance(volumes, Mapping) else (),
            size=size,
            compressed=compressed,
        )

    @property
    def api(self) -> str:
        """Return how the platform would call it: exec where the label is missing or unknown."""
        return self.label if self.label in API_METHODS else "exec"


def check_image(facts: ImageFacts, findings: Findings) -> None:
    """Judge a config; /etc/passwd is judged apart."""
    match = PLAIN_USER.fullmatch(facts.user)
    is_root = facts.user.partition(":")[0] in ("", "root", "0")
    shown = f"USER {facts.user}" if facts.user else "no USER, so root"
    findings.judge("image.user", shown, kept=match is not None and not is_root)
    findings.judge("image.architecture", facts.architecture or "none", kept=facts.architecture == "amd64")
    label = f"{API_LABEL} is {facts.label}" if facts.label is not None else "no label, so exec"
    findings.judge("image.api-method", label, kept=facts.label in (None, *API_METHODS))
    command = " ".join(facts.command)[:80]
    findings.judge("image.command", command or "neither ENTRYPOINT nor CMD", kept=bool(facts.command))
    stripped = [name for name in facts.environment if name.startswith(STRIPPED)]
    findings.judge("image.environment", ", ".join(stripped) or "none", kept=not stripped)
    size = f"{facts.size / 1e9:.2f} GB{'' if facts.compressed else ' unpacked'}"
    if facts.compressed or facts.size < SIZE_LIMIT:
        findings.judge("image.size", size, kept=facts.size < SIZE_LIMIT)
    else:
        findings.skipped("image.size", f"{size}; the tarball tells")
    if facts.volumes:
        findings.skipped("image.volumes", f"VOLUME {', '.join(facts.volumes)}")
    else:
        findings.passed("image.volumes", "none")


def check_passwd(facts: ImageFacts, passwd: str | None, findings: Findings) -> None:
    """Judge a USER that is a name: the image's /etc/passwd must know it.

    Args:
        facts: the image's.
        passwd: content of /etc/passwd; None where the image has none.
        findings: where the verdict goes.
    """
    user = facts.user.partition(":")[0]
    if not user or user.isdigit():
        findings.passed("image.passwd", f"{user or 'no USER'}: not a name")
        return
    names = {line.partition(":")[0] for line in (passwd or "").splitlines()}
    found = f"{user} is {'' if user in names else 'not '}in /etc/passwd" if passwd is not None else "no /etc/passwd"
    findings.judge("image.passwd", found, kept=user in names)


def known_uids(passwd: str | None) -> set[int]:
    """Return the user numbers of an /etc/passwd."""
    fields = (line.split(":") for line in (passwd or "").splitlines())
    return {int(parts[2]) for parts in fields if len(parts) > 2 and parts[2].isdigit()}


def _words(value: object) -> tuple[str, ...]:
    """A list of words; Docker's older configs hold one string."""
    if isinstance(value, str):
        return (value,)
    return tuple(str(word) for word in value) if isinstance(value, list) else ()
