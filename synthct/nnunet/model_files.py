"""A trained nnU-Net v2 model on disk: where its three files lie, what it calls its labels, its hash. Needs no torch."""

from __future__ import annotations

import glob
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any, BinaryIO

from synthct.errors import WeightsError
from synthct.nnunet.model_tree import ModelTree, open_tree

__all__ = ["ModelFiles", "find_folds", "find_model_files", "model_labels"]

PLANS, DATASET = "plans.json", "dataset.json"
CHECKPOINTS = ("checkpoint_final.pth", "checkpoint_best.pth")
"""A fold's checkpoints, the better choice first."""
LARGEST_LABEL = 255
JSON_LIMIT = 64 << 20
_BLOCK = 1 << 20
_DIGESTS: dict[tuple[str, int, int], bytes] = {}


@dataclass(frozen=True)
class ModelFiles:
    """The files of one model.

    Attributes:
        tree: folder or archive that holds them.
        plans: content of plans.json.
        dataset: content of dataset.json.
        plans_path: where plans.json lies, for messages.
        dataset_path: where dataset.json lies, for messages.
        checkpoint: name of the checkpoint in the tree.
        sha256: over checkpoint, plans.json and dataset.json: sha256 of their three sha256 digests in this order.
    """

    tree: ModelTree
    plans: dict[str, Any]
    dataset: dict[str, Any]
    plans_path: str
    dataset_path: str
    checkpoint: PurePosixPath
    sha256: str

    @property
    def checkpoint_path(self) -> str:
        """Where the checkpoint lies, for messages."""
        return self.tree.describe(self.checkpoint)

    def open_checkpoint(self) -> BinaryIO:
        """The checkpoint, for reading."""
        return self.tree.open(self.checkpoint)


def find_model_files(path: Path, *, dataset: str | None = None, fold: str | None = None) -> ModelFiles:
    """Find the model in a folder or archive, and hash it.

    Args:
        path: the model folder (with plans.json), its data set's folder, or an archive; where `dataset` is named also
            the folder of all results, or TotalSegmentator's home that holds nnunet/results.
        dataset: name of the data set's folder to look for.
        fold: its number, or `all`; None takes the lowest, fold_all where there is no numbered one.

    Returns:
        The files.

    Raises:
        WeightsError: no model or several, a file that is missing, or one that is no JSON.
    """
    tree = open_tree(path)
    root = _find_root(tree, path, dataset)
    checkpoints = _find_checkpoints(tree, root, fold)
    if not checkpoints:
        raise WeightsError(
            f"{tree.describe(root / f'fold_{fold or 0}' / CHECKPOINTS[0])}: no such file; expected a trained checkpoint"
        )
    checkpoint = checkpoints[0]
    plans_name, dataset_name = root / PLANS, root / DATASET
    digests = hashlib.sha256(_digest(tree, checkpoint))
    digests.update(_digest(tree, plans_name))
    digests.update(_digest(tree, dataset_name))
    return ModelFiles(
        tree=tree,
        plans=_read_json(tree, plans_name),
        dataset=_read_json(tree, dataset_name),
        plans_path=tree.describe(plans_name),
        dataset_path=tree.describe(dataset_name),
        checkpoint=checkpoint,
        sha256=digests.hexdigest(),
    )


def find_folds(path: Path, *, dataset: str | None = None) -> tuple[str, ...]:
    """Name the folds that have a checkpoint, the numbered ones first: ("0", "1", "all").

    Args:
        path: as for `find_model_files`.
        dataset: the same.

    Raises:
        WeightsError: no model or several.
    """
    tree = open_tree(path)
    checkpoints = _find_checkpoints(tree, _find_root(tree, path, dataset))
    return tuple(dict.fromkeys(checkpoint.parent.name.removeprefix("fold_") for checkpoint in checkpoints))


