"""Patches of held-out cases: the same in every validation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from synthct.training.cache import CachedCase
from synthct.training.objective import Batch
from synthct.training.patches import Fill, PairedSampler, SamplingSettings

__all__ = ["HeldOutPatches"]


class HeldOutPatches:
    """A few patches of each case, each about a voxel of its mask, neither flipped nor turned.

    Args:
        cases: normalised, with reference; one with an empty mask is passed over.
        settings: of training's patches.
        fill: values beyond a volume's edge.
        number: patches of each case.
        device: where they go.
    """

    def __init__(
        self, cases: Sequence[CachedCase], settings: SamplingSettings, fill: Fill, *, number: int, device: torch.device
    ) -> None:
        plain = settings.model_copy(update={"foreground": 1.0, "augment": False, "mask_loss": True})
        kept = [case for case in cases if case.inside]
        self._samplers = [PairedSampler([case], plain, fill, seed=0) for case in kept]
        self._device = device
        self.cases = tuple(case.id for case in kept)
        self.number = number

    def of(self, index: int) -> Iterator[Batch]:
        """Draw the patches of a case, each a batch of one."""
        for number in range(self.number):
            patch = self._samplers[index].patch(number)
            arrays = (patch.image, patch.reference, patch.weight)
            yield Batch(*(torch.from_numpy(array)[None, None] for array in arrays)).to(self._device)
