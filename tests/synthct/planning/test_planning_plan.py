"""Plans: what is chosen, what may be told instead, and the YAML file that is edited by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from figures import ASSUMED, Floats, Triple, figures, uniform
from pydantic import ValidationError

from synthct.anatomy import Task
from synthct.errors import InputError, OutputError, UsageError
from synthct.intensity import CaseZScore, ZScore
from synthct.networks.unet import UNetPlan
from synthct.planning.memory import feature_map_limit, feature_map_voxels
from synthct.planning.plan import Plan, make_plan

LIMB: tuple[Floats, Triple] = ((3.27, 0.977, 0.977), (55, 118, 131))


def plan_text(folder: Path, *changes: tuple[str, str]) -> Path:
    """Write a made plan and edit its text by hand."""
    path = make_plan(uniform(*LIMB)).write(folder / "plan.yaml")
    text = path.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    path.write_text(text)
    return path


@pytest.mark.parametrize("region", ASSUMED)
def test_the_known_patches(region: str) -> None:
    spacing, shape, patch = ASSUMED[region]
    plan = make_plan(uniform(spacing, shape))
    assert (plan.patch, plan.batch, plan.spacing) == (patch, 2, spacing)
    assert (plan.cases, plan.gpu_memory_gb, plan.network.kind) == (40, 8.0, "plain")
    assert len(plan.network.features) == 6


def test_the_thorax_plan_is_the_published_topology() -> None:
    """The authors' table for 1 x 1 x 3 mm, which UNetPlan has as its defaults (ALGORITHMS 1.1)."""
    published = UNetPlan()
    network = make_plan(uniform(*ASSUMED["TH"][:2]), kind="residual").network
    assert network == published


def test_the_note_and_the_normalisations_tell_the_data() -> None:
    plan = make_plan(uniform(*LIMB))
    assert plan.note == "mri (AB), median case 55 x 118 x 131 voxels"
    assert plan.image == CaseZScore()
    assert (plan.ct.low, plan.ct.high, plan.ct.mean) == (-1024, 3071, pytest.approx(-0.5))
    of_cbct = make_plan(figures([LIMB[0]], [LIMB[1]], Task.CBCT), bounds=(-500.0, 400.0))
    assert isinstance(of_cbct.image, ZScore)
    assert of_cbct.image == of_cbct.ct
    assert (of_cbct.image.low, of_cbct.image.high) == (-500, 400)


def test_more_memory_gives_a_larger_patch_first_and_then_a_larger_batch() -> None:
    large = [make_plan(uniform(*ASSUMED["AB"][:2]), gpu_memory_gb=memory) for memory in (4.0, 8.0, 16.0, 32.0)]
    volumes = [int(np.prod(plan.patch)) for plan in large]
    assert volumes == sorted(set(volumes))
    assert {plan.batch for plan in large} == {2}
    small = [make_plan(uniform((3.0, 1.0, 1.0), (32, 96, 96), 2000), gpu_memory_gb=memory) for memory in (8.0, 16.0)]
    assert small[0].patch == small[1].patch == (32, 96, 96)
    assert small[1].batch == pytest.approx(2 * small[0].batch, abs=1)


def test_a_step_sees_5_per_cent_of_the_data_at_most() -> None:
    few = make_plan(uniform((3.0, 1.0, 1.0), (32, 96, 96), 60), gpu_memory_gb=24)
    assert few.batch == 3  # 60 cases, each as large as the patch
    assert make_plan(uniform((3.0, 1.0, 1.0), (32, 96, 96), 4), gpu_memory_gb=24).batch == 2


@pytest.mark.parametrize("kind", ["plain", "residual", "hybrid"])
def test_two_patches_fit_into_the_memory(kind: Any) -> None:
    for memory in (4.0, 12.0):
        plan = make_plan(uniform(*ASSUMED["HN"][:2]), gpu_memory_gb=memory, kind=kind)
        assert feature_map_voxels(plan.network, plan.patch) <= feature_map_limit(kind, memory)
        assert plan.network.kind == kind


