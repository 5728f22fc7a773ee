"""What a loss needs from a frozen network: HU in, features out, gradient to the input and never to the weights."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, Self

from pydantic import BaseModel
from torch import Tensor, nn

from synthct.errors import UsageError
from synthct.features.normalisation import AIR_HU, VolumeZScore, air_value, normalise, volume_statistics
from synthct.intensity import LinearScale, ZScore

__all__ = ["Axis", "Backbone", "FeatureExtractor"]

Axis = Literal["z", "y", "x"]
AXES: tuple[Axis, ...] = ("z", "y", "x")


class Backbone(nn.Module, ABC):
    """A network that gives named maps.

    Attributes:
        map_names: all maps, in the order in which they are computed.
        default_layers: those that a loss takes where the user names none.
        multiple: what the edges (z, y, x) of the input must be multiples of.
        settings: shape of the network, and how it sees a volume where that can be chosen.
    """

    map_names: tuple[str, ...]
    default_layers: tuple[str, ...]
    multiple: tuple[int, int, int]
    settings: BaseModel

    @property
    def stored(self) -> nn.Module:
        """The module whose tensors an extractor folder holds."""
        return self

    @abstractmethod
    def maps(self, image: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Yield (name, map) one after another; what is not asked for any more is never computed.

        Args:
            image: (b, 1, z, y, x), normalised, edges multiples of `multiple`.
        """


class FeatureExtractor(nn.Module):
    """A frozen network in its own normalisation.

    It takes HU, so that nobody has to know the extractor's units (ALGORITHMS 1.3 names the error that comes of feeding
    the synthesis network's). It pads with air at the far ends and crops nothing. It stays in evaluation mode; its
    weights ask for no gradient, and a gradient passes through it to the input.

    Args:
        backbone: the network.
        normalisation: from HU to its units.
        layers: names of the maps to return, in this order; None takes the backbone's default.
        name: in words, for logs and cards.
        sha256: of the weights, in hexadecimal.
        random: True where the weights are random, not trained.
        starter: True where they only show that the software works.
        spacing: distance of voxel centres in mm (z, y, x) that it was trained at, or None.
        labels: name of each label that it was trained to find.
        flips: axes that are turned round on the way in, for networks whose training images were oriented otherwise.
        origin_sha256: of the nnU-Net that the weights were converted from, as the same network has it as a judge.

    Raises:
        UsageError: a layer that the backbone has not, one that is named twice, or none.
    """

    def __init__(
        self,
        backbone: Backbone,
        normalisation: LinearScale | ZScore | VolumeZScore,
        *,
        layers: Sequence[str] | None = None,
        name: str,
        sha256: str,
        random: bool,
        starter: bool = False,
        spacing: tuple[float, float, float] | None = None,
        labels: Mapping[int, str] | None = None,
        flips: Sequence[Axis] = (),
        origin_sha256: str | None = None,
    ) -> None:
        super().__init__()
        self.layers = backbone.default_layers if layers is None else tuple(layers)
        _require_layers(self.layers, backbone.map_names)
        self.backbone = backbone
        self.normalisation = normalisation
        self.name = name
        self.sha256 = sha256
        self.origin_sha256 = origin_sha256
        self.random = random
        self.starter = starter
        self.spacing = spacing
        self.labels = dict(labels or {})
        self.multiple = backbone.multiple
        self.air = air_value(normalisation)
        self.flips = tuple(flips)
        self.requires_grad_(False)
        self.eval()

    def describe(self) -> dict[str, Any]:
        """Everything that decides what it returns for a CT, ready for JSON: two that agree in it are the same."""
        return {
            "sha256": self.sha256,
            "random": self.random,
            "layers": list(self.layers),
            "normalisation": self.normalisation.model_dump(mode="json"),
            "network": self.backbone.settings.model_dump(mode="json"),
            "flips": list(self.flips),
        }

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode, whatever the module around it is set to."""
        return super().train(False)

    def forward(self, hu: Tensor) -> tuple[Tensor, ...]:
        """Compute the features of CTs.

        Args:
            hu: (b, 1, z, y, x) in HU, any edges; under autocast the network runs in its type.

        Returns:
            One (b, channels, z, y, x) per layer, in the order of `layers`, each on its own grid.

        Raises:
            ValueError: the shape is another.
        """
        if hu.ndim != 5 or hu.shape[1] != 1:
            raise ValueError(f"input of shape {tuple(hu.shape)}; expected (batch, 1, z, y, x)")
        hu = hu.float()  # fp16 has steps of 1 HU in dense bone
        statistics = volume_statistics(hu) if isinstance(self.normalisation, VolumeZScore) else None  # without padding
        image = normalise(self._pad(hu), self.normalisation, statistics)
        if self.flips:
            image = image.flip([2 + AXES.index(axis) for axis in self.flips])
        found: dict[str, Tensor] = {}
        for name, features in self.backbone.maps(image):
            if name in self.layers:
                found[name] = features
            if len(found) == len(self.layers):
                break
        return tuple(found[name] for name in self.layers)

    def _pad(self, hu: Tensor) -> Tensor:
        """Add air at the far end of each axis; one voxel alone at the bottom would have no deviation to divide by."""
        edges = hu.shape[2:]
        padding = [-edge % factor for edge, factor in zip(edges, self.multiple, strict=True)]
        if all(edge + more == factor for edge, more, factor in zip(edges, padding, self.multiple, strict=True)):
            padding[2] += self.multiple[2]
        flat = [side for more in reversed(padding) for side in (0, more)]
        return nn.functional.pad(hu, flat, value=AIR_HU) if any(padding) else hu


def _require_layers(layers: Sequence[str], known: Sequence[str]) -> None:
    for name in layers:
        if name not in known:
            raise UsageError(f"layer '{name}' is unknown; expected one of {', '.join(known)}")
    if not layers or len(set(layers)) != len(layers):
        raise UsageError(f"layers are {', '.join(layers) or 'none'}; expected one at least, each once")
