"""The presets `pelvis` and `brain` end to end on phantoms, by the real command line: narrow networks, all else is kept.

Windows by hand: an axis of n voxels is padded to k patches, k = ceil(n / patch), and windows half a patch apart are
2 k - 1. The mask of the large pelvis is cut off after 93 mm, so that its second and third row of windows have no body.
"""

from __future__ import annotations

import csv
import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import SimpleITK as sitk
import yaml
from commands.command_line import synthct
from creps_settings import DISCRIMINATOR_SHAPE, GENERATOR_SHAPE, save_tiny_convnext

from algorithms.creps_cgan.about import ABOUT
from algorithms.presets import read_preset
from synthct.phantom import PhantomKind, make_phantom
from synthct.volume import Volume, write_volume

pytestmark = pytest.mark.slow

ONE_THREAD = {"OMP_NUM_THREADS": "1"}
ORIGIN, OBLIQUE = (-123.25, 87.5, -1042.75), (0.96, -0.28, 0.0, 0.28, 0.96, 0.0, 0.0, 0.0, 1.0)
"""Off the middle, and turned about z: 0.28^2 + 0.96^2 = 1 exactly."""


@dataclass(frozen=True)
class Body:
    """A phantom, and what the presets make of it.

    Attributes:
        id: of the case.
        kind: which phantom.
        size: voxels x, y, z that are kept, and mm a voxel.
        spacing: in mm, x, y, z.
        resampled: shape (z, y, x) on the preset's spacing, round(size * spacing / wanted), worked out by hand.
        windows: in all, by the rule above, along z, y, x.
        skipped: of them, those that the mask does not reach.
        rows: of the mask that are kept.
    """

    id: str
    kind: PhantomKind
    size: tuple[int, int, int]
    spacing: tuple[float, float, float]
    resampled: tuple[int, int, int]
    windows: tuple[int, int, int]
    skipped: int = 0
    rows: int | None = None


PATCHES = {"pelvis": (32, 224, 224), "brain": (66, 168, 168)}
SPACINGS = {"pelvis": (2.5, 1.0, 1.0), "brain": (1.0, 1.0, 1.0)}
BODIES = {
    "pelvis": (
        # 99 mm / 2.5 = 39.6, 254.2 mm, 213.3 mm: padded to 64 x 448 x 224
        Body("1PA001", "pelvis", (79, 82, 33), (2.7, 3.1, 3.0), (40, 254, 213), (3, 3, 1), skipped=6, rows=30),
        # 9.9 mm / 2.5 = 3.96, 207 mm, 268.4 mm: padded to 32 x 224 x 448
        Body("1PA002", "pelvis", (61, 45, 3), (4.4, 4.6, 3.3), (4, 207, 268), (1, 1, 3)),
    ),
    "brain": (
        # 78 mm, 198 mm, 154 mm: padded to 132 x 336 x 168
        Body("1BA001", "head", (70, 90, 30), (2.2, 2.2, 2.6), (78, 198, 154), (3, 3, 1)),
        # one slice of 5 mm, 200.9 mm, 159.8 mm: padded to 66 x 336 x 168
        Body("1BA002", "head", (47, 41, 1), (3.4, 4.9, 5.0), (5, 201, 160), (1, 3, 1)),
    ),
}
"""Of each preset a usual body and a very thin one; none is on the preset's spacing along any axis."""


def write_body(body: Body, root: Path) -> None:
    """Write MR, mask and CT on an oblique grid; thin phantoms are cut out of one of 8 slices, the fewest there are."""
    columns, rows, slices = body.size
    phantom = make_phantom(body.kind, seed=1, size=(columns, rows, max(slices, 8)), spacing=body.spacing)
    folder = root / body.id
    folder.mkdir()
    for volume, name in ((phantom.image, "mr"), (phantom.mask, "mask"), (phantom.reference, "ct")):
        voxels = volume.voxels[:slices].copy()
        if name == "mask" and body.rows is not None:
            voxels[:, body.rows :] = 0
        grid = replace(volume.geometry, size=body.size, origin=ORIGIN, direction=OBLIQUE)
        write_volume(Volume(voxels, grid), folder / f"{name}.mha")


@dataclass(frozen=True)
class Run:
    """A preset's run on its two bodies: data, model folder and sCTs."""

    preset: str
    data: Path
    model: Path
    output: Path

    @property
    def rows(self) -> dict[str, dict[str, Any]]:
        """What the manifest says of each case."""
        return {row["case"]: row for row in json.loads((self.output / "manifest.json").read_text())["cases"]}


