"""Specs: what opens what, how often, and what is said when it cannot."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from wave_images import make_image

from evaluation.segmenters import Segmenter, describe_segmenter, open_segmenter, totalsegmentator
from evaluation.segmenters.nnunet import NnunetSegmenter
from evaluation.segmenters.totalsegmentator import DATASET
from evaluation.structures import STRUCTURE_NAMES
from synthct.errors import GeometryError, UsageError, WeightsError
from synthct.volume import write_volume

pytestmark = pytest.mark.filterwarnings("error")


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ("totalsegmentor", "segmenter 'totalsegmentor' is unknown; expected totalsegmentator"),
        ("", "segmenter '' is unknown"),
        ("nnunet", "segmenter 'nnunet' names no folder"),
        ("precomputed:", "segmenter 'precomputed:' names no folder"),
        ("totalsegmentator:", "segmenter 'totalsegmentator:' names no folder"),
        ("tissue:folder", "segmenter 'tissue:folder' takes no folder"),
    ],
)
def test_a_spec_that_cannot_be_meant_names_the_four(spec: str, reason: str) -> None:
    for function in (open_segmenter, describe_segmenter):
        with pytest.raises(UsageError) as caught:
            function(spec)
        assert reason in str(caught.value)
        for kind in ("totalsegmentator[:PATH]", "nnunet:DIR", "precomputed:DIR", "tissue"):
            assert kind in str(caught.value)


def test_an_unknown_device_is_refused_before_anything_is_read() -> None:
    with pytest.raises(UsageError, match="device 'gpu' is unknown; expected auto, cpu, cuda"):
        open_segmenter("nnunet:absent", device="gpu")


def test_description_and_segmenter_agree(results_folder: Path, model_folder: Path, tmp_path: Path) -> None:
    specs = ["tissue", f"totalsegmentator:{results_folder}", f"nnunet:{model_folder}", f"precomputed:{tmp_path}"]
    names = ["tissue", "totalsegmentator", DATASET, "precomputed"]
    for spec, name in zip(specs, names, strict=True):
        segmenter = open_segmenter(spec)
        assert isinstance(segmenter, Segmenter)
        assert describe_segmenter(spec) == (segmenter.name, segmenter.weights)
        assert segmenter.name == name
    both = describe_segmenter(specs[1])[1], describe_segmenter(specs[2])[1]
    assert both[0] == both[1] is not None


def test_one_process_loads_one_network(results_folder: Path) -> None:
    spec = f"totalsegmentator:{results_folder}"
    first, second = open_segmenter(spec, device="cpu"), open_segmenter(spec, device="cpu")
    assert first is second
    assert isinstance(first, NnunetSegmenter)
    network = first.network
    for shape in ((8, 9, 10), (9, 10, 8)):
        image = make_image(shape, (3.0, 3.0, 3.0))
        first.segment(image, image.voxels, case="1")
    assert first.network is network
    assert open_segmenter(spec, device="auto") is not first


def test_a_cache_hit_needs_neither_network_nor_weights(results_folder: Path, tmp_path: Path) -> None:
    image = make_image((10, 20, 15), (3.0, 2.0, 2.0))
    cache = tmp_path / "cache"
    first = open_segmenter(f"totalsegmentator:{results_folder}", device="cpu", cache=cache)
    expected = first.segment(image, image.voxels, case="1")
    assert len(list(cache.glob("*.mha"))) == 1
    shutil.copytree(results_folder, tmp_path / "weights")
    second = open_segmenter(f"totalsegmentator:{tmp_path / 'weights'}", device="cpu", cache=cache)
    shutil.rmtree(tmp_path / "weights")
    np.testing.assert_array_equal(second.segment(image, image.voxels, case="2"), expected)
    with pytest.raises(WeightsError, match="cannot be read"):
        second.segment(make_image((5, 5, 5), (3.0, 3.0, 3.0)), image.voxels, case="3")
    assert len(list(cache.glob("*.mha"))) == 1


def test_the_reference_of_each_segmenter(results_folder: Path, model_folder: Path, tmp_path: Path) -> None:
    image = make_image((10, 20, 15), (3.0, 2.0, 2.0))
    mask = image.voxels * 0 + 1
    given = write_volume(image.with_voxels(mask.astype("uint8") * 5), tmp_path / "1ABA001.mha")
    total = open_segmenter(f"totalsegmentator:{results_folder}", device="cpu")
    network = open_segmenter(f"nnunet:{model_folder}", device="cpu")
    assert (total.segment_reference(image, mask, given, case="1ABA001") == 5).all()
    without = total.segment_reference(image, mask, None, case="1ABA001")
    assert (without == total.segment(image, mask, case="1ABA001")).all()
    assert len(set(without.ravel().tolist())) > 5
    own = network.segment_reference(image, mask, given, case="1ABA001")
    assert (own == network.segment(image, mask, case="1ABA001")).all()


def test_weights_are_looked_for_where_the_package_keeps_them(
    results_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(totalsegmentator, "MODEL_FOLDER", tmp_path / "model")
    monkeypatch.setenv("GROUND_TRUTH_FOLDER", str(tmp_path / "truth"))
    for variable in ("TOTALSEG_WEIGHTS_PATH", "TOTALSEG_HOME_DIR"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    with pytest.raises(WeightsError) as caught:
        open_segmenter("totalsegmentator")
    for hint in ("totalsegmentator:PATH", "--segmenter precomputed:DIR", "--segmenter tissue"):
        assert hint in str(caught.value)
    assert "\n" not in str(caught.value)
    expected = describe_segmenter(f"totalsegmentator:{results_folder}")
    home, truth = tmp_path / "user" / ".totalsegmentator", tmp_path / "truth" / "totalsegmentator"
    for place in (tmp_path / "model" / "nnunet" / "results", truth, home / "nnunet" / "results"):
        shutil.copytree(results_folder, place)
        assert describe_segmenter("totalsegmentator") == expected
        shutil.rmtree(place)
    monkeypatch.setenv("TOTALSEG_WEIGHTS_PATH", str(tmp_path / "absent"))
    shutil.copytree(results_folder, tmp_path / "home" / "nnunet" / "results")
    monkeypatch.setenv("TOTALSEG_HOME_DIR", str(tmp_path / "home"))
    assert describe_segmenter("totalsegmentator") == expected
    changed = next((tmp_path / "home").rglob("dataset.json"))
    changed.write_text(changed.read_text() + " ")
    assert describe_segmenter("totalsegmentator") != expected
    monkeypatch.setenv("TOTALSEG_WEIGHTS_PATH", str(results_folder))
    assert describe_segmenter("totalsegmentator") == expected


def test_another_model_is_not_totalsegmentators(model_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(model_folder, tmp_path / "other")
    path = tmp_path / "other" / "dataset.json"
    dataset = json.loads(path.read_text())
    dataset["labels"] = {"background": 0, "liver": 1}
    path.write_text(json.dumps(dataset))
    with pytest.raises(WeightsError, match=r"dataset\.json: has 1 labels; expected the 117 of Dataset297"):
        open_segmenter(f"totalsegmentator:{tmp_path / 'other'}")
    assert dict(open_segmenter(f"nnunet:{tmp_path / 'other'}").labels) == {1: "liver"}


def test_a_data_sets_name_is_made_safe(model_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(model_folder, tmp_path / "other")
    path = tmp_path / "other" / "plans.json"
    plans = json.loads(path.read_text())
    path.write_text(json.dumps({**plans, "dataset_name": "Dataset 7: bones (v1.2)/ä"}))
    name, _ = describe_segmenter(f"nnunet:{tmp_path / 'other'}")
    assert name == "Dataset_7_bones_v1_2_"


def test_opening_and_describing_load_no_torch(results_folder: Path, model_folder: Path) -> None:
    specs = ["tissue", f"totalsegmentator:{results_folder}", f"nnunet:{model_folder}"]
    code = (
        "import sys\nfrom evaluation.segmenters import describe_segmenter, open_segmenter\n"
        f"for spec in {specs!r}:\n    describe_segmenter(spec)\n    open_segmenter(spec)\n"
        "sys.stdout.write(repr([name for name in ('torch', 'nnunetv2', 'nibabel') if name in sys.modules]))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "[]"
    assert len(STRUCTURE_NAMES) == 117


@pytest.mark.parametrize("suffix", ["zip", "gztar", "tar"])
def test_weights_in_an_archive_give_the_labels_of_their_folder(
    suffix: str, results_folder: Path, tmp_path: Path
) -> None:
    image = make_image((12, 18, 15), (3.0, 2.0, 2.0))
    archive = Path(shutil.make_archive(str(tmp_path / "weights"), suffix, results_folder))
    folder_spec, archive_spec = f"totalsegmentator:{results_folder}", f"totalsegmentator:{archive}"
    assert describe_segmenter(archive_spec) == describe_segmenter(folder_spec)
    expected = open_segmenter(folder_spec, device="cpu").segment(image, image.voxels, case="1")
    labels = open_segmenter(archive_spec, device="cpu").segment(image, image.voxels, case="1")
    assert np.unique(labels).size > 5
    np.testing.assert_array_equal(labels, expected)
    assert [path.name for path in tmp_path.iterdir()] == [archive.name]


def test_windows_are_reported_as_they_are_done(results_folder: Path) -> None:
    segmenter = open_segmenter(f"totalsegmentator:{results_folder}", device="cpu")
    assert isinstance(segmenter, NnunetSegmenter)
    reports: list[tuple[int, int]] = []
    segmenter.advance = lambda done, total: reports.append((done, total))
    # 24 x 64 x 60 voxels of 3 mm under windows of 24 x 32 x 40: 1 x 3 x 2 of them.
    image = make_image((24, 64, 60), (3.0, 3.0, 3.0))
    segmenter.segment(image, image.voxels, case="1")
    segmenter.advance = None
    assert reports == [(done, 6) for done in range(1, 7)]


def test_a_given_segmentation_on_another_grid_is_refused(results_folder: Path, tmp_path: Path) -> None:
    image, other = make_image((6, 9, 8), (3.0, 2.0, 2.0)), make_image((6, 9, 8), (3.0, 2.0, 2.5))
    given = write_volume(other.with_voxels(other.voxels.clip(0, 1).astype(np.uint8)), tmp_path / "given.mha")
    segmenter = open_segmenter(f"totalsegmentator:{results_folder}", device="cpu")
    with pytest.raises(GeometryError, match=r"given\.mha: lies on another grid"):
        segmenter.segment_reference(image, image.voxels, given, case="1ABA001")
