"""Which way a network's training arrays ran: told by the reader that its plans name, or by the user."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from synthct.nnunet.model_files import ModelFiles
from synthct.nnunet.model_tree import FolderTree
from synthct.nnunet.orientation import Flips, Orientation, flips_of

FILES = ModelFiles(FolderTree(Path()), {}, {}, "plans.json", "dataset.json", PurePosixPath("fold_0/checkpoint"), "0")


@pytest.mark.parametrize(
    ("plans", "asked", "flips"),
    [
        ({"image_reader_writer": "NibabelIOWithReorient"}, None, ("y", "x")),
        ({"image_reader_writer": "NibabelIO"}, None, ()),
        ({"image_reader_writer": "SimpleITKIO"}, None, ()),
        ({}, None, ()),
        ({"image_reader_writer": "NibabelIOWithReorient"}, "lps", ()),
        ({"image_reader_writer": "SimpleITKIO"}, "ras", ("y", "x")),
    ],
)
def test_the_reader_tells_and_the_user_decides(plans: dict[str, Any], asked: Orientation | None, flips: Flips) -> None:
    assert flips_of(replace(FILES, plans=plans), asked) == flips
