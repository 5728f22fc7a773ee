"""A local HTTPS server that answers as Grand Challenge's API does, and keeps all that it was told."""

from __future__ import annotations

import json
import re
import shutil
import ssl
import subprocess
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

__all__ = ["TOKEN", "PlatformServer", "Request", "make_certificate", "running_platform", "socket_of"]

TOKEN = "a1b2c3d4e5f6"  # noqa: S105  # of a server that lives for one test
FINISHED = ("Succeeded", "Failed", "Cancelled")

Answer = tuple[int, Any]


@dataclass(frozen=True)
class Request:
    """One request as it came in."""

    method: str
    path: str
    authorization: str | None
    body: bytes


def socket_of(slug: str, relative_path: str, super_kind: str = "Image", kind: str = "MetaImage") -> dict[str, Any]:
    """Describe a socket as the API does."""
    return {
        "title": slug.title(),
        "description": "",
        "slug": slug,
        "kind": kind,
        "pk": len(slug),
        "default_value": None,
        "super_kind": super_kind,
        "relative_path": relative_path,
        "overlay_segments": None,
        "look_up_table": None,
    }


MR = socket_of("mri-image", "images/mri")
BODY = socket_of("body", "images/body")
REGION = socket_of("region", "region.json", "Value", "String")
SCT = socket_of("synthetic-ct-image", "images/synthetic-ct")


