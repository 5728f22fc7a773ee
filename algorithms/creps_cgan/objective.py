"""What CREPs cGAN trains: adversarial + 20 style, on patches that belong to no pair (paper 001, equation 5)."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from algorithms.creps_cgan.consistency import gradient_consistency
from algorithms.creps_cgan.discriminator import Discriminator
from algorithms.creps_cgan.network import Generator
from algorithms.creps_cgan.ranks import RankTable
from algorithms.creps_cgan.settings import RecipeConfig
from synthct.errors import UsageError
from synthct.losses.adversarial import real_or_fake
from synthct.losses.anatomical import Features
from synthct.losses.style import StyleLoss
from synthct.training.objective import Batch, Networks
from synthct.training.optimisers import one_each

__all__ = ["DISCRIMINATOR", "GENERATOR", "CrepsObjective"]

GENERATOR = "generator"
DISCRIMINATOR = "discriminator"


class CrepsObjective:
    """The discriminator's turns, then the generator's against the discriminator just stepped.

    Nothing is masked. A batch's weight tells where its reference, a CT of another patient, has its body; the synthetic
    CT has none of its own, and both losses look at patches as a whole.

    An identity term (the generator leaves a CT as it is) is no part of it: MR is the only input that the generator is
    for, and its units are not HU. 0 is air in one and water in the other, so the same value would have to become -1
    for an MR and stay 0 for a CT; and CTs that pass through would mix into the running statistics of its batch norm.

    Args:
        config: the preset.
        extractor: frozen network of the style loss, on the run's device: HU in, maps (batch, c, slices, h, w) out.
            None where the loss has no such term; with a style weight of 0 it is not looked at.
        ranks: of the run's images and CTs, for a rank prior or start; on the run's device.

    Raises:
        UsageError: the preset has a style loss, and there is no extractor.
    """

    def __init__(self, config: RecipeConfig, extractor: Features | None = None, ranks: RankTable | None = None) -> None:
        self._config = config
        self._ranks = ranks
        self._adversarial = config.adversarial_weight > 0
        self._style = None
        if config.style_weight > 0:
            if extractor is None:
                raise UsageError(f"style_weight is {config.style_weight:g}, and no feature extractor is given")
            self._style = StyleLoss(extractor, config.style_reduction)

    def networks(self) -> dict[str, nn.Module]:
        """Build generator and, where there is an adversarial term, discriminator."""
        generator = Generator(self._config.network)
        if generator.ranks is not None and self._ranks is not None:
            generator.ranks.load_state_dict(self._ranks.state_dict())
        built: dict[str, nn.Module] = {GENERATOR: generator}
        if self._adversarial:
            built[DISCRIMINATOR] = Discriminator(self._config.discriminator)
        return built

    def optimisers(self, nets: dict[str, nn.Module]) -> dict[str, tuple[tuple[str, ...], torch.optim.Optimizer]]:
        """AdamW for each network, at the paper's one learning rate unless the discriminator has its own."""
        config = self._config
        rates = {GENERATOR: config.learning_rate, DISCRIMINATOR: config.discriminator_rate or config.learning_rate}
        return one_each(
            nets,
            lambda name, parameters: torch.optim.AdamW(
                parameters, lr=rates[name], betas=config.betas, weight_decay=config.weight_decay
            ),
        )

    def losses(self, nets: Networks, batch: Batch) -> Iterator[tuple[str, Tensor, dict[str, Tensor]]]:
        """Yield each turn's loss; the terms are told before their weights.

        With several discriminator_steps the log's discriminator_loss is their sum.
        """
        config = self._config
        fake = nets[GENERATOR](batch.image).float()
        if self._adversarial:
            for _ in range(config.discriminator_steps):
                real = real_or_fake(nets[DISCRIMINATOR](batch.reference), is_real=True)
                faked = real_or_fake(nets[DISCRIMINATOR](fake.detach()), is_real=False)
                yield DISCRIMINATOR, 0.5 * (real + faked), {}
        yield GENERATOR, *self._generator_loss(nets, batch, fake)

    def _generator_loss(self, nets: Networks, batch: Batch, fake: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        config = self._config
        terms: dict[str, tuple[float, Tensor]] = {}
        if self._style is not None:
            in_hu = (units * config.ct_scale for units in (fake, batch.reference))
            terms["style"] = config.style_weight, self._style(*in_hu)
        if self._adversarial:
            with nets.frozen(DISCRIMINATOR) as judge:
                terms["adversarial"] = config.adversarial_weight, real_or_fake(judge(fake), is_real=True)
        if config.consistency_weight > 0:
            terms["consistency"] = config.consistency_weight, gradient_consistency(batch.image, fake)
        if self._ranks is not None and config.rank_weight > 0:
            terms["rank"] = config.rank_weight, (fake - self._ranks(batch.image)).abs().mean()
        loss = torch.stack([weight * term for weight, term in terms.values()]).sum()
        return loss, {name: term.detach() for name, (_, term) in terms.items()}
