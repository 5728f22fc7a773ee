"""Grouping of TotalSegmentator's labels, against the names that the evaluation has for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from evaluation.segmenters.tissue import BONE, SOFT_TISSUE, TISSUES
from evaluation.structures import STRUCTURE_NAMES
from synthct.errors import InputError
from synthct.features.compact.labels import COMPACT_LABELS, TISSUE_GROUPS, TOTAL_GROUPS, group_labels
from synthct.features.folder import STARTER, extractor_folder, open_extractor
from synthct.features.normalisation import normalise

CLASS = {name: label for label, name in COMPACT_LABELS.items()}


def test_every_structure_is_in_one_group() -> None:
    assert sorted(TOTAL_GROUPS) == sorted(STRUCTURE_NAMES)
    assert set(TOTAL_GROUPS.values()) == set(COMPACT_LABELS)


@pytest.mark.parametrize(
    ("words", "group"),
    [
        (("vertebrae",), "vertebrae"),
        (("rib_", "sternum", "costal"), "ribs"),
        (("humerus", "scapula", "clavicula", "femur", "hip", "sacrum", "skull"), "bones"),
        (("gluteus", "autochthon", "iliopsoas"), "muscles"),
        (("heart", "aorta", "artery", "vein", "vena", "trunk", "atrial"), "cardiac"),
        (("lung", "liver", "kidney", "spleen", "colon", "trachea", "bladder", "brain", "spinal_cord"), "organs"),
    ],
)
def test_groups_by_name(words: tuple[str, ...], group: str) -> None:
    for label, name in STRUCTURE_NAMES.items():
        named = any(word in name for word in words) and "brachiocephalic" not in name
        if named and not (group == "bones" and "muscle" in name):
            assert TOTAL_GROUPS[label] == CLASS[group], name


def test_tissue_classes() -> None:
    assert set(TISSUE_GROUPS) == set(TISSUES)
    assert TISSUE_GROUPS[SOFT_TISSUE] == CLASS["muscles"]
    assert {TISSUE_GROUPS[label] for label in BONE} == {CLASS["bones"]}


def test_grouping_by_hand() -> None:
    labels = np.array([[0, 1, 51], [80, 91, 92]])  # spleen, heart; gluteus, skull, rib
    grouped = group_labels(labels, TOTAL_GROUPS, "here")
    assert grouped.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert grouped.dtype == np.uint8


def test_a_foreign_label_is_named() -> None:
    with pytest.raises(InputError, match=r"seg.mha: holds label 118; expected labels from 1 to 117"):
        group_labels(np.array([5, 118]), TOTAL_GROUPS, "seg.mha")


def test_the_starter_extractor_says_what_it_is() -> None:
    extractor = open_extractor(extractor_folder(Path(STARTER)))
    assert (extractor.starter, extractor.random, extractor.spacing) == (True, False, (3.0, 1.0, 1.0))
    assert dict(extractor.labels) == dict(COMPACT_LABELS)
    assert len(extractor.layers) == 9
    card = (extractor_folder(Path(STARTER)) / "README.md").read_text()
    assert f"`{extractor.sha256[:12]}`" in card


def test_the_starter_extractor_tells_bone_from_muscle() -> None:
    """A cylinder of compact bone in muscle, in air: the class map has both."""
    hu = torch.full((1, 1, 24, 96, 96), -1000.0)
    y, x = torch.meshgrid(torch.arange(96) - 48, torch.arange(96) - 48, indexing="ij")
    hu[..., (y**2 + x**2) < 40**2] = 50.0
    hu[..., (y**2 + x**2) < 10**2] = 900.0
    extractor = open_extractor(extractor_folder(Path(STARTER)))
    with torch.no_grad():
        units = normalise(hu, extractor.normalisation)
        classes = extractor.backbone.stored(units).argmax(1)[0, 12]
    assert int(classes[48, 48]) == CLASS["bones"]
    assert int(classes[48, 48 + 25]) == CLASS["muscles"]
    assert int(classes[2, 2]) == 0
