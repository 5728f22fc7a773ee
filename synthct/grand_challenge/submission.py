"""predictions.json: the jobs of an algorithm phase, read as if a stranger had written it, and written (CONTRACT 2.5).

No path outside the input folder is ever opened: names are checked letter by letter, then links are resolved.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn

from synthct.anatomy import CaseId, find_case_id
from synthct.errors import InputError
from synthct.files import write_text
from synthct.grand_challenge.sockets import SocketValue, image_name, is_image, socket_of, socket_value

__all__ = [
    "JOBS_NAME",
    "SCT_PATH",
    "FinishedJob",
    "Problem",
    "SubmittedJob",
    "read_predictions_json",
    "write_predictions_json",
]

JOBS_NAME = "predictions.json"
SCT_PATH = "images/synthetic-ct"
SCT_SLUG = "synthetic-ct-image"
SUCCEEDED = "Succeeded"
IMAGE_SUFFIXES = (".mha", ".tif", ".tiff", ".nii.gz")
"""What a job may leave: the platform's own two formats, and the one that the official evaluator takes too."""

BYTE_LIMIT = 64 << 20
JOB_LIMIT = 10_000
"""SynthRAD's largest phase has some 600 cases; more than this is no submission but an attack on the memory."""
NAME_LIMIT = 200
PLAIN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-")
SHOWN_LETTERS = 60


@dataclass(frozen=True)
class Problem:
    """Why a case, or a file that belongs to none, cannot be scored.

    Attributes:
        case: the case's id; None where it cannot be told.
        message: one line that names the case or the file, what was found and what was expected.
    """

    case: str | None
    message: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "message", " ".join(self.message.split()))


@dataclass(frozen=True)
class SubmittedJob:
    """One job that can be scored: its name on the platform, its case, and the file of its sCT (links resolved)."""

    pk: str
    case: CaseId
    prediction: Path


@dataclass(frozen=True)
class FinishedJob:
    """One job to be written: its name, the entries of its inputs.json, and the uuid of its sCT."""

    pk: str
    inputs: tuple[SocketValue, ...]
    image_pk: str

    @property
    def prediction(self) -> PurePosixPath:
        """Where its sCT lies, relative to predictions.json."""
        return PurePosixPath(self.pk, "output", SCT_PATH, f"{self.image_pk}.mha")


def read_predictions_json(path: Path) -> tuple[tuple[SubmittedJob, ...], tuple[Problem, ...]]:
    """Read the jobs of an algorithm phase: full or minimal, `socket` or `interface` or both, in any order.

    The case comes from the upload names of the input images, which must agree; never from an output's name. The sCT is
    the one image in <pk>/output/<relative_path> beside predictions.json.

    Args:
        path: predictions.json; its folder is /input, which may be a link itself.

    Returns:
        The jobs that can be scored, in the order of the file, and one problem for each that cannot.

    Raises:
        InputError: the file as a whole cannot be used: no array, not strict JSON, too large.
    """
    root = path.parent.resolve()
    records = _read_array(path, root)
    pks = Counter(record["pk"] for record in records if isinstance(record, dict) and isinstance(record.get("pk"), str))
    jobs: list[SubmittedJob] = []
    problems: list[Problem] = []
    for number, record in enumerate(records, start=1):
        case = None
        try:
            if not isinstance(record, dict):
                raise InputError(f"is {_kind(record)}; expected an object")
            case = _case_id(record)
            pk = _plain_pk(record.get("pk"), pks)
            jobs.append(SubmittedJob(pk, case, _prediction(record, root, pk)))
        except InputError as error:
            of_case = f" (case {case})" if case is not None else ""
            text = f"{JOBS_NAME}: job {number} of {len(records)}{of_case}: {error}"
            problems.append(Problem(str(case) if case is not None else None, text))
    return _each_case_once(jobs, problems)