@dataclass
class PlatformServer:
    """What the platform holds, what it shall do, and what it was told.

    Attributes:
        statuses: of a job, one per look; the last one stays.
        sct: the bytes of the sCT that a job makes, and the name of its file.
        refusals: what to answer instead, by "METHOD path" as a pattern; the first that fits.
        requests: all that came in, in order.
        job_algorithm: the pk of the algorithm that jobs are said to be of, where it is not the real one.
        jobs: the inputs of each job by its pk: bytes of a file under its upload name, or a value.
    """

    port: int = 0
    interfaces: list[list[dict[str, Any]]] = field(default_factory=lambda: [[MR, BODY, REGION]])
    outputs: list[dict[str, Any]] = field(default_factory=lambda: [SCT])
    statuses: list[str] = field(default_factory=lambda: ["Queued", "Started", "Succeeded"])
    sct: bytes = b""
    sct_name: str = "output.mha"
    lowest_version: str = "0.1.0"
    latest_version: str = field(default_factory=lambda: version("gcapi"))
    refusals: dict[str, Answer] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    uploads: dict[str, tuple[str, dict[int, bytes]]] = field(default_factory=dict)
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    looks: int = 0
    job_algorithm: str = ""
    algorithm_pk: str = field(default_factory=lambda: str(uuid.uuid4()))

    @property
    def origin(self) -> str:
        return f"https://localhost:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.origin}/api/v1/"

    def told(self, method: str, pattern: str = "") -> list[Request]:
        """The requests of a method whose path holds a pattern."""
        return [request for request in self.requests if request.method == method and re.search(pattern, request.path)]

    def answer(self, request: Request) -> Answer | tuple[int, Any, dict[str, str]]:
        """Status and content: JSON, or bytes; and more headers."""
        for pattern, refusal in self.refusals.items():
            if re.fullmatch(pattern, f"{request.method} {urlsplit(request.path).path}"):
                return refusal
        place = urlsplit(request.path).path
        if place == "/api/v1/gcapi/":
            return 200, {"latest_version": self.latest_version, "lowest_supported_version": self.lowest_version}
        if place.startswith("/storage/"):
            return self._storage(request, place)
        if not place.startswith(("/api/v1/", "/media/")):
            return 404, b"<html>no such page</html>"
        if request.authorization != f"BEARER {TOKEN}":
            return 401, {"detail": "Invalid token."}
        if place.startswith("/media/"):
            return 302, b"", {"Location": f"{self.origin}/storage/{place.removeprefix('/media/')}?signature=s"}
        for pattern, method, handler in self._routes():
            match = re.fullmatch(f"/api/v1/{pattern}", place)
            if match is not None and method == request.method:
                return handler(request, *match.groups())
        return 404, {"detail": "Not found."}

    def _routes(self) -> list[tuple[str, str, Callable[..., Answer]]]:
        return [
            ("algorithms/", "GET", self._algorithms),
            ("components/interfaces/", "GET", self._sockets),
            ("uploads/", "POST", self._new_upload),
            ("uploads/([^/]+)/s3-id/generate-presigned-urls/", "PATCH", self._presign),
            ("uploads/([^/]+)/s3-id/complete-multipart-upload/", "PATCH", self._complete),
            ("uploads/([^/]+)/s3-id/abort-multipart-upload/", "PATCH", lambda _, pk: (200, self._upload(pk))),
            ("algorithms/jobs/", "POST", self._new_job),
            ("algorithms/jobs/([^/]+)/", "GET", self._job),
            ("cases/images/([^/]+)/", "GET", self._image),
        ]

    def _algorithms(self, request: Request) -> Answer:
        slug = parse_qs(urlsplit(request.path).query)["slug"][0]
        interfaces = [{"inputs": inputs, "outputs": self.outputs} for inputs in self.interfaces]
        algorithm = {
            "api_url": f"{self.url}algorithms/{self.algorithm_pk}/",
            "url": f"{self.origin}/algorithms/{slug}/",
            "description": "",
            "pk": self.algorithm_pk,
            "title": "Our sCT",
            "logo": "",
            "slug": slug,
            "average_duration": None,
            "interfaces": interfaces,
        }
        return 200, page([algorithm] if slug == "our-sct" else [])

    def _sockets(self, request: Request) -> Answer:
        slug = parse_qs(urlsplit(request.path).query)["slug"][0]
        known = {socket["slug"]: socket for inputs in self.interfaces for socket in inputs}
        return 200, page([known[slug]] if slug in known else [])

    def _new_upload(self, request: Request) -> Answer:
        pk = str(uuid.uuid4())
        self.uploads[pk] = (json.loads(request.body)["filename"], {})
        return 201, self._upload(pk)

    def _upload(self, pk: str) -> dict[str, Any]:
        name = self.uploads[pk][0]
        told = {"pk": pk, "created": "2026-11-21T10:00:00Z", "filename": name, "key": f"uploads/{pk}"}
        return {**told, "s3_upload_id": "s3-id", "status": "Initialized", "api_url": f"{self.url}uploads/{pk}/"}

    def _presign(self, request: Request, pk: str) -> Answer:
        numbers = json.loads(request.body)["part_numbers"]
        urls = {str(number): f"{self.origin}/storage/uploads/{pk}/{number}?signature=s" for number in numbers}
        return 200, {**self._upload(pk), "presigned_urls": urls}

    def _storage(self, request: Request, place: str) -> Answer | tuple[int, Any, dict[str, str]]:
        """The bucket: a signature in the address opens it; a second authorization beside it is an error."""
        if request.authorization is not None and request.method == "PUT":
            return 400, b"Only one auth mechanism allowed"
        if request.method == "GET":
            return 200, self.sct
        pk, number = place.split("/")[-2:]
        self.uploads[pk][1][int(number)] = request.body
        return 200, b"", {"ETag": f'"{pk}-{number}"'}

    def _complete(self, request: Request, pk: str) -> Answer:
        parts = [(part["PartNumber"], part["ETag"]) for part in json.loads(request.body)["parts"]]
        if parts != [(number, f'"{pk}-{number}"') for number in sorted(self.uploads[pk][1])]:
            return 400, ["parts do not match"]
        return 200, self._upload(pk)

    def _new_job(self, request: Request) -> Answer:
        told = json.loads(request.body)
        if told["algorithm"] != f"{self.url}algorithms/{self.algorithm_pk}/":
            return 400, {"algorithm": ["Invalid hyperlink"]}
        inputs: dict[str, Any] = {}
        for entry in told["inputs"]:
            inputs[entry["interface"]] = entry["value"]
            for upload in entry["user_uploads"] or []:
                name, parts = self.uploads[upload.split("/")[-2]]
                inputs[entry["interface"]] = (name, b"".join(parts[number] for number in sorted(parts)))
        pk = str(uuid.uuid4())
        self.jobs[pk] = inputs
        values = [{"interface": slug, "value": None, "file": None, "image": None, "pk": 1} for slug in inputs]
        return 201, {"pk": pk, "inputs": [{**value, "image_name": None} for value in values], "status": "Queued"}

    def _job(self, _: Request, pk: str) -> Answer:
        if pk not in self.jobs:
            return 404, {"detail": "Not found."}
        status = self.statuses[min(self.looks, len(self.statuses) - 1)]
        self.looks += 1
        outputs = [
            {"socket": socket, "interface": socket, "value": None, "file": None, "pk": number}
            | {"image": f"{self.url}cases/images/{pk}/" if socket["super_kind"] == "Image" else None}
            for number, socket in enumerate(self.outputs)
        ]
        return 200, {
            "pk": pk,
            "url": f"{self.origin}/algorithms/our-sct/jobs/{pk}/",
            "api_url": f"{self.url}algorithms/jobs/{pk}/",
            "algorithm_image": f"{self.url}algorithms/images/{pk}/",
            "algorithm": f"{self.url}algorithms/{self.job_algorithm or self.algorithm_pk}/",
            "inputs": [],
            "outputs": outputs if status == "Succeeded" else [],
            "status": status,
            "hanging_protocol": None,
            "optional_hanging_protocols": [],
            "view_content": {},
            "exec_duration": "PT1M30S" if status in FINISHED else None,
            "invoke_duration": None,
        }

    def _image(self, _: Request, pk: str) -> Answer:
        unset = ("dicom_image_set", "width", "height", "depth", "color_space", "modality", "eye_choice", "segments")
        more = ("stereoscopic_choice", "field_of_view", "voxel_width_mm", "voxel_height_mm", "voxel_depth_mm")
        file = {"pk": pk, "image": None, "file": f"{self.origin}/media/{pk}/{self.sct_name}", "image_type": "MHD"}
        image: dict[str, Any] = {"pk": pk, "name": "sct.mha", "files": [file], "shape": [], "shape_without_color": []}
        image |= dict.fromkeys((*unset, *more, "window_center", "window_width"))
        return 200, {**image, "api_url": f"{self.url}cases/images/{pk}/"}


