"""The container engine of this machine, through Docker's SDK, and the image to be checked in it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from synthct.errors import InputError, UsageError
from synthct.grand_challenge.sandbox.archive import ImageArchive
from synthct.grand_challenge.sandbox.image import ImageFacts

if TYPE_CHECKING:
    from docker.client import DockerClient
    from docker.models.images import Image

__all__ = ["connect", "describe_image", "engine_errors", "find_image", "has_gpu", "loaded_image", "read_passwd"]

ANSWER_LIMIT = 20
"""Seconds in which an engine must show that it is there."""
CALL_LIMIT = 1800
"""Seconds that a later call may be silent: loading a tarball of 10 GB is. Waiting for a run has its own limit."""
PASSWD_LIMIT = 1 << 20
LINKS_LIMIT = 8
DEFAULT_HOST = "unix:///var/run/docker.sock"


def connect() -> DockerClient:
    """Reach the engine: DOCKER_HOST and its companions, else the local socket.

    Raises:
        UsageError: the SDK is not installed, or no engine answers.
    """
    try:
        from docker.client import from_env
        from docker.errors import DockerException
    except ModuleNotFoundError as error:
        raise UsageError(
            "synthct check needs Docker's SDK for Python; expected pip install -e '.[platform]' in its folder"
        ) from error
    host = os.environ.get("DOCKER_HOST", DEFAULT_HOST)
    try:
        client = from_env(timeout=ANSWER_LIMIT)
        client.ping()
        client.api.timeout = CALL_LIMIT
    except (DockerException, OSError, ValueError) as error:
        reason = str(error).replace("Error while fetching server API version: ", "")
        raise UsageError(f"{host}: no container engine answers ({reason}); expected one that runs") from error
    return client


def engine_errors() -> tuple[type[Exception], ...]:
    """Return the exceptions by which the SDK says that the engine failed."""
    import requests
    from docker.errors import DockerException

    return DockerException, requests.RequestException


def has_gpu(client: DockerClient) -> bool:
    """Tell whether the engine lists an nvidia runtime, as the starter kit asks (CONTRACT 2.7)."""
    return "nvidia" in (client.info().get("Runtimes") or {})


def find_image(client: DockerClient, name: str) -> Image:
    """Find an image of the engine by name or id.

    Raises:
        InputError: there is none of that name.
    """
    from docker.errors import APIError, NullResource

    try:
        return client.images.get(name)
    except (APIError, NullResource) as error:
        raise InputError(
            f"{name}: is neither a file nor an image of the engine; expected a tarball or a tag"
        ) from error


def describe_image(image: Image) -> ImageFacts:
    """Return what the engine says of an image; its size is unpacked."""
    return ImageFacts.from_config(image.attrs, size=int(image.attrs.get("Size") or 0), compressed=False)


@contextmanager
def loaded_image(client: DockerClient, path: Path, archive: ImageArchive) -> Iterator[Image]:
    """Load a tarball for as long as the block lasts; afterwards the engine holds the images and tags it held before.

    Raises:
        InputError: the engine cannot load it.
    """
    from docker.errors import ImageLoadError, NotFound

    known = set(client.api.images(quiet=True, all=True))
    tags = {tag: _id_of_tag(client, tag) for tag in archive.tags}
    image: Image | None = None
    try:
        with path.open("rb") as stream:
            loaded = client.images.load(stream)
        if not loaded:
            raise InputError(f"{path}: the engine loads no image from it; expected a tarball of docker save")
        image = loaded[0]
        yield image
    except ImageLoadError as error:
        raise InputError(f"{path}: the engine cannot load it ({error}); expected a tarball of docker save") from error
    finally:
        for tag, before in tags.items():
            if before is not None:
                client.api.tag(before, *_split(tag))
            else:
                with suppress(NotFound):
                    client.images.remove(tag, noprune=False)
        if image is not None and image.id not in known:
            with suppress(NotFound):  # its last tag took it along
                client.images.remove(image.id, force=True)


def read_passwd(client: DockerClient, image: Image) -> str | None:
    """Read an image's /etc/passwd without running it, links inside the image followed; None where it has none."""
    from docker.errors import NotFound

    container = client.containers.create(image.id, command=["-"])
    try:
        path = PurePosixPath("/etc/passwd")
        for _ in range(LINKS_LIMIT):
            chunks, about = container.get_archive(str(path))
            if not about.get("linkTarget"):
                return _only_file(chunks) if about.get("size", 0) <= PASSWD_LIMIT else None
            path = path.parent / about["linkTarget"]
    except NotFound:
        return None
    finally:
        container.remove(force=True, v=True)
    return None


def _only_file(chunks: Iterable[bytes]) -> str | None:
    """The text of the file that a tar stream holds; None where it holds something else."""
    import io
    import tarfile

    with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as archive:
        member = archive.next()
        content = archive.extractfile(member) if member is not None and member.isreg() else None
        return content.read().decode("utf-8", errors="replace") if content is not None else None


def _id_of_tag(client: DockerClient, tag: str) -> str | None:
    from docker.errors import NotFound

    try:
        return str(client.images.get(tag).id)
    except NotFound:
        return None


def _split(tag: str) -> tuple[str, str]:
    name, _, version = tag.rpartition(":")
    return name, version