@pytest.fixture(scope="module", params=list(BODIES))
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Train one iteration, predict both bodies."""
    preset = str(request.param)
    root = tmp_path_factory.mktemp(preset)
    made = Run(preset, root / "data", root / "model", root / "sct")
    made.data.mkdir()
    for body in BODIES[preset]:
        write_body(body, made.data)
    narrow = {"network": GENERATOR_SHAPE, "discriminator": DISCRIMINATOR_SHAPE, "batch": 1}
    config = root / "narrow.yaml"
    config.write_text(yaml.safe_dump(read_preset(ABOUT, preset) | narrow))
    extractor = save_tiny_convnext(root / "extractor", slice_step=16)
    settings = ("--config", config, "--extractor", extractor, "--max-steps", "1", "--device", "cpu")
    trained = synthct("train", "creps-cgan", made.data, made.model, *settings, **ONE_THREAD)
    assert trained.code == 0, trained.err
    weights = ("--model", made.model, "--device", "cpu")
    predicted = synthct("predict", "creps-cgan", made.data, made.output, *weights, **ONE_THREAD)
    assert predicted.code == 0, predicted.err
    return made


def test_the_model_is_the_presets(run: Run) -> None:
    card = json.loads((run.model / "model.json").read_text())
    assert card["regions"] == [{"pelvis": "P", "brain": "B"}[run.preset]]
    config = card["config"]
    assert (tuple(config["spacing"]), tuple(config["sweep"]["patch"])) == (SPACINGS[run.preset], PATCHES[run.preset])
    assert (config["network"]["width"], config["network"]["inner"], config["network"]["blocks"]) == (2, 4, 1)
    assert card["random_features"] is True
    (row,) = csv.DictReader((run.model / "history.csv").read_text().splitlines())
    losses = {name: float(row[name]) for name in ("style", "adversarial", "generator_loss", "discriminator_loss")}
    assert all(math.isfinite(loss) and loss > 0 for loss in losses.values())
    whole = 20 * losses["style"] + losses["adversarial"]  # equations 4 and 5
    assert losses["generator_loss"] == pytest.approx(whole, rel=1e-3)


def test_scts_lie_on_their_images_very_grid(run: Run) -> None:
    for body in BODIES[run.preset]:
        sct, image = read_pair(run, body)
        assert sct.GetSize() == image.GetSize() == body.size
        assert sct.GetSpacing() == image.GetSpacing() == body.spacing
        assert sct.GetOrigin() == image.GetOrigin() == ORIGIN
        assert sct.GetDirection() == image.GetDirection() == OBLIQUE
        assert sct.GetPixelID() == sitk.sitkInt16


def test_air_outside_the_mask_and_the_network_at_every_voxel_within(run: Run) -> None:
    for body in BODIES[run.preset]:
        sct, _ = read_pair(run, body)
        hu = sitk.GetArrayFromImage(sct)
        inside = sitk.GetArrayFromImage(sitk.ReadImage(str(run.data / body.id / "mask.mha"))) > 0
        assert 0 < inside.sum() < inside.size
        assert (hu[~inside] == -1000).all()
        assert (hu[inside] != -1000).all()  # what no window reaches would be air
        assert (hu.min(), hu[inside].min() >= -1024, hu.max() <= 3000) == (-1000, True, True)
        assert hu[inside].min() < hu[inside].max()  # by few HU: norms that saw one iteration hardly scale anything


def test_windows_are_those_of_the_papers_padding(run: Run) -> None:
    for body in BODIES[run.preset]:
        row = run.rows[body.id]
        wanted = zip(body.size[::-1], body.spacing[::-1], SPACINGS[run.preset], strict=True)
        assert tuple(round(size * own / new) for size, own, new in wanted) == body.resampled
        patches = zip(body.resampled, PATCHES[run.preset], strict=True)
        assert tuple(2 * math.ceil(size / edge) - 1 for size, edge in patches) == body.windows
        sweep = row["sweep"]
        assert (sweep["windows"] + sweep["skipped"], sweep["skipped"]) == (math.prod(body.windows), body.skipped)
        assert (sweep["merging"], sweep["step"], row["resampled"]) == ("median-upper", 0.5, True)
        assert row["clipped_share"] == 0.0  # a phantom's MR stays below 2000


def read_pair(run: Run, body: Body) -> tuple[sitk.Image, sitk.Image]:
    """The sCT and the MR as they lie on disk."""
    return (
        sitk.ReadImage(str(run.output / f"{body.id}.mha")),
        sitk.ReadImage(str(run.data / body.id / "mr.mha")),
    )