def model_labels(files: ModelFiles) -> Mapping[int, str]:
    """Name of each label, without the background, from dataset.json.

    Raises:
        WeightsError: labels that are regions, or not 0 ... n without a gap, or more than uint8 holds.
    """
    given = files.dataset.get("labels")
    if not isinstance(given, dict):
        raise WeightsError(f"{files.dataset_path}: holds no labels; expected a name and a number for each")
    labels: dict[int, str] = {}
    for name, label in given.items():
        if isinstance(label, list) and len(label) > 1:
            raise WeightsError(f"{files.dataset_path}: label '{name}' is a region of labels; expected one number")
        number = label[0] if isinstance(label, list) and label else label
        if not isinstance(number, int):
            raise WeightsError(f"{files.dataset_path}: label '{name}' is {number!r}; expected a whole number")
        if name != "ignore":
            labels[number] = name
    if sorted(labels) != list(range(len(labels))) or not 2 <= len(labels) <= LARGEST_LABEL + 1:
        raise WeightsError(
            f"{files.dataset_path}: {len(labels)} labels from {min(labels, default=0)} to {max(labels, default=0)}; "
            f"expected 0 (the background), 1, 2 ... without a gap, to {LARGEST_LABEL} at most"
        )
    return MappingProxyType({number: labels[number] for number in sorted(labels) if number > 0})


def _find_root(tree: ModelTree, path: Path, dataset: str | None) -> PurePosixPath:
    """Folder that holds plans.json, relative to the tree."""
    patterns = [PLANS, f"*/{PLANS}"]
    if dataset is not None:
        patterns += [f"{dataset}/*/{PLANS}", f"nnunet/results/{dataset}/*/{PLANS}"]
    roots = [name.parent for name in tree.find(tuple(patterns))]
    if dataset is not None:
        roots = [root for root in roots if dataset in root.parts] or roots
    if not roots:
        wanted = f"{dataset}/<trainer>/{PLANS}" if dataset is not None else PLANS
        raise WeightsError(f"{path}: holds no nnU-Net model; expected {wanted} in it")
    if len(roots) > 1:
        found = ", ".join(str(root) for root in roots[:3])
        raise WeightsError(f"{path}: holds {len(roots)} nnU-Net models ({found}); expected the folder of one")
    return roots[0]


def _find_checkpoints(tree: ModelTree, root: PurePosixPath, fold: str | None = None) -> list[PurePosixPath]:
    """Checkpoints of all folds or of one, the best choice first."""
    place = glob.escape(str(root))
    wanted = "fold_*" if fold is None else f"fold_{glob.escape(fold)}"
    return sorted(tree.find(tuple(f"{place}/{wanted}/{name}" for name in CHECKPOINTS)), key=_preference)


def _preference(checkpoint: PurePosixPath) -> tuple[bool, int, str, int]:
    fold = checkpoint.parent.name.removeprefix("fold_")
    number = int(fold) if fold.isdecimal() else 0
    return (not fold.isdecimal(), number, fold, CHECKPOINTS.index(checkpoint.name))


def _digest(tree: ModelTree, name: PurePosixPath) -> bytes:
    """sha256 of a file; an evaluation asks for it several times, the file is read once."""
    stamp = tree.stamp(name)
    if stamp not in _DIGESTS:
        digest = hashlib.sha256()
        with tree.open(name) as stream:
            while block := stream.read(_BLOCK):
                digest.update(block)
        _DIGESTS[stamp] = digest.digest()
    return _DIGESTS[stamp]


def _read_json(tree: ModelTree, name: PurePosixPath) -> dict[str, Any]:
    try:
        with tree.open(name) as stream:
            content = json.loads(stream.read(JSON_LIMIT))
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(f"{tree.describe(name)}: cannot be read as JSON ({error})") from error
    if not isinstance(content, dict):
        raise WeightsError(f"{tree.describe(name)}: holds {type(content).__name__}; expected a JSON object")
    return content
