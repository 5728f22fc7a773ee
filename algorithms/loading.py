"""From a model folder to networks that predict: what algorithms' predictors share."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from pydantic import BaseModel, ValidationError

from synthct.errors import WeightsError
from synthct.weights import ModelFolder, load_tensors

if TYPE_CHECKING:
    from torch import nn

    Network = TypeVar("Network", bound=nn.Module)

__all__ = ["filled_networks", "model_settings"]

Settings = TypeVar("Settings", bound=BaseModel)


def model_settings(model: ModelFolder, schema: type[Settings]) -> Settings:
    """Read the settings that model.json holds for its algorithm.

    Args:
        model: opened; of an ensemble what its members have in common.
        schema: the algorithm's own class of them.

    Raises:
        WeightsError: they are not those of a model of this algorithm; the message names the folder and the first
            setting that does not fit.
    """
    try:
        return schema.model_validate(model.card.config)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "config"
        raise WeightsError(
            f"{model.path}: settings do not fit {model.card.algorithm} ({where}: {first['msg']})"
        ) from error


def filled_networks(model: ModelFolder, build: Callable[[], Network]) -> list[Network]:
    """Build a network for each member of a model folder and fill it.

    Tensors are compared before a network takes memory: a damaged model.json may declare one of any size.

    Args:
        model: opened.
        build: makes the network that predicts.

    Returns:
        One network, or those of an ensemble in the order of its folds; on the CPU, in training mode.

    Raises:
        WeightsError: a member's tensors are not the network's; the message names the file and the first tensor.
    """
    from synthct.networks.state import fill_network, require_fit

    networks = []
    for member in model.members:
        tensors = load_tensors(member)
        require_fit(build, tensors, str(member.weights))
        network = build()
        fill_network(network, tensors, str(member.weights))
        networks.append(network)
    return networks
