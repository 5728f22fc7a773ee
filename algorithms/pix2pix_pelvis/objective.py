"""What pix2pix-pelvis trains: adversarial + 100 L1 on patches (paper 003, equation 1)."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from algorithms.pix2pix_pelvis.network import Discriminator, UNetGenerator
from algorithms.pix2pix_pelvis.settings import RecipeConfig
from synthct.losses.adversarial import real_or_fake
from synthct.losses.pixel import masked_l1
from synthct.training.objective import Batch, Networks

__all__ = ["DISCRIMINATOR", "GENERATOR", "Pix2PixObjective"]

GENERATOR = "generator"
DISCRIMINATOR = "discriminator"

AIR = -1.0
"""What the discriminator is shown outside the mask, for real and fake alike: it must not judge what nobody wants."""


class Pix2PixObjective:
    """Two turns an iteration: the discriminator's, then the generator's against the discriminator just stepped.

    Args:
        config: the preset.
    """

    def __init__(self, config: RecipeConfig) -> None:
        self._config = config
        self._adversarial = config.adversarial_weight > 0

    def networks(self) -> dict[str, nn.Module]:
        """Build generator and, where there is an adversarial term, discriminator."""
        built: dict[str, nn.Module] = {GENERATOR: UNetGenerator(self._config.network)}
        if self._adversarial:
            built[DISCRIMINATOR] = Discriminator(self._config.network)
        return built

    def optimisers(self, nets: dict[str, nn.Module]) -> dict[str, tuple[tuple[str, ...], torch.optim.Optimizer]]:
        """Adam for each network, with the paper's one learning rate."""
        config = self._config
        return {
            name: ((name,), torch.optim.Adam(net.parameters(), lr=config.learning_rate, betas=config.betas))
            for name, net in nets.items()
        }

    def losses(self, nets: Networks, batch: Batch) -> Iterator[tuple[str, Tensor, dict[str, Tensor]]]:
        """Yield each turn's loss; L1 is told in HU."""
        config = self._config
        fake = nets[GENERATOR](batch.image).float()
        adversarial = fake.new_zeros(())
        if self._adversarial:
            shown_fake, shown_real = (ct * batch.weight + AIR * (1 - batch.weight) for ct in (fake, batch.reference))
            real = real_or_fake(nets[DISCRIMINATOR](batch.image, shown_real), is_real=True)
            faked = real_or_fake(nets[DISCRIMINATOR](batch.image, shown_fake.detach()), is_real=False)
            loss = 0.5 * (real + faked)
            yield DISCRIMINATOR, loss, {}
            with nets.frozen(DISCRIMINATOR) as judge:
                adversarial = real_or_fake(judge(batch.image, shown_fake), is_real=True)
        l1 = masked_l1(fake, batch.reference, batch.weight)
        loss = config.l1_weight * l1 + config.adversarial_weight * adversarial
        yield GENERATOR, loss, {"l1_hu": l1.detach() * config.ct_scale, "adversarial": adversarial.detach()}
