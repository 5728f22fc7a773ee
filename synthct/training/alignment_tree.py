"""A repaired data set on disk: the tree of the given one, with moved CTs and without dropped pairs."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from synthct.dataset import CaseFiles, find_note
from synthct.errors import InputError
from synthct.files import prepare_output_folder, staged_file
from synthct.volume import Volume, write_volume

__all__ = ["RepairedTree", "start_tree"]


@dataclass(frozen=True)
class RepairedTree:
    """Where a repaired data set is written: ROOT/Task1/EX/<id>/{mr,ct,mask}.mha, as the case folders were named."""

    root: Path

    def folder(self, files: CaseFiles) -> Path:
        """Folder of a case in the new tree."""
        region = files.image.parent.parent.name if files.region is None else files.region.value
        parent = files.image.resolve().parent.parent.name
        return self.root / f"Task{files.task.number}" / (parent if parent in _REGION_FOLDERS else region) / files.id

    def take_over(self, files: CaseFiles) -> None:
        """Put a case's files there unchanged: hard links, or copies where the disk is another."""
        for path in (files.image, files.reference, files.mask, files.segmentation):
            if path is not None:
                _link(path, self.folder(files) / path.name)

    def write(self, files: CaseFiles, *, reference: Volume, mask: Volume) -> None:
        """Write a moved CT and its mask under the names of the old ones; the image stays, bit for bit.

        A segmentation is left out: it lies where the CT lay.
        """
        _link(files.image, self.folder(files) / files.image.name)
        for volume, path in ((reference, files.reference), (mask, files.mask)):
            if path is not None:
                write_volume(volume, self.folder(files) / path.name)


_REGION_FOLDERS = frozenset({"AB", "HN", "TH", "EX", "B", "P", "brain", "pelvis"})


def start_tree(root: Path, example: CaseFiles) -> RepairedTree:
    """Make the folder of a repaired data set and carry over the note of the old one (it may say simulated).

    Raises:
        InputError: the folder holds something already.
        OutputError: it cannot be written to.
    """
    if root.is_dir() and any(root.iterdir()):
        raise InputError(f"{root}: is not empty; expected a new folder for the repaired data set")
    prepare_output_folder(root)
    note = find_note(example.image)
    if note is not None:
        _link(note, root / note.name)
    return RepairedTree(root)


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with staged_file(target) as staged:
        try:
            os.link(source.resolve(), staged)
        except OSError:  # another disk, or one that knows no links
            shutil.copyfile(source, staged)
