"""What stays in float32 under autocast."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from algorithms.creps_cgan.discriminator import Discriminator, DiscriminatorConfig
from algorithms.creps_cgan.network import Generator, GeneratorConfig
from synthct.networks.precision import LastConvolution, full_precision


def test_autocast_is_left_and_found_again() -> None:
    layer, image = nn.Linear(3, 3), torch.randn(2, 3)
    with torch.autocast("cpu", torch.bfloat16):
        before = layer(image).dtype
        with full_precision(image):
            inside = layer(image).dtype
        after = layer(image).dtype
    assert (before, inside, after) == (torch.bfloat16, torch.float32, torch.bfloat16)


def test_autocast_comes_back_after_an_error() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        with pytest.raises(ValueError, match="stop"), full_precision(torch.zeros(1)):
            raise ValueError("stop")
        assert torch.is_autocast_enabled("cpu")


def test_without_autocast_and_on_the_meta_device_nothing_changes() -> None:
    with full_precision(torch.zeros(1)):
        assert not torch.is_autocast_enabled("cpu")
    with full_precision(torch.zeros(1, device="meta")):
        assert nn.Linear(1, 2, device="meta")(torch.zeros(1, device="meta")).shape == (2,)


def test_the_last_convolution_takes_what_comes_in_bf16() -> None:
    torch.manual_seed(0)
    layer = LastConvolution(4, 1, 1, bias=False)
    image = torch.randn(1, 4, 2, 3, 3).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        found = layer(image)
    assert found.dtype == torch.float32
    assert torch.equal(found, nn.functional.conv3d(image.float(), layer.weight))


def test_a_generator_ends_in_steps_finer_than_bf16s() -> None:
    """2000 HU is 2 in network units, where bf16 has steps of 1/64: 16 HU."""
    torch.manual_seed(0)
    generator = Generator(GeneratorConfig(width=2, inner=4, blocks=1)).eval()
    with torch.autocast("cpu", torch.bfloat16), torch.inference_mode():
        found = generator(torch.randn(1, 1, 8, 16, 16))
    assert found.dtype == torch.float32
    assert not torch.equal(found, found.bfloat16().float())


def test_a_discriminator_has_the_same_gradient_under_bf16() -> None:
    """Three slices before the fourth convolution: where PyTorch's bf16 kernel reads memory that nobody wrote."""
    torch.manual_seed(0)
    judge = Discriminator(DiscriminatorConfig())
    image = torch.randn(2, 1, 24, 64, 64)

    def gradients(*, mixed: bool) -> list[torch.Tensor]:
        judge.zero_grad()
        rubbish = [torch.full((size,), float("nan")) for size in (1000, 100_000, 1_000_000)]
        del rubbish  # what is handed out next may hold it
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            logits = judge(image)
        assert logits.dtype == torch.float32
        logits.square().mean().backward()
        return [parameter.grad.clone() for parameter in judge.parameters() if parameter.grad is not None]

    wanted = gradients(mixed=False)
    assert len(wanted) == 5 + 2 * 4
    for _ in range(5):
        found = gradients(mixed=True)
        assert all(torch.equal(ours, theirs) for ours, theirs in zip(found, wanted, strict=True))
