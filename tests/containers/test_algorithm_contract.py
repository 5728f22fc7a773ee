"""CONTRACT 6.A, lines 1 to 6, 8 and 11: each against containers of our own images, behind the walls of line 6."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from commands.command_line import synthct
from containers.ramp_cases import (
    DIRECTION,
    ORIGIN,
    SPACING,
    expected_sct,
    ramp_image,
    ramp_mask,
    read_sct,
    save_input,
    save_ramp,
)
from containers.running import DATA, Ended, link_input, run_container

from synthct.anatomy import Region, Task
from synthct.grand_challenge.sandbox.cases import phantom_of, write_case
from synthct.weights import file_sha256, load_tensors, open_model, save_model

pytestmark = pytest.mark.container

STARTER = Path(__file__).resolve().parents[2] / "algorithms" / "pix2pix_pelvis" / "starter"


@pytest.fixture(scope="module")
def ramp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_ramp(tmp_path_factory.mktemp("ramp") / "model")


@pytest.fixture(scope="module")
def plain(lookup_image: str, ramp: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Ended, Path]:
    """A run on uuid names without inputs.json, and its /input."""
    root = tmp_path_factory.mktemp("plain")
    source = save_input(root / "input")
    ended = run_container(lookup_image, source, root / "output", model=ramp)
    assert ended.code == 0, ended.lines
    return ended, source


def require_ramp(ended: Ended) -> None:
    """The sCT of the ramp's own case."""
    assert ended.code == 0, ended.lines
    np.testing.assert_array_equal(
        sitk.GetArrayFromImage(read_sct(ended.output)), expected_sct(ramp_image(), ramp_mask())
    )


def name_of(source: Path, folder: str) -> str:
    (path,) = (source / "images" / folder).iterdir()
    return path.name


def test_a1_one_int16_image_on_the_grid_of_the_input(plain: tuple[Ended, Path]) -> None:
    ended, source = plain
    sct = read_sct(ended.output)
    assert sct.GetPixelID() == sitk.sitkInt16
    assert sct.GetSize() == ramp_image().shape[::-1]
    assert (sct.GetSpacing(), sct.GetOrigin()) == (SPACING, ORIGIN)
    np.testing.assert_allclose(sct.GetDirection(), DIRECTION, rtol=0, atol=1e-15)
    name = name_of(source, "mri")
    assert uuid.UUID(name.removesuffix(".mha")) != uuid.UUID(name_of(source, "body").removesuffix(".mha"))
    assert not (source / "inputs.json").exists()
    assert ended.files == [f"images/synthetic-ct/{name}", "manifest.json", "results.json"]
    assert b"CompressedData = True" in (ended.output / "images" / "synthetic-ct" / name).read_bytes()[:1000]


def test_a5_range_and_air_outside_the_mask(plain: tuple[Ended, Path]) -> None:
    require_ramp(plain[0])
    voxels, mask = sitk.GetArrayFromImage(read_sct(plain[0].output)), ramp_mask()
    assert set(np.unique(voxels[mask == 0])) == {-1000}
    assert (voxels.min(), voxels.max()) == (-1024, 3071)  # the table runs beyond both


def test_a8_without_a_gpu_it_says_that_it_runs_on_the_cpu(plain: tuple[Ended, Path]) -> None:
    assert [line for line in plain[0].lines if line.endswith(", mri, region AB, on cpu")] == plain[0].lines[:1]
    assert plain[0].manifest["device"] == "cpu"


def test_a11_results_json_is_the_template_s(plain: tuple[Ended, Path]) -> None:
    ended, source = plain
    image, mask = name_of(source, "mri"), name_of(source, "body")
    assert json.loads((ended.output / "results.json").read_text()) == [
        {
            "outputs": [{"type": "metaio_image", "filename": f"/output/images/synthetic-ct/{image}"}],
            "inputs": [
                {"type": "metaio_image", "filename": f"/input/images/mri/{image}"},
                {"type": "metaio_image", "filename": f"/input/images/body/{mask}"},
                {"type": "String", "filename": "/input/region.json"},
            ],
            "error_messages": [],
        }
    ]


