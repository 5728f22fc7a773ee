"""Tarballs as `docker save` writes them, made by hand: both layouts, and what breaks them."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

__all__ = ["image_config", "pack", "save_archive"]


def image_config(**settings: object) -> dict[str, Any]:
    """The config of a sound image; settings replace those below its `config`, architecture its own."""
    architecture = settings.pop("architecture", "amd64")
    inner = {"User": "someone", "Env": ["PATH=/bin"], "Entrypoint": ["/start"], "Cmd": None, "Labels": None, **settings}
    return {"architecture": architecture, "os": "linux", "config": inner, "rootfs": {"type": "layers", "diff_ids": []}}


def pack(path: Path, files: dict[str, bytes], mode: str = "w") -> Path:
    """Write a tarball of named files."""
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def save_archive(
    path: Path, *configs: dict[str, Any], layout: str = "classic", mode: str = "w", layer: bytes = b"layer"
) -> Path:
    """Write a tarball with one image per config, in the layout of Docker before 25 or after."""
    files, manifest = {}, []
    for number, config in enumerate(configs):
        content = json.dumps(config).encode()
        digest = hashlib.sha256(content).hexdigest()
        name = f"{digest}.json" if layout == "classic" else f"blobs/sha256/{digest}"
        place = f"{number}/layer.tar" if layout == "classic" else f"blobs/sha256/{hashlib.sha256(layer).hexdigest()}"
        files[place] = layer
        files[name] = content
        manifest.append({"Config": name, "RepoTags": [f"image:{number}"], "Layers": [place]})
    if layout == "oci":
        files["oci-layout"] = b'{"imageLayoutVersion": "1.0.0"}'
        files["index.json"] = b'{"schemaVersion": 2, "manifests": []}'
    files["manifest.json"] = json.dumps(manifest).encode()
    return pack(path, files, mode)
