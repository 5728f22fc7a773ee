"""Unpaired training at a small machine's size: what it has to beat, and a ConvNeXt that nobody trained.

    python -m benchmarks.unpaired histogram ALIGNED CASES OUTPUT     sCTs of CASES, to be scored by `synthct evaluate`
    python -m benchmarks.unpaired ranks ALIGNED CASES OUTPUT         the same, of what rank_start begins with
    python -m benchmarks.unpaired extractor OUTPUT                   an extractor folder: ConvNeXt-Tiny, RANDOM weights

The CT values are those inside the masks of the patients whose CTs preset starter of creps-cgan draws (setting
`disjoint`), each patient counting the same. `histogram` gives an MR value in the mask the CT value of the same rank;
`ranks` the other way round, by the table of the other half's MR (algorithms/creps_cgan/ranks.py).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import torch
import typer

from algorithms.creps_cgan.about import ABOUT
from algorithms.creps_cgan.predictor import OUTSIDE
from algorithms.creps_cgan.ranks import RankTable
from algorithms.creps_cgan.settings import RecipeConfig
from algorithms.presets import read_preset
from algorithms.unpaired import reference_patients
from synthct.dataset import Case, CaseFiles, find_cases, load_case
from synthct.errors import InputError
from synthct.features.backbones import build_backbone, read_settings, usual_normalisation
from synthct.features.folder import save_extractor
from synthct.files import prepare_output_folder
from synthct.inference.finish import finish_hu
from synthct.intensity import LinearScale
from synthct.networks.state import own_tensors
from synthct.outline import body_inside
from synthct.training.folds import patient_of
from synthct.volume import write_volume

app = typer.Typer(help="Unpaired training at a small machine's size.", no_args_is_help=True)

VALIDATION = ("1EXA017", "1EXA045")
TEST = ("1EXA010", "1EXA035", "1EXA051")
"""Of the limbs; preset starter never draws either."""
RANKS = np.linspace(0.0, 1.0, 4001)

FloatArray = npt.NDArray[np.float64]


def reference_quantiles(cases: list[Case]) -> FloatArray:
    """CT values (HU) inside the masks at RANKS, the mean over the cases.

    Raises:
        InputError: there is no case, or one has no CT or an empty mask.
    """
    found = []
    for case in cases:
        if case.reference is None or not (case.mask.voxels > 0).any():
            raise InputError(f"{case.id}: has no CT or an empty mask; expected both to take a histogram of")
        found.append(np.quantile(case.reference.voxels[case.mask.voxels > 0], RANKS))
    if not found:
        raise InputError("no case to take a histogram of; expected some that are not held out")
    return np.asarray(np.mean(found, axis=0))


def match_histogram(case: Case, quantiles: FloatArray) -> npt.NDArray[np.int16]:
    """Give each MR value inside the mask the CT value of its rank; equal values share the middle of theirs."""
    inside = case.mask.voxels > 0
    values = case.image.voxels[inside]
    ordered = np.sort(values)
    ranks = (np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right")) / (2 * len(values))
    hu = np.zeros(inside.shape, np.float64)
    hu[inside] = np.interp(ranks, RANKS, quantiles)
    return finish_hu(hu, case.mask.voxels)


@app.command()
def histogram(
    data: Annotated[Path, typer.Argument(metavar="ALIGNED", help="Data set root whose CTs are told.")],
    cases: Annotated[Path, typer.Argument(help="Data set root of the cases to translate.")],
    output: Annotated[Path, typer.Argument(help="New folder for the sCTs.")],
) -> None:
    """Translate cases by unpaired histogram matching inside the mask."""
    prepare_output_folder(output)
    _, told = halves(data)
    quantiles = reference_quantiles([load_case(files) for files in told])
    for files in find_cases(cases):
        case = load_case(files)
        write_volume(case.image.with_voxels(match_histogram(case, quantiles)), output / f"{case.id}.mha")


@app.command()
def ranks(
    data: Annotated[Path, typer.Argument(metavar="ALIGNED", help="Data set root whose MR and CTs are told.")],
    cases: Annotated[Path, typer.Argument(help="Data set root of the cases to translate.")],
    output: Annotated[Path, typer.Argument(help="New folder for the sCTs.")],
) -> None:
    """Translate cases by ranks the other way round, as creps-cgan's setting rank_start begins."""
    prepare_output_folder(output)
    preset = RecipeConfig.model_validate(read_preset(ABOUT, "starter"))
    image = LinearScale(low=0.0, high=preset.image_high, scale=preset.image_scale)
    ct = LinearScale(low=preset.ct_low, high=preset.ct_high, scale=preset.ct_scale)
    known, wanted = ([load_case(files) for files in half] for half in halves(data))
    table = RankTable().fit_values(
        [image.apply(case.image.voxels)[body_inside(case.image, case.mask)] for case in known],
        [ct.apply(case.reference.voxels)[case.mask.voxels > 0] for case in wanted if case.reference is not None],
        ct,
    )
    for files in find_cases(cases):
        case = load_case(files)
        units = image.apply(case.image.voxels)
        units[~body_inside(case.image, case.mask)] = OUTSIDE
        hu = ct.invert(table(torch.from_numpy(units)).numpy())
        write_volume(case.image.with_voxels(finish_hu(hu, case.mask.voxels)), output / f"{case.id}.mha")


def halves(data: Path) -> tuple[list[CaseFiles], list[CaseFiles]]:
    """Cases that preset starter draws MR and CT from; those of validation and test are in neither."""
    known = [files for files in find_cases(data) if files.id not in TEST and files.reference is not None]
    chosen = reference_patients(files.id for files in known)
    drawn = [files for files in known if files.id not in VALIDATION]
    wanted = [files for files in drawn if patient_of(files.id) in chosen]
    return [files for files in drawn if files not in wanted], wanted


@app.command()
def extractor(
    output: Annotated[Path, typer.Argument(help="New extractor folder.")],
    size: Annotated[int, typer.Option(min=32, help="Edge in pixels that slices are resized to.")] = 64,
    slice_step: Annotated[int, typer.Option(min=1, help="Every n-th slice.")] = 6,
) -> None:
    """Write a ConvNeXt-Tiny with random weights that looks at few and small slices; its card says RANDOM."""
    prepare_output_folder(output)
    save_random_convnext(output, {"size": size, "slice_step": slice_step})


def save_random_convnext(folder: Path, shape: dict[str, Any]) -> None:
    """Write an extractor folder: a ConvNeXt of that shape (`ConvNextSettings`) that nobody trained, seed 0."""
    settings = read_settings("convnext", shape)
    backbone = build_backbone("convnext", settings)
    save_extractor(
        folder,
        own_tensors(backbone.stored),
        kind="convnext",
        network=settings.model_dump(mode="json"),
        normalisation=usual_normalisation("convnext"),
        layers=backbone.default_layers,
        source="random weights, seed 0",
        random=True,
    )


if __name__ == "__main__":
    app()
