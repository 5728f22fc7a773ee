"""Autoencoder, diffusion UNet and ControlNet: MONAI's, their shapes, and how the three go together (ALGORITHMS 4)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from synthct.errors import WeightsError
from synthct.networks.shapes import require_multiple

if TYPE_CHECKING:
    from monai.networks.nets.autoencoderkl import AutoencoderKL
    from monai.networks.nets.controlnet import ControlNet
    from monai.networks.nets.diffusion_model_unet import DiffusionModelUNet

__all__ = [
    "AutoencoderConfig",
    "DenoiserConfig",
    "LatentDiffusion",
    "LdmConfig",
    "build_autoencoder",
    "build_controlnet",
    "build_networks",
    "build_unet",
    "copy_encoder",
    "steered",
]

Triple = tuple[int, int, int]
Width = Annotated[int, Field(gt=0, le=2048)]


def _require_groups(channels: tuple[int, ...], groups: int) -> None:
    for width in channels:
        if width % groups:
            raise ValueError(f"channels {width} do not divide by norm_groups {groups}; expected multiples of it")


class AutoencoderConfig(BaseModel):
    """Shape of the autoencoder; it has no attention.

    Attributes:
        channels: of each level; between two of them the volume is halved.
        latent_channels: of the latent.
        res_blocks: residual blocks of a level.
        norm_groups: of GroupNorm; divides every entry of `channels`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    channels: Annotated[tuple[Width, ...], Field(min_length=1, max_length=6)] = (64, 128, 128)
    latent_channels: int = Field(default=3, gt=0, le=64)
    res_blocks: int = Field(default=2, gt=0, le=8)
    norm_groups: int = Field(default=32, gt=0)

    @model_validator(mode="after")
    def _groups_divide(self) -> AutoencoderConfig:
        _require_groups(self.channels, self.norm_groups)
        return self

    @property
    def factor(self) -> int:
        """Voxels of the image along one edge of a latent voxel."""
        return int(2 ** (len(self.channels) - 1))


class DenoiserConfig(BaseModel):
    """Shape of the diffusion UNet, whose encoder the ControlNet copies.

    Attributes:
        channels: of each level; between two of them the latent is halved.
        attention: levels with self-attention. MONAI's block in the middle always has it.
        head_channels: of an attention head, for each level; 0 where there is none.
        res_blocks: residual blocks of a level.
        norm_groups: of GroupNorm; divides every entry of `channels`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    channels: Annotated[tuple[Width, ...], Field(min_length=1, max_length=6)] = (256, 256, 512)
    attention: tuple[bool, ...] = (False, True, True)
    head_channels: tuple[Annotated[int, Field(ge=0)], ...] = (0, 64, 64)
    res_blocks: int = Field(default=2, gt=0, le=8)
    norm_groups: int = Field(default=32, gt=0)

    @model_validator(mode="after")
    def _levels_agree(self) -> DenoiserConfig:
        _require_groups(self.channels, self.norm_groups)
        levels = len(self.channels)
        for name, entries in (("attention", self.attention), ("head_channels", self.head_channels)):
            if len(entries) != levels:
                raise ValueError(f"{name} has {len(entries)} entries; expected {levels}, one for each of channels")
        for level, (width, head) in enumerate(zip(self.channels, self.head_channels, strict=True)):
            attends = self.attention[level] or level == levels - 1  # the middle has attention at the last level's width
            if attends and (head == 0 or width % head):
                raise ValueError(f"head_channels {head} at level {level}; expected a divisor of its {width} channels")
        return self

    @property
    def multiple(self) -> int:
        """What every edge of a latent must be a multiple of."""
        return int(2 ** (len(self.channels) - 1))


class LdmConfig(BaseModel):
    """Shape of all three networks.

    Attributes:
        autoencoder: between CT and latent.
        denoiser: the UNet, and the ControlNet beside it.
        embedding: channels of the ControlNet's convolutions on the full-resolution MR; between two of them it is
            halved, so that it ends at the latent's size.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    autoencoder: AutoencoderConfig = AutoencoderConfig()
    denoiser: DenoiserConfig = DenoiserConfig()
    embedding: Annotated[tuple[Width, ...], Field(min_length=1, max_length=6)] = (16, 32, 64)

    @model_validator(mode="after")
    def _embedding_ends_at_the_latent(self) -> LdmConfig:
        wanted = int(math.log2(self.factor)) + 1
        if len(self.embedding) != wanted:
            raise ValueError(
                f"embedding has {len(self.embedding)} entries; expected {wanted}, one more than the halvings of the "
                f"autoencoder (factor {self.factor})"
            )
        return self

    @property
    def factor(self) -> int:
        """Voxels of the image along one edge of a latent voxel."""
        return self.autoencoder.factor

    @property
    def multiple(self) -> int:
        """What every edge of an image must be a multiple of for the UNet to take its latent."""
        return self.factor * self.denoiser.multiple

    def require_multiple(self, patch: Triple) -> None:
        """Refuse a patch of an image (z, y, x) that the three networks do not take.

        Raises:
            ValueError: an edge is no multiple of `multiple`.
        """
        require_multiple(patch, (self.multiple,) * 3)


