"""Stage one: the autoencoder learns to give back the CT it is shown (ALGORITHMS 4)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from algorithms.ldm_brain.codec import reconstruct
from algorithms.ldm_brain.networks import build_autoencoder
from algorithms.ldm_brain.pictures import compared
from algorithms.ldm_brain.settings import DiscriminatorConfig, RecipeConfig
from synthct.losses.adversarial import squared_real_or_fake
from synthct.losses.anatomical import AnatomicalFeatureLoss
from synthct.losses.pixel import masked_l1
from synthct.training.cache import CachedCase
from synthct.training.objective import Batch, CaseScore, Network, Networks
from synthct.training.optimisers import one_each

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from synthct.features.interface import FeatureExtractor

__all__ = ["AUTOENCODER", "AutoencoderObjective", "PatchJudge", "ReconstructionValidation", "kl_divergence"]

AUTOENCODER = "autoencoder"
DISCRIMINATOR = "discriminator"


class PatchJudge(nn.Module):
    """MONAI's patch discriminator, and a count of the micro-batches that the objective was given.

    The count is a buffer, so a checkpoint holds it: a resumed run's warm-up ends where it would have ended.
    """

    seen: Tensor

    def __init__(self, config: DiscriminatorConfig) -> None:
        super().__init__()
        from monai.networks.nets.patchgan_discriminator import PatchDiscriminator

        self.network = PatchDiscriminator(
            spatial_dims=3, in_channels=1, out_channels=1, channels=config.channels, num_layers_d=config.layers
        )
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    def forward(self, ct: Tensor) -> Tensor:
        """Return the logits of a normalised CT (batch, 1, z, y, x)."""
        maps: list[Tensor] = self.network(ct)
        return maps[-1]


class AutoencoderObjective:
    """The autoencoder's turn, then the discriminator's, as in MONAI's 3-D latent diffusion tutorial.

    With x the CT, y what comes back of one draw from the latent's distribution N(m, s), and D the discriminator:

        autoencoder: |y - x| + w_p features(y, x) + w_a (D(y) - 1)^2 + w_k KL
        discriminator: ((D(x) - 1)^2 + D(y)^2) / 2
        KL = 1/2 sum (m^2 + s^2 - ln s^2 - 1), summed over channels and voxels, mean over the batch

    All voxels count, air too: prediction's latents hold it as well. During the warm-up D neither judges nor learns.

    Args:
        config: the preset.
        extractor: frozen network of the feature term, on the run's device; None where there is no such term.
        fabric: whose precision the extractor runs in too.
    """

    def __init__(self, config: RecipeConfig, extractor: FeatureExtractor | None, fabric: Fabric) -> None:
        self._config = config
        self._warm_up = config.warm_up_iterations * config.autoencoder.loop.accumulation
        self._features = None
        if extractor is not None:
            self._features = AnatomicalFeatureLoss(Network(extractor, fabric), config.reduction)

    def networks(self) -> dict[str, nn.Module]:
        """Build the autoencoder and, where it is asked, the discriminator."""
        built: dict[str, nn.Module] = {AUTOENCODER: build_autoencoder(self._config.networks.autoencoder)}
        if self._config.adversarial_weight > 0:
            built[DISCRIMINATOR] = PatchJudge(self._config.discriminator)
        return built

    def optimisers(self, nets: dict[str, nn.Module]) -> dict[str, tuple[tuple[str, ...], torch.optim.Optimizer]]:
        """Adam for each, at one rate."""
        return one_each(nets, lambda _, weights: torch.optim.Adam(weights, lr=self._config.autoencoder.learning_rate))

    def losses(self, nets: Networks, batch: Batch) -> Iterator[tuple[str, Tensor, dict[str, Tensor]]]:
        """Yield each turn's loss; L1 inside the mask is told in HU, other terms before their weights."""
        config, real = self._config, batch.reference
        fake, mean, deviation = nets[AUTOENCODER](real)
        terms: dict[str, tuple[float, Tensor]] = {
            "l1": (1.0, (fake - real).abs().mean()),
            "kl": (config.kl_weight, kl_divergence(mean, deviation)),
        }
        if self._features is not None:
            hu, wanted = (units * config.ct.scale + config.ct.offset for units in (fake, real))
            terms["perceptual"] = config.perceptual_weight, self._features(hu, wanted, batch.weight)
        judges = self._judges(nets)
        if judges:
            with nets.frozen(DISCRIMINATOR) as judge:
                terms["adversarial"] = config.adversarial_weight, squared_real_or_fake(judge(fake), is_real=True)
        loss = torch.stack([weight * term for weight, term in terms.values() if weight > 0]).sum()
        scalars = {name: term.detach() for name, (_, term) in terms.items() if name != "l1"}
        yield AUTOENCODER, loss, {"l1_hu": masked_l1(fake, real, batch.weight).detach() * config.ct.scale, **scalars}
        if judges:
            judge = nets[DISCRIMINATOR]
            halves = [squared_real_or_fake(judge(real), is_real=True)]
            halves.append(squared_real_or_fake(judge(fake.detach()), is_real=False))
            yield DISCRIMINATOR, torch.stack(halves).mean(), {}

    def _judges(self, nets: Networks) -> bool:
        """Whether the discriminator takes part, counting this micro-batch."""
        if DISCRIMINATOR not in nets:
            return False
        seen: Tensor = nets[DISCRIMINATOR].seen
        before = int(seen)
        seen += 1
        return before >= self._warm_up


def kl_divergence(mean: Tensor, deviation: Tensor) -> Tensor:
    """KL divergence of N(mean, deviation) from N(0, 1), summed over channels and voxels, mean over the batch.

    Args:
        mean: (batch, c, z, y, x).
        deviation: above 0, of the same shape.
    """
    variance = deviation.square().clamp_min(torch.finfo(torch.float32).tiny)
    return 0.5 * (mean.square() + variance - variance.log() - 1.0).flatten(1).sum(1).mean()


class ReconstructionValidation:
    """Mean absolute error, in HU inside the mask, of whole CTs that were encoded and decoded, in prediction's tiles.

    Args:
        cases: normalised, with reference.
        config: the preset.
        fabric: device and precision.
    """

    def __init__(self, cases: Sequence[CachedCase], config: RecipeConfig, fabric: Fabric) -> None:
        self._cases = cases
        self._config = config
        self._fabric = fabric

    @property
    def cases(self) -> tuple[str, ...]:
        """Ids of the cases."""
        return tuple(case.id for case in self._cases)

    def score(self, nets: Mapping[str, nn.Module], index: int) -> CaseScore:
        """Judge one case; returns mae_hu and a picture: CT, what came back."""
        case, config = self._cases[index], self._config
        if case.reference is None:
            raise ValueError(f"{case.id} has no reference to be judged by")
        network: Any = Network(nets[AUTOENCODER], self._fabric)
        real = torch.from_numpy(np.array(case.reference)).to(self._fabric.device)
        z, y, x = real.shape
        tile = config.sampling.tile((z, y, x), patch=config.patches.patch, multiple=config.networks.multiple)
        fake = reconstruct(network, real, tile)
        truth, returned = (config.ct.invert(units.cpu().numpy()) for units in (real, fake))
        inside, middle = np.asarray(case.weight) > 0, z // 2
        error = float(np.abs(returned - truth)[inside].mean(dtype=np.float64))
        return CaseScore({"mae_hu": error}, {f"{case.id} CT, decoded": compared(truth[middle], returned[middle])})