def _each_case_once(
    jobs: list[SubmittedJob], problems: list[Problem]
) -> tuple[tuple[SubmittedJob, ...], tuple[Problem, ...]]:
    by_case: dict[CaseId, list[SubmittedJob]] = {}
    for job in jobs:
        by_case.setdefault(job.case, []).append(job)
    for case, same in sorted(by_case.items()):
        if len(same) > 1:
            pks = ", ".join(job.pk for job in same[:3])
            text = f"{JOBS_NAME}: case {case} stands {len(same)} times, in jobs {pks}; expected one job per case"
            problems.append(Problem(str(case), text))
    return tuple(job for job in jobs if len(by_case[job.case]) == 1), tuple(problems)


def _read_array(path: Path, root: Path) -> list[Any]:
    try:
        real = path.resolve()
        if not real.is_relative_to(root):
            raise InputError(f"{path}: is a link that leads out of its folder; expected a file")
        if not real.is_file():
            raise InputError(f"{path}: is no file; expected the platform's array of jobs")
        with real.open("rb") as stream:
            raw = stream.read(BYTE_LIMIT + 1)
        if len(raw) > BYTE_LIMIT:
            raise InputError(f"{path}: is larger than {BYTE_LIMIT >> 20} MiB; expected an array of jobs")
        content = json.loads(raw.decode("utf-8-sig"), parse_constant=_refuse_constant)
    except RecursionError as error:
        raise InputError(f"{path}: is nested too deeply; expected an array of jobs") from error
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(f"{path}: cannot be read as JSON in UTF-8 ({error})") from error
    if not isinstance(content, list):
        raise InputError(f"{path}: holds {_kind(content)}; expected an array of jobs")
    if len(content) > JOB_LIMIT:
        raise InputError(f"{path}: holds {len(content)} jobs; expected at most {JOB_LIMIT}")
    return content


def _refuse_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")


def _case_id(record: Mapping[str, Any]) -> CaseId:
    names = [name for entry in _entries(record, "inputs") if (name := image_name(entry)) is not None]
    found = {case for name in names if (case := _id_of_upload(name)) is not None}
    if len(found) == 1:
        return found.pop()
    if found:
        named = ", ".join(str(case) for case in sorted(found))
        raise InputError(f"its input images are of several cases ({named}); expected one")
    named = ", ".join(_shown(name) for name in names[:3]) or "there are none"
    raise InputError(f"no name of its input images holds a case id ({named}); expected one like mask_1ABA001.mha")


def _id_of_upload(name: str) -> CaseId | None:
    """The official rule first (text before the first dot, behind the last underscore), then an id anywhere."""
    return find_case_id(name.partition(".")[0].rpartition("_")[2]) or find_case_id(name)


