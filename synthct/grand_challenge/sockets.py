"""Socket values: the entries of inputs.json and of the jobs in predictions.json (CONTRACT 2.3)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["SocketValue", "image_name", "is_image", "socket_of", "socket_value"]

SocketValue = dict[str, Any]


def socket_of(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return an entry's socket description, under its new key `socket` or its old one `interface`; else empty."""
    socket = entry.get("socket") or entry.get("interface")
    return socket if isinstance(socket, Mapping) else {}


def image_name(entry: Mapping[str, Any]) -> str | None:
    """Return the upload name of an image entry; None where it is no image or its name is no text."""
    image = entry.get("image")
    name = image.get("name") if isinstance(image, Mapping) else None
    return name if isinstance(name, str) else None


def is_image(entry: Mapping[str, Any]) -> bool:
    """Tell whether an entry is an image, by any of the three things that say so."""
    socket = socket_of(entry)
    path = socket.get("relative_path")
    by_path = isinstance(path, str) and path.startswith("images/")
    return isinstance(entry.get("image"), Mapping) or socket.get("super_kind") == "Image" or by_path


def socket_value(
    slug: str,
    super_kind: str,
    relative_path: str,
    number: int,
    *,
    image: dict[str, str] | None = None,
    value: str | None = None,
) -> SocketValue:
    """Make an entry with both keys, so that readers of either generation find it.

    Args:
        slug: name of the socket.
        super_kind: Image, File or Value.
        relative_path: where it lies below /input or /output.
        number: the entry's own, told apart from those beside it.
        image: pk (a uuid) and upload name, of an image.
        value: of a value.
    """
    socket = {"slug": slug, "super_kind": super_kind, "relative_path": relative_path}
    return {"socket": socket, "interface": socket, "image": image, "file": None, "value": value, "pk": 100 + number}
