"""Everything around a container that is run: the image with its /input link, the volumes, and their removal."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from synthct.grand_challenge.sandbox.flags import Phase, run_flags
from synthct.grand_challenge.sandbox.parcel import Parcel

if TYPE_CHECKING:
    from docker.client import DockerClient
    from docker.models.containers import Container
    from docker.models.images import Image

__all__ = ["DATA", "GROUND_TRUTH", "MODEL", "Limits", "Stage", "Walls"]

DATA = "/opt/ml/input/data"
MODEL = "/opt/ml/model"
GROUND_TRUTH = f"{DATA}/ground_truth"
CURRENT = "input"
"""Name in DATA of a link to the folder of the run; /input is a link to it."""
LABEL = "synthct-check"
"""Label of everything made in the engine; its value is the id of the image under test."""


@dataclass(frozen=True)
class Limits:
    """What a run may take: memory in bytes, seconds, the GPUs; and the user number of the strict phase."""

    memory: int
    budget: float
    gpu: bool
    uid: int


@dataclass(frozen=True)
class Walls:
    """The volumes of one container."""

    inputs: str
    output: str


class Stage:
    """Prepares containers of one image; whatever it makes in the engine is gone when it is left.

    On the platform /input is a link, made anew for each run, and no mount of Docker's can be one. So the link is put
    into a thin image made of the one to be checked: /input -> /opt/ml/input/data/input -> <run>-input, the last step
    of which lies in a volume. An image that declares a VOLUME over /input gets a plain folder.
    """

    def __init__(
        self,
        client: DockerClient,
        image: Image,
        limits: Limits,
        *,
        volumes: tuple[str, ...] = (),
        model: Path | None = None,
        ground_truth: Path | None = None,
    ) -> None:
        self.client = client
        self.limits = limits
        self.labels = {LABEL: str(image.id)}
        self.has_link = not any(place.rstrip("/") == "/input" for place in volumes)
        self._image = image
        self._sources = {MODEL: model, GROUND_TRUTH: ground_truth}
        self._fixed: dict[str, str] = {}
        self._linked = ""
        self._stack = ExitStack()

    def __enter__(self) -> Stage:
        try:
            self._linked = self._make_image()
            for place, source in self._sources.items():
                if source is not None:
                    self._fixed[place] = self._stack.enter_context(self._volume())
            if self._fixed:
                self._fill_fixed()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @contextmanager
    def walls(self, inputs: Path | None) -> Iterator[Walls]:
        """Yield fresh volumes, the first with the inputs of a run; None leaves it empty."""
        with self._volume() as first, self._volume() as second:
            walls = Walls(first, second)
            places = {DATA if self.has_link else "/input": first, "/output": second}
            with self._carrier(places) as carrier, Parcel.pack() as (parcel, stream):
                parcel.folder("output", 0o777)
                if self.has_link:
                    parcel.folder(GROUND_TRUTH)  # a mount point inside a read-only mount must be there before
                    self._add_run(parcel, inputs, DATA)
                elif inputs is not None:
                    parcel.tree(inputs, "input")
                parcel.close()
                carrier.put_archive("/", stream)
            yield walls

    def replace_inputs(self, container: Container, inputs: Path | None) -> None:
        """Give a running container the inputs of its next run, as the platform does: by a new link."""
        with Parcel.pack() as (parcel, stream):
            self._add_run(parcel, inputs, "")
            parcel.close()
            container.put_archive(DATA, stream)

    @contextmanager
    def container(
        self, phase: Phase, walls: Walls, *, network: str | None = None, writable: bool = False
    ) -> Iterator[Any]:
        """Yield a container that is created and not started; it is removed afterwards, running or not.

        Args:
            phase: how it is walled in.
            walls: its volumes.
            network: name of an internal network; None for none at all.
            writable: mount the inputs' volume so that `replace_inputs` can fill it. Its files belong to root, so that
                only their rights keep the container from writing, as on the platform.
        """
        flags = run_flags(phase, memory=self.limits.memory, uid=self.limits.uid, gpu=self.limits.gpu)
        mounts = [
            _mount(DATA if self.has_link else "/input", walls.inputs, read_only=not writable),
            _mount("/output", walls.output),
            *(_mount(place, volume, read_only=True) for place, volume in self._fixed.items()),
        ]
        made = self.client.containers.create(
            self._linked,
            mounts=mounts,
            network=network,
            network_mode=None if network else "none",
            environment={"TINI_KILL_PROCESS_GROUP": "1"},  # the platform's SIGTERM goes to the whole process group
            labels=self.labels,
            **flags,
        )
        try:
            yield made
        finally:
            made.remove(force=True, v=True)

    def _make_image(self) -> str:
        """The image with /input as a link and /output as a folder; its config stays as it is."""
        container = self.client.containers.create(self._image.id, labels=self.labels)
        try:
            with Parcel.pack() as (parcel, stream):
                if self.has_link:
                    parcel.link("input", f"{DATA}/{CURRENT}")
                for place in (DATA, MODEL):
                    parcel.folder(place)
                parcel.folder("output", 0o777)
                parcel.close()
                container.put_archive("/", stream)
            made = container.commit()
        finally:
            container.remove(force=True, v=True)
        self._stack.callback(self.client.images.remove, made.id, force=True)
        return str(made.id)

    def _fill_fixed(self) -> None:
        with self._carrier(self._fixed) as carrier:
            for place in self._fixed:
                source = self._sources[place]
                if source is None:
                    continue
                with Parcel.pack() as (parcel, stream):
                    (parcel.tree if source.is_dir() else parcel.tarball)(source, place.lstrip("/"))
                    parcel.close()
                    carrier.put_archive("/", stream)

    def _add_run(self, parcel: Parcel, inputs: Path | None, place: str) -> None:
        """Add <run>-input, and the link to it."""
        run = f"{uuid.uuid4()}-input"
        prefix = f"{place}/" if place else ""
        if inputs is not None:
            parcel.tree(inputs, f"{prefix}{run}")
        else:
            parcel.folder(f"{prefix}{run}")
        parcel.link(f"{prefix}{CURRENT}", run)

    @contextmanager
    def _volume(self) -> Iterator[str]:
        volume = self.client.volumes.create(f"synthct-check-{uuid.uuid4().hex}", labels=self.labels)
        try:
            yield str(volume.name)
        finally:
            volume.remove(force=True)

    @contextmanager
    def _carrier(self, places: Mapping[str, str]) -> Iterator[Container]:
        """A container that never runs: the engine copies into its volumes."""
        mounts = [_mount(place, volume) for place, volume in places.items()]
        carrier = self.client.containers.create(self._linked, mounts=mounts, labels=self.labels)
        try:
            yield carrier
        finally:
            carrier.remove(force=True, v=True)


def _mount(place: str, volume: str, *, read_only: bool = False) -> dict[str, Any]:
    """A volume at a place, without the image's own files copied into it."""
    options = {"NoCopy": True}
    return {"Type": "volume", "Source": volume, "Target": place, "ReadOnly": read_only, "VolumeOptions": options}
