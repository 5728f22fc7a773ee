"""From CTs with TotalSegmentator labels to an extractor folder."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.progress import Progress

from synthct.anatomy import CaseId
from synthct.dataset import Case, CaseFiles, case_folders, find_file, load_case
from synthct.errors import InputError
from synthct.features.compact.labels import COMPACT_LABELS, group_labels
from synthct.features.compact.objective import NETWORK, CompactObjective
from synthct.features.compact.settings import CompactSettings
from synthct.features.compact.validation import CompactValidation
from synthct.features.folder import ExtractorCard, read_extractor_card, save_extractor
from synthct.features.nnunet import NnunetBackbone
from synthct.inference.engine import Engine
from synthct.inference.finish import AIR_HU
from synthct.intensity import ZScore
from synthct.networks.state import fill_network, own_tensors
from synthct.planning.fingerprint import FIXED_BOUNDS
from synthct.planning.intensities import Intensities
from synthct.resample import resample_like, resample_to_spacing
from synthct.training.cache import CachedCase, PreparedCase, VolumeCache
from synthct.training.loop import fit
from synthct.training.patches import Fill, PairedSampler, SamplingSettings
from synthct.training.source import PatchSource

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["LabelledCase", "cache_cases", "find_labelled_cases", "train_compact"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LabelledCase:
    """A CT and its label map.

    Attributes:
        files: `image` is the CT, `reference` the label map.
        groups: class of each label.
    """

    files: CaseFiles
    groups: Mapping[int, int]


def find_labelled_cases(root: Path, groups: Mapping[int, int]) -> tuple[LabelledCase, ...]:
    """Find the cases of a data set root that hold ct, mask and segmentation; MR or CBCT may lie beside them.

    Raises:
        InputError: the folder does not exist, or holds no such case.
    """
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; expected a data set root")
    found = []
    for folder in sorted(case_folders(root)):
        ct, mask, labels = (find_file(folder, stem) for stem in ("ct", "mask", "segmentation"))
        if ct is not None and mask is not None and labels is not None:
            case = CaseId.parse(folder.name)
            files = CaseFiles(case.text, case.task, case.region, image=ct, mask=mask, reference=labels)
            found.append(LabelledCase(files, groups))
    if not found:
        raise InputError(
            f"{root}: no case holds ct, mask and segmentation; expected segmentation.mha beside ct.mha (synthct "
            "segmenter fill makes it)"
        )
    return tuple(found)


def train_compact(
    cases: Sequence[LabelledCase],
    settings: CompactSettings,
    run_dir: Path,
    fabric: Fabric,
    *,
    progress: Progress,
    workers: int = 0,
    max_steps: int | None = None,
    resume: bool = False,
    starter: bool = False,
    source: str = "",
    trained_on: str = "",
) -> ExtractorCard:
    """Train the network and write run_dir as an extractor folder (fp16).

    Args:
        cases: CTs with labels.
        settings: of the recipe.
        run_dir: for the extractor, checkpoints, logs and the cache.
        fabric: launched.
        progress: for bars.
        workers: threads that cut patches.
        max_steps: stop after so many iterations, the schedule staying as planned.
        resume: go on from the checkpoint.
        starter: the card is to say that the weights only show that the software works.
        source: for the card: where the weights come from.
        trained_on: for the card: the data, in words.

    Raises:
        InputError: a file cannot be used, or no training case is left.
        WeightsError: the checkpoint to resume from does not fit.
    """
    held_out = set(settings.validation_cases)
    training = [case for case in cases if case.files.id not in held_out]
    if not training:
        raise InputError("no training case is left after leaving out the validation cases")
    units = settings.normalisation or _fit_normalisation(training, progress)
    cached = cache_cases(cases, settings, units, run_dir / "cache", progress)
    fill = Fill(image=float(units.apply(np.array([AIR_HU]))[0]), reference=0.0)
    sampling = SamplingSettings(
        patch=settings.patch,
        foreground=settings.foreground,
        augment=settings.augment,
        gain=0.0,  # HU are to be trusted
        weighting="case",
        mask_loss=False,
    )
    result = fit(
        CompactObjective(settings),
        PatchSource(
            PairedSampler([case for case in cached if case.id not in held_out], sampling, fill, settings.loop.seed),
            batch=settings.batch,
            workers=workers,
        ),
        CompactValidation(
            [case for case in cached if case.id in held_out],
            patch=settings.patch,
            engine=Engine(fabric.device),
            fill=fill.image,
        ),
        settings.loop.limited(max_steps),
        run_dir,
        fabric,
        progress=progress,
        fingerprint=_fingerprint(settings, cached),
        resume=resume,
    )
    backbone = NnunetBackbone(settings.network)
    fill_network(backbone.stored, result.best[NETWORK], str(run_dir))
    if fabric.is_global_zero:
        _save(
            run_dir,
            backbone,
            settings,
            units,
            {
                "source": source or "synthct features train",
                "trained_on": trained_on or f"{len(training)} CTs",
                "starter": starter,
            },
        )
    fabric.barrier()
    return read_extractor_card(run_dir)


def _save(
    folder: Path, backbone: NnunetBackbone, settings: CompactSettings, units: ZScore, told: dict[str, Any]
) -> None:
    save_extractor(
        folder,
        {name: tensor.half() for name, tensor in own_tensors(backbone.stored).items()},
        kind="nnunet",
        network=settings.network.model_dump(mode="json"),
        normalisation=units,
        layers=backbone.default_layers,
        spacing=settings.spacing,
        labels=dict(COMPACT_LABELS),
        **told,
    )


def _fit_normalisation(cases: Sequence[LabelledCase], progress: Progress) -> ZScore:
    """The data set's z-score of CT inside the masks, clipped to fixed bounds."""
    bar = progress.add_task("looking at the CTs", total=len(cases))
    merged = None
    for labelled in cases:
        case = load_case(labelled.files, with_reference=False)
        found = Intensities.of(case.image.voxels[case.mask.voxels > 0])
        merged = found if merged is None else merged.merged(found)
        progress.update(bar, advance=1)
    progress.remove_task(bar)
    if merged is None:
        raise InputError("no case to fit a normalisation to; expected CTs with labels")
    return merged.z_score(*FIXED_BOUNDS)