@pytest.fixture(scope="module")
def cone_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table trained on simulated cone-beam CT by the commands that a user would give."""
    root = tmp_path_factory.mktemp("cone")
    for arguments in (
        ("sample", root / "data", "--task", "cbct", "--kind", "limb", "--cases", "1"),
        ("train", "lookup-table", root / "data", root / "run"),
    ):
        outcome = synthct(*arguments, OMP_NUM_THREADS="1")
        assert outcome.code == 0, outcome.err
    (card,) = (root / "run").rglob("model.json")
    return card.parent


@pytest.mark.parametrize("sockets", ["interface-only", "socket-only", "plain"])
def test_a2_cone_beam_with_either_key_of_inputs_json(
    lookup_image: str, cone_model: Path, tmp_path: Path, sockets: str
) -> None:
    """`plain` has both keys. The CT is that of another limb than the one trained on."""
    write_case(sockets, Task.CBCT, Region.EXTREMITY, tmp_path / "input")
    keys = {key for entry in json.loads((tmp_path / "input" / "inputs.json").read_text()) for key in entry}
    expected = {"interface-only": {"interface"}, "socket-only": {"socket"}}.get(sockets, {"interface", "socket"})
    assert keys & {"interface", "socket"} == expected
    ended = run_container(lookup_image, tmp_path / "input", tmp_path / "output", model=cone_model)
    assert ended.code == 0, ended.lines
    (row,) = ended.manifest["cases"]
    assert (row["case"], row["task"], row["region"]) == ("2EXA001", "cbct", "EX")  # the id stands in inputs.json alone
    assert ended.manifest["models"]["/opt/ml/model"]["sha256"] == file_sha256(cone_model / "weights.safetensors")
    phantom = phantom_of(Region.EXTREMITY, Task.CBCT)
    sct = read_sct(ended.output)
    assert sct.GetSpacing() == phantom.image.geometry.spacing
    inside = phantom.mask.voxels > 0
    ct, made = phantom.reference.voxels[inside].astype(float), sitk.GetArrayFromImage(sct)[inside].astype(float)
    assert np.abs(made - ct).mean() < 0.5 * np.abs(np.median(ct) - ct).mean()


def test_a3_nifti_in_mha_out(lookup_image: str, ramp: Path, tmp_path: Path) -> None:
    source = save_input(tmp_path / "input", mask=ramp_mask() * np.uint8(255), suffix=".nii.gz", stem="1ABA007")
    ended = run_container(lookup_image, source, tmp_path / "output", model=ramp)
    require_ramp(ended)
    assert ended.files == ["images/synthetic-ct/1ABA007.mha", "manifest.json", "results.json"]
    sct = read_sct(ended.output)
    np.testing.assert_allclose(sct.GetOrigin(), ORIGIN, rtol=0, atol=1e-3)
    np.testing.assert_allclose(sct.GetDirection(), DIRECTION, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("region", "words"),
    [('"Left Foot"', 'holds "Left Foot", no known region'), (None, "is missing"), ("", "no known region")],
    ids=["unknown", "missing", "empty"],
)
def test_a4_region_that_cannot_be_told(
    lookup_image: str, ramp: Path, tmp_path: Path, region: str | None, words: str
) -> None:
    source = save_input(tmp_path / "input", region=region)
    ended = run_container(lookup_image, source, tmp_path / "output", model=ramp)
    require_ramp(ended)
    assert ended.manifest["cases"][0]["region"] is None
    (warning,) = ended.about("/input/region.json")
    assert words in warning


def test_a5_bins_that_are_no_numbers_become_air(lookup_image: str, tmp_path: Path) -> None:
    """Two bins of the table hold NaN and infinity: just those voxels become air, and stderr counts them."""
    spoilt = save_ramp(tmp_path / "model", bin_100=float("nan"), bin_101=float("-inf"))
    ended = run_container(lookup_image, save_input(tmp_path / "input"), tmp_path / "output", model=spoilt)
    assert ended.code == 0, ended.lines
    image, mask = ramp_image(), ramp_mask()
    broken = (image >= 800) & (image < 816)
    expected = np.where(broken, -1000, expected_sct(image, mask))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(read_sct(ended.output)), expected)
    (warning,) = ended.about("NaN or infinite")
    assert warning.startswith(f"warning: {np.count_nonzero(broken & (mask > 0))} voxels inside the mask")


@pytest.mark.parametrize("value", ["nan", "inf"])
def test_a5_a_network_that_yields_no_numbers(routed_image: str, tmp_path: Path, value: str) -> None:
    starter = open_model(STARTER)
    tensors = load_tensors(starter)
    next(iter(tensors.values())).fill_(float(value))
    save_model(tmp_path / "model", tensors, half=False, **starter.card.model_dump(exclude={"sha256", "format"}))
    source = save_input(tmp_path / "input", region='"Extremity"')
    ended = run_container(routed_image, source, tmp_path / "output", model=tmp_path / "model")
    assert ended.code == 0, ended.lines
    assert ended.manifest["cases"][0]["algorithm"] == "pix2pix-pelvis"
    assert set(np.unique(sitk.GetArrayFromImage(read_sct(ended.output)))) == {-1000}
    (warning,) = ended.about("NaN or infinite")
    assert warning.startswith(f"warning: {np.count_nonzero(ramp_mask())} voxels inside the mask")


@pytest.mark.parametrize("processes", [256, 128])
def test_a6_all_flags_and_input_is_a_link(lookup_image: str, ramp: Path, tmp_path: Path, processes: int) -> None:
    """/input leads to a link in a read-only mount, and that to the run's folder."""
    save_input(tmp_path / "data" / "job-input")
    (tmp_path / "data" / "input").symlink_to("job-input")
    ended = run_container(
        link_input(lookup_image),
        tmp_path / "data",
        tmp_path / "output",
        f"--pids-limit={processes}",
        model=ramp,
        place=DATA,
    )
    require_ramp(ended)
    assert ended.owners == {ended.user}
    inputs = json.loads((ended.output / "results.json").read_text())[0]["inputs"]
    assert inputs[2]["filename"] == "/input/region.json"  # the link is not resolved


