"""What nnresunet-afp trains on: L1, the anatomical feature-prioritised loss, or both (ALGORITHMS 1.3)."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from algorithms.nnresunet_afp.network import build_network
from algorithms.nnresunet_afp.settings import RecipeConfig
from synthct.features.interface import FeatureExtractor
from synthct.losses.anatomical import AnatomicalFeatureLoss
from synthct.losses.pixel import masked_l1
from synthct.planning.plan import Plan
from synthct.training.objective import Batch, Network, Networks

__all__ = ["NETWORK", "AfpObjective"]

NETWORK = "network"
MOMENTUM = 0.99


class AfpObjective:
    """One turn an iteration.

    Args:
        config: the preset.
        plan: network and normalisations.
        extractor: frozen network of the AFP loss, on the run's device; None where the loss has no such term.
        fabric: whose precision the extractor runs in too.
    """

    def __init__(self, config: RecipeConfig, plan: Plan, extractor: FeatureExtractor | None, fabric: Fabric) -> None:
        self._config = config
        self._plan = plan
        self._features = None
        if extractor is not None:
            self._features = AnatomicalFeatureLoss(Network(extractor, fabric), config.reduction)

    def networks(self) -> dict[str, nn.Module]:
        """Build the network."""
        plan = self._plan
        return {NETWORK: build_network(plan.network, plan.image, plan.ct, global_skip=self._config.global_skip)}

    def optimisers(self, nets: dict[str, nn.Module]) -> dict[str, tuple[tuple[str, ...], torch.optim.Optimizer]]:
        """SGD with Nesterov's momentum, or AdamW."""
        config, weights = self._config, nets[NETWORK].parameters()
        optimiser: torch.optim.Optimizer
        if config.optimiser == "sgd":
            optimiser = torch.optim.SGD(
                weights, lr=config.learning_rate, momentum=MOMENTUM, nesterov=True, weight_decay=config.weight_decay
            )
        else:
            optimiser = torch.optim.AdamW(weights, lr=config.learning_rate, weight_decay=config.weight_decay)
        return {NETWORK: ((NETWORK,), optimiser)}

    def losses(self, nets: Networks, batch: Batch) -> Iterator[tuple[str, Tensor, dict[str, Tensor]]]:
        """Yield the loss; L1 is told in HU, the AFP term before its weight."""
        config, ct = self._config, self._plan.ct
        predicted = nets[NETWORK](batch.image).float()
        l1 = masked_l1(predicted, batch.reference, batch.weight)
        loss = config.l1_weight * l1
        scalars = {"l1_hu": l1.detach() * ct.std}
        if self._features is not None:
            hu, wanted = (units * ct.std + ct.mean for units in (predicted, batch.reference))
            afp = self._features(hu, wanted, batch.weight)
            loss = loss + config.afp_weight * afp
            scalars["afp"] = afp.detach()
        yield NETWORK, loss, scalars