def test_channels_and_blocks() -> None:
    network = make_plan(uniform(*LIMB), base_features=16, max_features=100, encoder_blocks=3, decoder_blocks=1).network
    assert network.features == (16, 32, 64, 100, 100, 100)
    assert (network.encoder_blocks, network.decoder_blocks) == (3, 1)
    assert make_plan(uniform(*LIMB), upsampling="transposed").network.upsampling == "transposed"


def test_a_spacing_may_be_told() -> None:
    plan = make_plan(uniform(*LIMB), spacing=(2.0, 2.0, 2.0))
    assert plan.spacing == (2.0, 2.0, 2.0)
    assert "median case 90 x 58 x 64" in plan.note
    assert plan.network.kernels[0] == (3, 3, 3)


def test_a_patch_may_be_told() -> None:
    plan = make_plan(uniform(*LIMB), patch=(16, 64, 64))
    assert plan.patch == (16, 64, 64)
    assert plan.network.multiple == (4, 16, 16)
    assert plan.batch > 2
    assert make_plan(uniform(*ASSUMED["AB"][:2]), patch=(96, 320, 320), gpu_memory_gb=4).batch == 2
    with pytest.raises(UsageError, match=r"patch 16 x 64 x 65 \(z, y, x\) is no multiple of 4 x 16 x 16"):
        make_plan(uniform(*LIMB), patch=(16, 64, 65))


