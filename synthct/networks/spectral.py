"""Spectral norm: a convolution's weights divided by their largest singular value, while it is trained.

The rows of the matrix are the output channels, its columns everything else (Miyato and others, 2018). It is not torch's
own: a run's moving average also averages the two vectors that torch keeps. They get shorter, and torch would then take
the singular value for smaller than it is. Here one vector is kept, and its length does not matter.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from synthct.networks.precision import full_precision

__all__ = ["parametrised", "plain_state", "plain_tensors", "spectral"]

EPSILON = 1e-12
FIRST_ITERATIONS = 15
"""Before the first step; each step of training adds one."""
LOADING_ITERATIONS = 60
"""Where finished weights are taken up: there are no steps before the first gradient."""

_ORIGINAL = "parametrizations.weight.original"
_VECTOR = "parametrizations.weight.0._u"
_PLAIN = "weight"


def spectral(conv: nn.Conv3d) -> nn.Conv3d:
    """Give a convolution spectral norm, in place; its bias stays as it is.

    What is trained is `parametrizations.weight.original`. In training mode each forward pass makes one step of the
    power iteration and keeps it; in evaluation mode it makes the same step and forgets it, so results do not depend on
    how often the network was asked. The singular value is in float32 under autocast too.

    Args:
        conv: initialised; its weights are (outputs, inputs, z, y, x).

    Returns:
        The same module.
    """
    parametrize.register_parametrization(conv, "weight", _SpectralNorm(conv.weight.detach()))
    return conv


def plain_state(network: nn.Module) -> dict[str, Tensor]:
    """Return `plain_tensors` of a network's own state dict; detached, whatever is not folded shares its memory."""
    return plain_tensors(network.state_dict())


def plain_tensors(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Fold spectral norm into plain weights, exactly as evaluation mode computes them.

    Args:
        state: a network's tensors by name, as its state dict or `own_tensors` gives them; one without spectral norm
            comes back as it is.

    Returns:
        The tensors of the same network built without spectral norm. What is not folded is not copied.

    Raises:
        ValueError: a weight lacks its vector.
    """
    folded: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if _has_end(name, _VECTOR):
            continue
        if not _has_end(name, _ORIGINAL):
            folded[name] = tensor
            continue
        stem = name.removesuffix(_ORIGINAL)
        if stem + _VECTOR not in state:
            raise ValueError(f"the tensors hold {name} but no {stem + _VECTOR}; expected a whole state dict")
        with torch.no_grad():
            folded[stem + _PLAIN] = _divided(tensor, state[stem + _VECTOR])[0]
    return folded


def parametrised(state: Mapping[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """Return plain tensors under the names of a network with spectral norm: the reverse of `plain_tensors`.

    Weights that were folded have a largest singular value of 1, and are what the network then computes with. Others
    are divided by theirs: a network trained without spectral norm would not be the same.

    Args:
        state: by plain name. What the network has not is passed on, for `fill_network` to refuse.
        network: with spectral norm on some convolutions, on any device; it is not changed.

    Returns:
        Tensors for `network.load_state_dict` or `fill_network`, with vectors that fit the weights.
    """
    own = network.state_dict()
    named: dict[str, Tensor] = {}
    for name, tensor in state.items():
        stem = name.removesuffix(_PLAIN)
        if not _has_end(name, _PLAIN) or stem + _ORIGINAL not in own:
            named[name] = tensor
            continue
        named[stem + _ORIGINAL] = tensor
        vector = own[stem + _VECTOR]
        if tensor.shape == own[stem + _ORIGINAL].shape:
            vector = _iterated(tensor.float(), vector.to(tensor.device), LOADING_ITERATIONS)
        named[stem + _VECTOR] = vector
    return named


class _SpectralNorm(nn.Module):
    """The parametrization: weights to weights of spectral norm 1."""

    _u: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        start = nn.functional.normalize(torch.randn_like(weight[:, 0, 0, 0, 0]), dim=0, eps=EPSILON)
        self.register_buffer("_u", _iterated(weight, start, FIRST_ITERATIONS))

    def forward(self, weight: Tensor) -> Tensor:
        with full_precision(weight):
            divided, vector = _divided(weight, self._u)
        if self.training:
            with torch.no_grad():
                self._u.copy_(vector)
        return divided


def _divided(weight: Tensor, vector: Tensor) -> tuple[Tensor, Tensor]:
    """One step of the power iteration; returns the weights over the singular value found, and the next vector.

    The gradient takes the two singular vectors for constants, as the paper does.
    """
    matrix = weight.flatten(1)
    with torch.no_grad():
        right = nn.functional.normalize(matrix.mT @ vector, dim=0, eps=EPSILON)
        left = nn.functional.normalize(matrix @ right, dim=0, eps=EPSILON)
    sigma = left @ (matrix @ right)
    return weight / sigma.clamp_min(EPSILON), left


@torch.no_grad()
def _iterated(weight: Tensor, vector: Tensor, iterations: int) -> Tensor:
    for _ in range(iterations):
        vector = _divided(weight, vector)[1]
    return vector


def _has_end(name: str, end: str) -> bool:
    """Whether a dotted name ends in these parts."""
    return name == end or name.endswith("." + end)
