"""Everything around a container that is run: the image with its /input link, the volumes, and their removal."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

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
    """What a run may take: memory in bytes, seconds, GPUs, cores (None: all); and the strict phase's user number."""

    memory: int
    budget: float
    gpu: bool
    uid: int
    cores: str | None = None


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

    A model belongs to the image's user, as on the platform (CONTRACT 2.2, 2.4). In the platform phase each container
    gets a copy of its own that it may write to; in the strict phase all read the same one.

    Args:
        client: the engine.
        image: the one under test.
        limits: what a run may take.
        volumes: what the image declares as VOLUME.
        owner: numbers of the image's user and group.
        model: folder or tarball; None for none.
        ground_truth: folder or tarball; None for none.
    """

    def __init__(
        self,
        client: DockerClient,
        image: Image,
        limits: Limits,
        *,
        volumes: tuple[str, ...] = (),
        owner: tuple[int, int] = (0, 0),
        model: Path | None = None,
        ground_truth: Path | None = None,
    ) -> None:
        self.client = client
        self.limits = limits
        self.labels = {LABEL: str(image.id)}
        self.has_link = not any(place.rstrip("/") == "/input" for place in volumes)
        self._image = image
        self._owner = owner
        self._model = model
        self._ground_truth = ground_truth
        self._packed: IO[bytes] | None = None
        self._fixed: dict[str, str] = {}
        self._linked = ""
        self._stack = ExitStack()

    def __enter__(self) -> Stage:
        try:
            self._linked = self._make_image()
            if self._model is not None:
                self._packed = self._pack(MODEL, self._model, self._owner)
                self._fixed[MODEL] = self._stack.enter_context(self._filled(MODEL, self._packed))
            if self._ground_truth is not None:
                packed = self._pack(GROUND_TRUTH, self._ground_truth, (0, 0))
                self._fixed[GROUND_TRUTH] = self._stack.enter_context(self._filled(GROUND_TRUTH, packed))
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
        limits = self.limits
        flags = run_flags(phase, memory=limits.memory, uid=limits.uid, gpu=limits.gpu, cores=limits.cores)
        mounts = [
            _mount(DATA if self.has_link else "/input", walls.inputs, read_only=not writable),
            _mount("/output", walls.output),
        ]
        with ExitStack() as stack:
            fixed = dict(self._fixed)
            if phase is Phase.PLATFORM and self._packed is not None:
                del fixed[MODEL]
                mounts.append(_mount(MODEL, stack.enter_context(self._filled(MODEL, self._packed))))
            mounts += [_mount(place, volume, read_only=True) for place, volume in fixed.items()]
            made = self.client.containers.create(
                self._linked,
                mounts=mounts,
                network=network,
                network_mode=None if network else "none",
                environment={"TINI_KILL_PROCESS_GROUP": "1"},  # the platform's SIGTERM goes to the whole process group
                labels=self.labels,
                **flags,
            )
            stack.callback(made.remove, force=True, v=True)
            yield made

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

    def _pack(self, place: str, source: Path, owner: tuple[int, int]) -> IO[bytes]:
        """Pack a folder, or what a tarball holds, once; the stream lasts as long as the stage."""
        parcel, stream = self._stack.enter_context(Parcel.pack(owner))
        (parcel.tree if source.is_dir() else parcel.tarball)(source, place.lstrip("/"))
        parcel.close()
        return stream

    @contextmanager
    def _filled(self, place: str, packed: IO[bytes]) -> Iterator[str]:
        """A volume that holds a packed folder."""
        with self._volume() as volume:
            packed.seek(0)
            with self._carrier({place: volume}) as carrier:
                carrier.put_archive("/", packed)
            yield volume

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