class LatentDiffusion(nn.Module):
    """The three networks; tensors are named `autoencoder.*`, `unet.*` and `controlnet.*`."""

    def __init__(self, autoencoder: AutoencoderKL, unet: DiffusionModelUNet, controlnet: ControlNet) -> None:
        super().__init__()
        self.autoencoder = autoencoder
        self.unet = unet
        self.controlnet = controlnet

    def denoise(self, latent: Tensor, times: Tensor, condition: Tensor) -> Tensor:
        """Return the UNet's prediction for a noisy latent, steered by the ControlNet.

        Both are called directly: MONAI's inferer would first shrink the MR to the latent's size.

        Args:
            latent: scaled and noisy, (batch, c, z, y, x); its edges are multiples of the denoiser's `multiple`.
            times: of the noise process, (batch,).
            condition: normalised MR at full resolution, (batch, 1, factor z, factor y, factor x).

        Returns:
            What the noise process asks for (noise or velocity), of the latent's shape.
        """
        return steered(self.unet, self.controlnet, latent, times, condition)


def steered(unet: nn.Module, controlnet: nn.Module, latent: Tensor, times: Tensor, condition: Tensor) -> Tensor:
    """As `LatentDiffusion.denoise`, of two networks that stand alone."""
    down, middle = controlnet(latent, times, condition)
    prediction: Tensor = unet(
        latent, times, down_block_additional_residuals=tuple(down), mid_block_additional_residual=middle
    )
    return prediction


def build_networks(config: LdmConfig) -> LatentDiffusion:
    """Build all three in float32; weights are drawn with torch's global generator, the ControlNet's on their own."""
    return LatentDiffusion(build_autoencoder(config.autoencoder), build_unet(config), build_controlnet(config))


def build_autoencoder(config: AutoencoderConfig) -> AutoencoderKL:
    """Build the autoencoder: normalised CT (batch, 1, z, y, x) to latent (batch, c, z/f, y/f, x/f) and back."""
    from monai.networks.nets.autoencoderkl import AutoencoderKL

    levels = len(config.channels)
    return AutoencoderKL(
        spatial_dims=3,
        in_channels=1,
        out_channels=1,
        num_res_blocks=config.res_blocks,
        channels=config.channels,
        attention_levels=(False,) * levels,
        latent_channels=config.latent_channels,
        norm_num_groups=config.norm_groups,
        with_encoder_nonlocal_attn=False,
        with_decoder_nonlocal_attn=False,
    )


def build_unet(config: LdmConfig) -> DiffusionModelUNet:
    """Build the diffusion UNet: noisy latent (batch, c, z, y, x) and times (batch,) to a prediction of its shape."""
    from monai.networks.nets.diffusion_model_unet import DiffusionModelUNet

    return DiffusionModelUNet(out_channels=config.autoencoder.latent_channels, **_denoiser(config))


def build_controlnet(config: LdmConfig) -> ControlNet:
    """Build the ControlNet: noisy latent, times and full-resolution MR to residuals for the UNet's skips and middle."""
    from monai.networks.nets.controlnet import ControlNet

    return ControlNet(
        conditioning_embedding_in_channels=1,
        conditioning_embedding_num_channels=config.embedding,
        **_denoiser(config),
    )


def copy_encoder(unet: nn.Module, controlnet: nn.Module) -> None:
    """Copy the UNet's encoder and middle into the ControlNet, and check that nothing was passed over (ALGORITHMS 7.8).

    Raises:
        WeightsError: a weight of the ControlNet that is not its own got nothing, one of the UNet's encoder found no
            place, or a shape differs.
    """
    given = unet.state_dict()
    wanted = controlnet.state_dict()
    missing = [name for name in wanted if name not in given and not name.startswith("controlnet_")]
    unexpected = [name for name in given if name not in wanted and not name.startswith(("up_blocks.", "out."))]
    for names, words in ((missing, "is not in the UNet"), (unexpected, "of the UNet is not in the ControlNet")):
        if names:
            raise WeightsError(f"ControlNet: {names[0]} {words} ({len(names)} such); expected the same encoder")
    shared = {name: tensor for name, tensor in given.items() if name in wanted}
    for name, tensor in shared.items():
        if tensor.shape != wanted[name].shape:
            raise WeightsError(
                f"ControlNet: {name} has shape {tuple(wanted[name].shape)}, the UNet's {tuple(tensor.shape)}; expected "
                "the same encoder"
            )
    controlnet.load_state_dict(shared, strict=False)


def _denoiser(config: LdmConfig) -> dict[str, Any]:
    """What UNet and ControlNet must have in common."""
    denoiser = config.denoiser
    return {
        "spatial_dims": 3,
        "in_channels": config.autoencoder.latent_channels,
        "num_res_blocks": denoiser.res_blocks,
        "channels": denoiser.channels,
        "attention_levels": denoiser.attention,
        "norm_num_groups": denoiser.norm_groups,
        "num_head_channels": denoiser.head_channels,
        "use_flash_attention": True,  # the same numbers; without it 24^3 latent voxels' scores would fill a GPU
    }
