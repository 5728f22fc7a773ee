"""The label lists against the contract's numbers and the package's own names."""

from __future__ import annotations

import pytest
from totalsegmentator.map_to_binary import class_map

from evaluation.structures import GROUPS, OFFICIAL_REGIONS, STRUCTURE_NAMES, STRUCTURES
from synthct.anatomy import Region


def test_the_names_are_those_of_the_package() -> None:
    assert dict(STRUCTURE_NAMES) == class_map["total"]
    assert len(STRUCTURE_NAMES) == 117


def test_abdomen_and_thorax_are_the_61_of_the_contract() -> None:
    expected = [2, 3, 5, 6, 10, 11, 12, 13, 14, *range(26, 51), 51, 79, *range(92, 116), 116]
    assert len(expected) == 61
    assert list(STRUCTURES[Region.ABDOMEN]) == expected
    assert STRUCTURES[Region.THORAX] == STRUCTURES[Region.ABDOMEN]


def test_head_and_neck_are_the_31_of_the_contract() -> None:
    expected = [15, 16, 17, *range(26, 51), 79, 90, 91]
    assert len(expected) == 31
    assert list(STRUCTURES[Region.HEAD_NECK]) == expected


def test_only_the_three_regions_of_2025_are_official() -> None:
    assert OFFICIAL_REGIONS == (Region.ABDOMEN, Region.THORAX, Region.HEAD_NECK)


@pytest.mark.parametrize("region", list(Region))
def test_every_region_has_known_labels_in_order(region: Region) -> None:
    labels = STRUCTURES[region]
    assert list(labels) == sorted(set(labels))
    assert set(labels) <= set(STRUCTURE_NAMES)
    assert labels


@pytest.mark.parametrize(
    ("region", "names"),
    [
        (Region.PELVIS, {"urinary_bladder", "prostate", "sacrum", "vertebrae_S1", "vertebrae_L5", "hip_left", "colon"}),
        (Region.PELVIS, {"femur_right", "gluteus_minimus_left", "iliopsoas_right", "autochthon_left"}),
        (Region.BRAIN, {"brain", "skull"}),
        (Region.EXTREMITY, {"femur_left", "humerus_right", "scapula_left", "clavicula_right", "hip_left"}),
        (Region.EXTREMITY, {"gluteus_maximus_left", "iliopsoas_left"}),
    ],
)
def test_our_own_lists_hold_what_the_region_shows(region: Region, names: set[str]) -> None:
    assert names <= {STRUCTURE_NAMES[label] for label in STRUCTURES[region]}


def test_our_own_lists_hold_nothing_from_elsewhere() -> None:
    pelvis = {STRUCTURE_NAMES[label] for label in STRUCTURES[Region.PELVIS]}
    limbs = {STRUCTURE_NAMES[label] for label in STRUCTURES[Region.EXTREMITY]}
    assert pelvis.isdisjoint({"brain", "liver", "heart", "skull"})
    assert limbs.isdisjoint({"autochthon_left", "sacrum", "liver"})


def test_every_label_stands_in_exactly_one_group() -> None:
    together = [label for labels in GROUPS.values() for label in labels]
    assert sorted(together) == list(range(1, 118))
    assert list(GROUPS) == ["bones", "muscles", "organs", "lobes"]


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("sacrum", "bones"),
        ("vertebrae_C1", "bones"),
        ("skull", "bones"),
        ("rib_right_12", "bones"),
        ("femur_left", "bones"),
        ("iliopsoas_left", "muscles"),
        ("autochthon_right", "muscles"),
        ("lung_middle_lobe_right", "lobes"),
        ("liver", "organs"),
        ("aorta", "organs"),
        ("spinal_cord", "organs"),
        ("brain", "organs"),
        ("trachea", "organs"),
    ],
)
def test_where_a_structure_belongs(name: str, group: str) -> None:
    label = next(label for label, known in STRUCTURE_NAMES.items() if known == name)
    assert label in GROUPS[group]
