"""One configuration of a plans.json: spacing, patch, normalisation. What cannot be meant is refused by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

from synthct.errors import WeightsError
from synthct.intensity import ZScore

__all__ = ["Configuration", "open_configuration"]

PROPERTIES = ("foreground_intensity_properties_per_channel", "foreground_intensity_properties_by_modality")
"""Where plans.json holds the statistics of the training images; the second name is that of the first releases."""
STATISTICS = ("mean", "std", "percentile_00_5", "percentile_99_5")
Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Configuration:
    """A configuration, such as 3d_fullres, with what it inherits.

    Attributes:
        name: as plans.json calls it.
        content: its keys and values.
        plans: the whole of plans.json.
        where: path of plans.json, for messages.
    """

    name: str
    content: Mapping[str, Any]
    plans: Mapping[str, Any]
    where: str

    @property
    def spacing(self) -> Triple:
        """Distance of voxel centres in mm (z, y, x).

        Raises:
            WeightsError: it is missing or not three positive numbers.
        """
        return self._triple("spacing")

    @property
    def patch(self) -> tuple[int, int, int]:
        """Edges of the patch in voxels (z, y, x).

        Raises:
            WeightsError: it is missing or not three positive whole numbers.
        """
        z, y, x = (int(edge) for edge in self._triple("patch_size"))
        return z, y, x

    @property
    def schemes(self) -> tuple[str, ...]:
        """Names of the normalisation of each input channel, such as CTNormalization.

        Raises:
            WeightsError: they are missing.
        """
        given = self.content.get("normalization_schemes")
        if not _is_list(given) or not given or not all(isinstance(name, str) for name in given):
            raise self.refusal("normalization_schemes", given, "a name per channel")
        return tuple(given)

    @property
    def masks_normalisation(self) -> bool:
        """True where nnU-Net takes mean and deviation from the non-zero voxels only, and leaves the others at 0."""
        given = self.content.get("use_mask_for_norm", [False])
        return bool(_is_list(given) and given and given[0])

    def ct_normalisation(self, channel: int = 0) -> ZScore | None:
        """What nnU-Net's CTNormalization does: clip at percentiles 0.5 and 99.5 of the foreground, then z-score.

        Returns:
            The normalisation, or None where the channel's scheme is another one.

        Raises:
            WeightsError: the scheme is CTNormalization and its statistics are missing or no finite numbers.
        """
        if self.schemes[channel] != "CTNormalization":
            return None
        found = next((self.plans[key] for key in PROPERTIES if key in self.plans), None)
        properties = found.get(str(channel)) if isinstance(found, Mapping) else None
        if not isinstance(properties, Mapping):
            raise self.refusal(PROPERTIES[0], properties, f"the statistics of channel {channel}")
        given: dict[str, Any] = {name: properties.get(name) for name in STATISTICS}
        try:
            mean, std, low, high = (float(value) for value in given.values())
            return ZScore(mean=mean, std=std, low=low, high=high)
        except (TypeError, ValueError) as error:
            raise self.refusal(PROPERTIES[0], given, "finite numbers, std above 0") from error

    def require_axes_in_order(self) -> None:
        """Refuse plans that swap the axes: ours are z, y, x.

        Raises:
            WeightsError: transpose_forward is not 0, 1, 2.
        """
        order = self.plans.get("transpose_forward", [0, 1, 2])
        if order != [0, 1, 2]:
            raise self.refusal("transpose_forward", order, "[0, 1, 2]")

    def refusal(self, key: str, value: object, wanted: str) -> WeightsError:
        """Make the error for a value that cannot be used."""
        shown = "nothing" if value is None else repr(value)[:80]
        return WeightsError(f"{self.where}: {self.name}: {key} is {shown}; expected {wanted}")

    def _triple(self, key: str) -> Triple:
        given = self.content.get(key)
        if not _is_list(given) or len(given) != 3 or not all(_is_positive(value) for value in given):
            raise self.refusal(key, given, "three positive numbers (z, y, x)")
        z, y, x = given
        return z, y, x


def open_configuration(plans: Mapping[str, Any], name: str, where: str) -> Configuration:
    """Find a configuration and join it with those that it inherits from.

    Args:
        plans: content of plans.json.
        name: of the configuration, such as 3d_fullres.
        where: path of plans.json, for messages.

    Raises:
        WeightsError: there is none of that name, or the inheritance goes round in a circle.
    """
    known = plans.get("configurations")
    if not isinstance(known, Mapping):
        raise WeightsError(f"{where}: holds no configurations; expected plans of nnU-Net v2")
    chain: list[Mapping[str, Any]] = []
    seen: list[str] = []
    wanted: object = name
    while wanted is not None:
        if not isinstance(wanted, str) or not isinstance(known.get(wanted), Mapping):
            raise WeightsError(f"{where}: has no configuration {wanted}; expected one of {', '.join(known)}")
        if wanted in seen:
            raise WeightsError(f"{where}: configuration {wanted} inherits from itself by way of {', '.join(seen)}")
        seen.append(wanted)
        chain.append(known[wanted])
        wanted = known[wanted].get("inherits_from")
    content: dict[str, Any] = {}
    for part in reversed(chain):
        content.update(part)
    return Configuration(name, content, plans, where)


def _is_list(value: object) -> TypeGuard[Sequence[Any]]:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _is_positive(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < float("inf")
