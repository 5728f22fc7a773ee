"""Submissions of an algorithm phase on disk, written here and not by the code under test."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

__all__ = ["SCT_FOLDER", "entry", "forge_job", "save_jobs", "serializer_job"]

SCT_FOLDER = "output/images/synthetic-ct"
BOTH = ("socket", "interface")


def entry(slug: str, path: Any, *, name: Any = None, value: Any = None, keys: tuple[str, ...] = BOTH) -> dict[str, Any]:
    """One socket value under the given keys; an image where it has a name."""
    image = {"pk": "0b6f1d8e-4a53-4c1f-9d51-2f0c6f6f9a10", "name": name} if name is not None else None
    made: dict[str, Any] = {key: {"slug": slug, "relative_path": path} for key in keys}
    return {**made, "image": image, "value": value, "file": None, "pk": 7}


def forge_job(pk: Any, case: str, *, keys: tuple[str, ...] = ("interface",), **changes: Any) -> dict[str, Any]:
    """The least that a job has: pk, inputs, outputs, status; each of `changes` replaces one of them."""
    return {
        "pk": pk,
        "inputs": [
            entry("region", "region.json", value="Abdomen", keys=keys),
            entry("body", "images/body", name=f"mask_{case}.mha", keys=keys),
            entry("mri-image", "images/mri", name=f"mr_{case}.mha", keys=keys),
        ],
        "outputs": [entry("synthetic-ct-image", "images/synthetic-ct", name="the sct.mha", keys=keys)],
        "status": "Succeeded",
        **changes,
    }


def serializer_job(pk: str, case: str) -> dict[str, Any]:
    """A job with every key that the platform's serializer writes."""
    job = forge_job(pk, case, keys=BOTH)
    for value in job["inputs"] + job["outputs"]:
        value["socket"] = value["interface"] = {
            "title": "A socket", "description": "", "kind": "Image", "pk": 5, "default_value": None,
            "super_kind": "Value" if value["image"] is None else "Image", "overlay_segments": [],
            "look_up_table": None, **value["socket"],
        }  # fmt: skip
    return {
        **job,
        "url": f"https://example.org/jobs/{pk}/",
        "api_url": f"https://example.org/api/v1/algorithms/jobs/{pk}/",
        "algorithm_image": "https://example.org/api/v1/algorithms/images/1/",
        "hanging_protocol": None,
        "optional_hanging_protocols": [],
        "view_content": {"main": []},
        "exec_duration": "PT22M17S",
        "invoke_duration": None,
    }


def save_jobs(root: Path, *jobs: Any, images: bool = True) -> Path:
    """Write predictions.json and, for each job with a plain pk, one file named by a uuid; no voxel is in it."""
    root.mkdir(parents=True, exist_ok=True)
    for job in jobs:
        if images and isinstance(job, dict) and isinstance(job.get("pk"), str) and "/" not in job["pk"]:
            folder = root / job["pk"] / SCT_FOLDER
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "5f4dcc3b-5aa7-45d6-8d83-27deb882cf99.mha").write_bytes(b"no voxel is read here")
    path = root / "predictions.json"
    path.write_text(json.dumps(list(jobs)), encoding="utf-8")
    return path