def test_a6_the_walls_stand(lookup_image: str, ramp: Path, tmp_path: Path) -> None:
    """What a process meets behind the flags of all these runs: without it they would prove nothing."""
    save_input(tmp_path / "data" / "job-input")
    (tmp_path / "data" / "input").symlink_to("job-input")
    questions = (
        "id -u; grep -E '^(CapEff|CapBnd|NoNewPrivs):' /proc/self/status; grep -c '' /proc/net/route;",
        "readlink -f /input;",
        "for place in / /opt/algorithm /input /opt/ml/model /tmp /output; do touch $place/probe && echo $place; done;",
        "df -k --output=size /dev/shm",
    )
    ended = run_container(
        *(link_input(lookup_image), tmp_path / "data", tmp_path / "output", "--entrypoint=sh"),
        command=("-c", f"{{ {''.join(questions)}; }} 2>/dev/null >/output/answers"),
        model=ramp,
        place=DATA,
    )
    answers = (ended.output / "answers").read_text().split()
    assert answers[:7] == [str(ended.user), "CapEff:", "0" * 16, "CapBnd:", "0" * 16, "NoNewPrivs:", "1"]
    assert answers[7] == "1"  # no route, only the table's head
    assert answers[8:] == [f"{DATA}/job-input", "/tmp", "/output", "1K-blocks", str(128 << 10)]  # noqa: S108