def test_a_network_may_be_told() -> None:
    network = UNetPlan(
        kind="plain",
        features=(8, 16, 16),
        kernels=((1, 3, 3), (3, 3, 3), (3, 3, 3)),
        strides=((1, 1, 1), (1, 2, 2), (2, 2, 2)),
    )
    plan = make_plan(uniform(*ASSUMED["AB"][:2]), network=network, gpu_memory_gb=2)
    assert plan.network is network
    assert all(edge % step == 0 for edge, step in zip(plan.patch, (2, 4, 4), strict=True))
    assert feature_map_voxels(network, plan.patch) <= feature_map_limit("plain", 2)
    whole = make_plan(uniform(*LIMB), network=network, gpu_memory_gb=80)
    assert whole.patch == (56, 120, 132)  # the median case, padded
    both = make_plan(uniform(*LIMB), network=network, patch=(2, 8, 8))
    assert (both.patch, both.network) == ((2, 8, 8), network)
    with pytest.raises(UsageError, match="no multiple of 2 x 4 x 4"):
        make_plan(uniform(*LIMB), network=network, patch=(3, 8, 8))


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ({"gpu_memory_gb": 0.0}, "GPU memory of 0 GB"),
        ({"gpu_memory_gb": float("nan")}, "GPU memory of nan GB"),
        ({"gpu_memory_gb": 1e-5}, "expected .*more memory"),
        ({"gpu_memory_gb": 1e-9, "network": UNetPlan()}, "hold no patch of this network"),
        ({"spacing": (0.0, 1.0, 1.0)}, "spacing 0 x 1 x 1 mm"),
        ({"patch": (0, 8, 8)}, "patch 0 x 8 x 8"),
        ({"patch": (4, 4, 4)}, "no U-Net fits a patch of 4 x 4 x 4 voxels"),
        ({"bounds": (100.0, -100.0)}, "expected the lower one first"),
    ],
)
def test_what_cannot_be_planned(told: dict[str, Any], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        make_plan(uniform(*LIMB), **told)


def test_cases_too_small_to_pool() -> None:
    with pytest.raises(UsageError, match=r"no U-Net fits .*median case 5 x 6 x 7.*expected larger images"):
        make_plan(uniform((1.0, 1.0, 1.0), (5, 6, 7)))


@pytest.mark.parametrize("task", list(Task))
def test_what_is_written_is_read_again(tmp_path: Path, task: Task) -> None:
    plan = make_plan(figures([(3.2699599999996303, 0.976562, 1 / 3)] * 3, [(60, 200, 300)] * 3, task), kind="hybrid")
    path = plan.write(tmp_path / "plan.yaml")
    assert Plan.read(path) == plan
    assert Plan.read(path).write(tmp_path / "again.yaml").read_bytes() == path.read_bytes()


def test_the_file_says_what_may_be_edited(tmp_path: Path) -> None:
    text = plan_text(tmp_path).read_text()
    assert "multiples of 8, 32, 32" in text
    for entry in ("spacing: [3.27, 0.977, 0.977]", "patch: [56, 128, 160]", "batch: 2", "  kind: case-z-score"):
        assert f"\n{entry}\n" in text
    content = yaml.safe_load(text)
    for key in content:  # a comment stands above each
        lines = text.splitlines()
        assert lines[next(number for number, line in enumerate(lines) if line.startswith(key)) - 1].startswith("# ")
    assert max(map(len, text.splitlines())) <= 120


def test_a_plan_by_hand_needs_no_provenance(tmp_path: Path) -> None:
    path = plan_text(tmp_path, ("patch: [56, 128, 160]", "patch: [16, 64, 96]"), ("batch: 2", "batch: 4"))
    text = path.read_text()
    path.write_text(text[: text.index("# From here on")])
    plan = Plan.read(path)
    assert (plan.patch, plan.batch, plan.cases, plan.note) == ((16, 64, 96), 4, None, "")
    assert "\ncases:" not in plan.write(path).read_text()


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("batch:", "bacth:", "'bacth' is unknown; did you mean batch?"),
        ("  upsampling:", "  upsamplng:", "'network.upsamplng' is unknown; did you mean upsampling?"),
        ("  mean:", "  meam:", "'ct.meam' is unknown; did you mean mean?"),
        ("  std:", "  mean2: 3\n  std:", "'ct.mean2' is unknown; did you mean mean?"),
        ("note:", "zzzz:", "'zzzz' is unknown; expected some of spacing, patch"),
        ("kind: case-z-score", "kind: case-z-score\n  mean: 3", "'image.case-z-score.mean' is unknown"),
        ("patch: [56,", "patch: [57,", "no multiple of the strides' product (8, 32, 32)"),
        ("spacing: [3.27,", "spacing: [0,", "'spacing.0': Input should be greater than 0"),
        ("batch: 2", "batch: two", "'batch': Input should be a valid integer"),
        ("- [1, 3, 3]", "- [1, 2, 3]", "is even along an axis"),
        ("kind: case-z-score", "kind: linear", "'image'"),
        ("spacing: [3.27, 0.977, 0.977]", "spacing: [1, {", "cannot be read as YAML"),
    ],
)
def test_an_edit_that_went_wrong_is_one_line(tmp_path: Path, old: str, new: str, reason: str) -> None:
    path = plan_text(tmp_path, (old, new))
    with pytest.raises(InputError) as caught:
        Plan.read(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert reason in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("content", "reason"), [("", "holds a NoneType"), ("- 1", "holds a list"), ("\xff", "cannot be read as YAML")]
)
def test_no_plan_at_all(tmp_path: Path, content: str, reason: str) -> None:
    path = tmp_path / "plan.yaml"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(InputError, match=reason):
        Plan.read(path)


def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"missing\.yaml: cannot be read \(No such file"):
        Plan.read(tmp_path / "missing.yaml")
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        make_plan(uniform(*LIMB)).write(tmp_path / "file" / "plan.yaml")


def test_a_plan_is_not_changed_in_place() -> None:
    plan = make_plan(uniform(*LIMB))
    with pytest.raises(ValidationError):
        plan.batch = 7  # type: ignore[misc]
    with pytest.raises(ValidationError, match="no multiple"):
        Plan.model_validate({**dict(plan), "patch": (1, 2, 3)})