def cache_cases(
    cases: Sequence[LabelledCase], settings: CompactSettings, units: ZScore, folder: Path, progress: Progress
) -> list[CachedCase]:
    """Normalised CTs and class maps, on the recipe's spacing; entries that lie in the folder are taken from there.

    Raises:
        InputError: a file cannot be used, or a label is in no group.
    """
    bar = progress.add_task("reading cases", total=len(cases))
    cached = []
    for labelled in cases:
        groups = labelled.groups
        cache = VolumeCache(folder, f"{units!r} {settings.spacing} {sorted(groups.items())}")

        def prepare(case: Case, groups: Mapping[int, int] = groups) -> PreparedCase:
            return _prepare(case, settings, units, groups)

        cached.append(cache.case(labelled.files, prepare))
        progress.update(bar, advance=1)
    progress.remove_task(bar)
    return cached


def _prepare(case: Case, settings: CompactSettings, units: ZScore, groups: Mapping[int, int]) -> PreparedCase:
    if case.reference is None:
        raise InputError(f"case {case.id} has no label map; expected segmentation.mha beside ct.mha")
    image = resample_to_spacing(case.image, settings.spacing, order=3)
    labels = resample_like(case.reference, image.geometry, order=0)
    classes = group_labels(labels.voxels, groups, str(case.reference.path or case.id))
    # patches are centred on labelled voxels, and the loss counts everywhere
    return PreparedCase(image=units.apply(image.voxels), reference=classes, weight=classes > 0)


def _fingerprint(settings: CompactSettings, cases: Sequence[CachedCase]) -> str:
    content = [settings.model_dump(mode="json", exclude={"loop"}), [[case.id, case.digest] for case in cases]]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