def _entries(record: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    entries = record.get(key)
    if not isinstance(entries, list):
        raise InputError(f"its {key} are {_kind(entries)}; expected an array")
    return [entry for entry in entries if isinstance(entry, Mapping)]


def _plain_pk(pk: object, times: Mapping[str, int]) -> str:
    if not isinstance(pk, str) or not _is_plain(pk):
        raise InputError(f"its pk is {_shown(pk)}; expected a plain name such as a uuid")
    if times[pk] > 1:
        raise InputError(f"its pk {pk} stands {times[pk]} times; expected each once")
    return pk


def _prediction(record: Mapping[str, Any], root: Path, pk: str) -> Path:
    status = record.get("status")
    if status != SUCCEEDED:
        raise InputError(f"its status is {_shown(status)}; expected {SUCCEEDED}")
    relative = PurePosixPath(pk, "output", _output_path(record))
    try:
        return _single_image(root, relative)
    except (OSError, ValueError, RuntimeError) as error:  # a name too long, a circle of links, no permission
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise InputError(
            f"{_shown(str(relative))} cannot be read ({reason}); expected a folder with one image"
        ) from error


def _output_path(record: Mapping[str, Any]) -> PurePosixPath:
    """Where below <pk>/output the sCT lies: the entry known by path or slug, else the only image there is."""
    outputs = _entries(record, "outputs")
    chosen = [entry for entry in outputs if _is_sct(entry)] or [entry for entry in outputs if is_image(entry)]
    paths = [socket_of(entry).get("relative_path") for entry in chosen]
    texts = dict.fromkeys(path for path in paths if isinstance(path, str))
    if len(texts) != 1:
        named = ", ".join(list(dict.fromkeys(_shown(path) for path in paths))[:3]) or "none"
        raise InputError(f"its outputs name {len(texts)} places for the sCT ({named}); expected one, {SCT_PATH}")
    (text,) = texts
    parts = PurePosixPath(text).parts
    if not parts or len(text) > NAME_LIMIT or not all(_is_plain(part) for part in parts):
        raise InputError(f"the relative_path of its output is {_shown(text)}; expected one like {SCT_PATH}")
    return PurePosixPath(*parts)


def _is_sct(entry: Mapping[str, Any]) -> bool:
    socket = socket_of(entry)
    path = socket.get("relative_path")
    return socket.get("slug") == SCT_SLUG or (isinstance(path, str) and path.rstrip("/") == SCT_PATH)


def _single_image(root: Path, relative: PurePosixPath) -> Path:
    folder = (root / relative).resolve()
    if not folder.is_relative_to(root):
        raise InputError(f"{relative} is a link that leads out of the input folder; expected a folder with one image")
    if not folder.is_dir():
        raise InputError(f"{relative} is no folder; expected it to hold one image")
    names = sorted(
        path.name
        for path in folder.iterdir()
        if path.name.casefold().endswith(IMAGE_SUFFIXES) and not path.name.startswith(".")
    )
    if len(names) != 1:
        named = ", ".join(_shown(name) for name in names[:3]) or "none"
        raise InputError(f"{relative} holds {len(names)} images ({named}); expected exactly one, such as .mha")
    image = (folder / names[0]).resolve()
    if not image.is_relative_to(root):
        raise InputError(f"{relative}/{_shown(names[0])} is a link that leads out of the input folder; expected a file")
    if not image.is_file():
        raise InputError(f"{relative}/{_shown(names[0])} is no file; expected an image")
    return image


def _is_plain(name: str) -> bool:
    """Tell whether a name is one step down and nothing else: no separator, no drive, no dot in front, no control."""
    return 0 < len(name) <= NAME_LIMIT and not name.startswith(".") and PLAIN.issuperset(name)


def _shown(value: object) -> str:
    """A value as it may stand in a message: short, one line, plain letters."""
    return json.dumps(value[:SHOWN_LETTERS]) if isinstance(value, str) else _kind(value)


def _kind(value: object) -> str:
    return "null" if value is None else f"of type {type(value).__name__}"


def write_predictions_json(path: Path, jobs: Iterable[FinishedJob]) -> Path:
    """Write the jobs as the platform does: all keys of its serializer, `socket` and `interface`, in the order given.

    What a job on the platform would have and a made-up one has not (urls, durations) is null.

    Raises:
        OutputError: the folder cannot be written to.
    """
    return write_text(path, json.dumps([_record(job) for job in jobs], indent=2) + "\n")


def _record(job: FinishedJob) -> dict[str, Any]:
    image = {"pk": job.image_pk, "name": job.prediction.name}
    return {
        "pk": job.pk,
        "url": None,
        "api_url": None,
        "algorithm_image": None,
        "inputs": list(job.inputs),
        "outputs": [socket_value(SCT_SLUG, "Image", SCT_PATH, len(job.inputs) + 1, image=image)],
        "status": SUCCEEDED,
        "hanging_protocol": None,
        "optional_hanging_protocols": [],
        "view_content": {},
        "exec_duration": None,
        "invoke_duration": None,
    }
