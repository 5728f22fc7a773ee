"""Grouping of TotalSegmentator's labels, against the names that the evaluation has for them."""

from __future__ import annotations

import numpy as np
import pytest

from evaluation.segmenters.tissue import BONE, SOFT_TISSUE, TISSUES
from evaluation.structures import STRUCTURE_NAMES
from synthct.errors import InputError
from synthct.features.compact.labels import COMPACT_LABELS, TISSUE_GROUPS, TOTAL_GROUPS, group_labels

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
