"""What spade-afp trains: hinge, feature matching, L1 and anatomical features, on patches (paper 000, section 3.3)."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from algorithms.intensities import air_units
from algorithms.spade_afp.discriminator import Discriminator
from algorithms.spade_afp.network import build_generator
from algorithms.spade_afp.settings import RecipeConfig
from synthct.features.interface import FeatureExtractor
from synthct.intensity import LinearScale, ZScore
from synthct.losses.adversarial import hinge_generator, hinge_real_or_fake
from synthct.losses.anatomical import AnatomicalFeatureLoss
from synthct.losses.feature_matching import feature_matching
from synthct.losses.pixel import masked_l1
from synthct.training.objective import Batch, Network, Networks
from synthct.training.optimisers import one_each

__all__ = ["DISCRIMINATOR", "GENERATOR", "SpadeObjective"]

GENERATOR = "generator"
DISCRIMINATOR = "discriminator"

Maps = list[list[Tensor]]


class SpadeObjective:
    """The discriminator's turn, then the generator's against the discriminator just stepped.

    With D_k the discriminator's logits at scale k and means over voxels, batch and scales (ALGORITHMS 2.2):

        discriminator: relu(1 - D_k(real)) + relu(1 + D_k(fake))
        generator: -w_adv D_k(fake) + w_fm matching + w_l1 L1 + w_afp AFP

    Both are shown air outside the mask: the discriminator must not judge what nobody wants. L1 and AFP count inside it.

    Args:
        config: the preset.
        ct: normalisation of the CT.
        extractor: frozen network of the AFP loss, on the run's device; None where the loss has no such term.
        fabric: whose precision the extractor runs in too.
    """

    def __init__(
        self, config: RecipeConfig, ct: LinearScale | ZScore, extractor: FeatureExtractor | None, fabric: Fabric
    ) -> None:
        self._config = config
        self._air = air_units(ct)
        self._scale, self._offset = (ct.scale, ct.offset) if isinstance(ct, LinearScale) else (ct.std, ct.mean)
        self._features = None
        if extractor is not None:
            self._features = AnatomicalFeatureLoss(Network(extractor, fabric), config.reduction)

    def networks(self) -> dict[str, nn.Module]:
        """Build generator and, where a term of the loss asks it, discriminator."""
        config = self._config
        built: dict[str, nn.Module] = {GENERATOR: build_generator(config.generator)}
        if config.trains_discriminator:
            built[DISCRIMINATOR] = Discriminator(config.discriminator)
        return built

    def optimisers(self, nets: dict[str, nn.Module]) -> dict[str, tuple[tuple[str, ...], torch.optim.Optimizer]]:
        """Adam for each network, at a rate of its own where there are two time scales."""
        rates = dict(zip((GENERATOR, DISCRIMINATOR), self._config.rates, strict=True))
        return one_each(nets, lambda name, weights: torch.optim.Adam(weights, lr=rates[name], betas=self._config.betas))

    def losses(self, nets: Networks, batch: Batch) -> Iterator[tuple[str, Tensor, dict[str, Tensor]]]:
        """Yield each turn's loss; L1 is told in HU, the other terms before their weights."""
        fake = nets[GENERATOR](batch.image).float()
        terms: dict[str, tuple[float, Tensor]] = {}
        if self._config.trains_discriminator:
            shown, real = (ct * batch.weight + self._air * (1 - batch.weight) for ct in (fake, batch.reference))
            yield DISCRIMINATOR, self._discriminator_loss(nets[DISCRIMINATOR], batch.image, shown.detach(), real), {}
            with nets.frozen(DISCRIMINATOR) as judge:
                terms = self._judged(judge, batch.image, shown, real)
        yield GENERATOR, *self._generator_loss(fake, batch, terms)

    def _discriminator_loss(self, discriminator: Network, image: Tensor, fake: Tensor, real: Tensor) -> Tensor:
        found: Maps = discriminator(image, real)
        invented: Maps = discriminator(image, fake)
        return _mean(
            [
                hinge_real_or_fake(ours[-1], is_real=True) + hinge_real_or_fake(theirs[-1], is_real=False)
                for ours, theirs in zip(found, invented, strict=True)
            ]
        )

    def _judged(self, judge: Network, image: Tensor, fake: Tensor, real: Tensor) -> dict[str, tuple[float, Tensor]]:
        """The terms that the discriminator gives, with their weights; one that weighs nothing is not computed."""
        config = self._config
        terms = {}
        invented: Maps = judge(image, fake)
        if config.adversarial_weight > 0:
            hinge = _mean([hinge_generator(maps[-1]) for maps in invented])
            terms["adversarial"] = config.adversarial_weight, hinge
        if config.feature_matching_weight > 0:
            with torch.no_grad():
                wanted: Maps = judge(image, real)
            terms["matching"] = config.feature_matching_weight, feature_matching(invented, wanted)
        return terms

    def _generator_loss(
        self, fake: Tensor, batch: Batch, judged: dict[str, tuple[float, Tensor]]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        config = self._config
        l1 = masked_l1(fake, batch.reference, batch.weight)
        terms = {"l1": (config.l1_weight, l1), **judged}
        if self._features is not None:
            hu, wanted = (units * self._scale + self._offset for units in (fake, batch.reference))
            terms["afp"] = config.afp_weight, self._features(hu, wanted, batch.weight)
        # a term without weight is told, but 0 times what may be infinite would be no number
        loss = torch.stack([weight * term for weight, term in terms.values() if weight > 0]).sum()
        scalars = {name: term.detach() for name, (_, term) in terms.items() if name != "l1"}
        return loss, {"l1_hu": l1.detach() * self._scale, **scalars}


def _mean(values: list[Tensor]) -> Tensor:
    """Mean over the scales: their number is not to change the weight against the other terms."""
    return torch.stack(values).mean()
