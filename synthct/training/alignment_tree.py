"""A repaired data set on disk: the tree of the given one, with moved CTs and without dropped pairs."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from synthct.dataset import CaseFiles, find_note
from synthct.errors import InputError
from synthct.files import prepare_output_folder, staged_file
from synthct.volume import Volume, read_volume, write_volume

__all__ = ["RepairedTree", "start_tree"]


@dataclass(frozen=True)
class RepairedTree:
    """Where a repaired data set is written: ROOT/Task1/EX/<id>/{mr,ct,mask}.mha, as the case folders were named.

    Attributes:
        root: the new data set's root.
        note: the old data set's note (it may say simulated); None where it has none. It is copied with the first case:
            a run that ends before leaves the folder empty, and it can be used again.
        link: files that stay as they are become hard links to the given ones. Who writes into one then changes both,
            so masks and the note, which are small and edited most, are copied all the same.
    """

    root: Path
    note: Path | None = None
    link: bool = False

    def folder(self, files: CaseFiles) -> Path:
        """Folder of a case in the new tree."""
        region = files.image.parent.parent.name if files.region is None else files.region.value
        parent = files.image.resolve().parent.parent.name
        return self.root / f"Task{files.task.number}" / (parent if parent in _REGION_FOLDERS else region) / files.id

    def take_over(self, files: CaseFiles) -> None:
        """Put a case's files there unchanged, bit for bit; a .mhd, whose voxels lie in a second file, as one .mha."""
        self._carry_note()
        for path in (files.image, files.reference, files.mask, files.segmentation):
            if path is not None:
                _carry(path, self.folder(files), link=self.link and path != files.mask)

    def write(self, files: CaseFiles, *, reference: Volume, mask: Volume) -> None:
        """Write a moved CT and its mask under the names of the old ones; the image stays, bit for bit.

        Names that cannot be written (CT.MHA, ct.mhd) become ct.mha. A segmentation is left out: it lies where the CT
        lay.
        """
        self._carry_note()
        _carry(files.image, self.folder(files), link=self.link)
        for volume, path in ((reference, files.reference), (mask, files.mask)):
            if path is not None:
                write_volume(volume, self.folder(files) / _written_name(path))

    def _carry_note(self) -> None:
        if self.note is not None and not (self.root / self.note.name).exists():
            _copy(self.note, self.root / self.note.name, link=False)


_REGION_FOLDERS = frozenset({"AB", "HN", "TH", "EX", "B", "P", "brain", "pelvis"})


def start_tree(root: Path, example: CaseFiles, *, link: bool = False) -> RepairedTree:
    """Make the folder of a repaired data set; nothing lies in it before the first case does.

    Args:
        root: new or empty folder.
        example: any case of the data set, to find its note by.
        link: see RepairedTree.

    Raises:
        InputError: the folder holds something already.
        OutputError: it cannot be written to.
    """
    if root.is_dir() and any(root.iterdir()):
        raise InputError(f"{root}: is not empty; expected a new folder for the repaired data set")
    prepare_output_folder(root)
    return RepairedTree(root, find_note(example.image), link)


def _carry(source: Path, folder: Path, *, link: bool) -> None:
    if source.suffix.casefold() == ".mhd":
        write_volume(read_volume(source), folder / _written_name(source))
    else:
        _copy(source, folder / source.name, link=link)


def _written_name(path: Path) -> str:
    """Name in a format that can be written: small letters, .mha for .mhd."""
    name = path.name.casefold()
    return f"{name.removesuffix('.mhd')}.mha" if name.endswith(".mhd") else name


def _copy(source: Path, target: Path, *, link: bool) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with staged_file(target) as staged:
        if link:
            try:
                os.link(source.resolve(), staged)
            except OSError:  # another disk, or one that knows no links
                link = False
        if not link:
            shutil.copyfile(source, staged)