def page(results: list[Any]) -> dict[str, Any]:
    return {"count": len(results), "next": None, "previous": None, "results": results}


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """Make a certificate of localhost that signs itself; return it and its key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs openssl to make a certificate")
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    command = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    subprocess.run([*command, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    return certificate, key


@contextmanager
def running_platform(certificate: Path, key: Path) -> Iterator[PlatformServer]:
    """Run a platform on a free port of this machine."""
    platform = PlatformServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # header and body are two writes: the second would wait for 40 ms

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            request = Request(self.command, self.path, self.headers.get("Authorization"), body)
            platform.requests.append(request)
            status, content, *headers = platform.answer(request)
            is_bytes = isinstance(content, bytes)
            answer = content if is_bytes else json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/octet-stream" if is_bytes else "application/json")
            self.send_header("Content-Length", str(len(answer)))
            for name, value in headers[0].items() if headers else ():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_POST = do_PATCH = do_PUT = handle_any  # noqa: N815  # the names that http.server looks for

        def log_message(self, *_: object) -> None:
            pass

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with ThreadingHTTPServer(("localhost", 0), Handler) as server:
        server.daemon_threads = True
        server.socket = context.wrap_socket(server.socket, server_side=True)
        platform.port = server.server_port
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield platform
        server.shutdown()
