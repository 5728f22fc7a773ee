"""What pix2pix-pelvis trains: adversarial + 100 L1 on patches (paper 003, equation 1)."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from algorithms.intensities import air_units
from algorithms.pix2pix_pelvis.discriminator import Discriminator
from algorithms.pix2pix_pelvis.network import UNetGenerator
from algorithms.pix2pix_pelvis.settings import RecipeConfig
from synthct.losses.adversarial import real_or_fake
from synthct.losses.pixel import masked_l1
from synthct.training.objective import Batch, Networks
from synthct.training.optimisers import one_each

__all__ = ["DISCRIMINATOR", "GENERATOR", "Pix2PixObjective"]

GENERATOR = "generator"
DISCRIMINATOR = "discriminator"


class Pix2PixObjective:
    """Two turns an iteration: the discriminator's, then the generator's against the discriminator just stepped.

    The discriminator takes the mean of its two cross entropies, as pix2pix does. It is shown air outside the mask, for
    real and fake alike: it must not judge what nobody wants.

    Args:
        config: the preset.
    """

    def __init__(self, config: RecipeConfig) -> None:
        self._config = config
        self._air = air_units(config.ct)
        self._adversarial = config.adversarial_weight > 0

    def networks(self) -> dict[str, nn.Module]:
        """Build generator and, where there is an adversarial term, discriminator."""
        built: dict[str, nn.Module] = {GENERATOR: UNetGenerator(self._config.network)}
        if self._adversarial:
            built[DISCRIMINATOR] = Discriminator(self._config.discriminator, self._config.network)
        return built

    def optimisers(self, nets: dict[str, nn.Module]) -> dict[str, tuple[tuple[str, ...], torch.optim.Optimizer]]:
        """Adam for each network, with the paper's one learning rate."""
        config = self._config
        return one_each(
            nets, lambda _, parameters: torch.optim.Adam(parameters, lr=config.learning_rate, betas=config.betas)
        )

    def losses(self, nets: Networks, batch: Batch) -> Iterator[tuple[str, Tensor, dict[str, Tensor]]]:
        """Yield each turn's loss; L1 is told in HU.

        The discriminator's turn tells how sure it is that real and fake are real, as probabilities (means of
        sigmoid(logit)). Both near 0.5: it tells nothing apart. 1 and 0 for long: it has won, and teaches nothing.
        """
        config = self._config
        fake = nets[GENERATOR](batch.image).float()
        adversarial = fake.new_zeros(())
        if self._adversarial:
            shown_fake, shown_real = (
                ct * batch.weight + self._air * (1 - batch.weight) for ct in (fake, batch.reference)
            )
            of_real = nets[DISCRIMINATOR](batch.image, shown_real)
            of_fake = nets[DISCRIMINATOR](batch.image, shown_fake.detach())
            loss = 0.5 * (real_or_fake(of_real, is_real=True) + real_or_fake(of_fake, is_real=False))
            said = {"real_said_real": of_real, "fake_said_real": of_fake}
            yield DISCRIMINATOR, loss, {name: logits.detach().sigmoid().mean() for name, logits in said.items()}
            with nets.frozen(DISCRIMINATOR) as judge:
                adversarial = real_or_fake(judge(batch.image, shown_fake), is_real=True)
        l1 = masked_l1(fake, batch.reference, batch.weight)
        loss = config.l1_weight * l1 + config.adversarial_weight * adversarial
        yield GENERATOR, loss, {"l1_hu": l1.detach() * config.ct_scale, "adversarial": adversarial.detach()}
