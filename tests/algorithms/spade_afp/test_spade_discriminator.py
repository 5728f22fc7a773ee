"""The discriminators of spade-afp: pyramid, receptive field, size, layers, refused patches."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from algorithms.spade_afp.discriminator import Discriminator, DiscriminatorConfig
from synthct.losses.adversarial import hinge_generator
from synthct.losses.feature_matching import feature_matching
from synthct.networks.spectral import plain_state

TINY: dict[str, Any] = {"width": 2}
THIN: dict[str, Any] = {"width": 2, "kernel": (3, 4, 4), "stride": (1, 2, 2), "pool": (1, 2, 2)}


def discriminator(**changes: Any) -> Discriminator:
    torch.manual_seed(0)
    return Discriminator(DiscriminatorConfig.model_validate(TINY | changes))


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(5))


def size(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def shapes(maps: list[list[Tensor]]) -> list[list[tuple[int, ...]]]:
    return [[tuple(each.shape[1:]) for each in scale] for scale in maps]


def test_full_size_by_hand() -> None:
    """Kernels of 64 taps, 2 -> 64 -> 128 -> 256 -> 512 -> 1; biases at both ends alone, two scales."""
    one = 64 * (2 * 64 + 64 * 128 + 128 * 256 + 256 * 512 + 512) + 64 + 1
    assert one == 11_051_073
    with torch.device("meta"):
        assert size(Discriminator(DiscriminatorConfig())) == 2 * one == 22_102_146
        assert size(Discriminator(DiscriminatorConfig(norm="none"))) == 2 * (one + 128 + 256 + 512)
        assert size(Discriminator(DiscriminatorConfig(spectral_norm=False, scales=1))) == one


def test_widths_double_up_to_eight_times() -> None:
    with torch.device("meta"):
        network = Discriminator(DiscriminatorConfig(layers=5, scales=1))
        maps = network(torch.empty(1, 1, 160, 160, 160), torch.empty(1, 1, 160, 160, 160))
    assert [each.shape[1] for each in maps[0]] == [64, 128, 256, 512, 512, 512, 1]


def test_pyramid_by_hand() -> None:
    """A mean over 3 voxels at every second one; what lies beyond the border does not count."""
    network = discriminator(scales=3, pool=(1, 2, 2), **{"kernel": (1, 1, 1), "stride": (1, 1, 1)})
    seen: list[Tensor] = []
    for layers in network.scales:
        layers[0].register_forward_hook(lambda module, given, made: seen.append(given[0]))
    row = torch.tensor([0.0, 3.0, 6.0, 30.0, 9.0, 0.0])
    image = row.reshape(1, 1, 1, 1, 6).expand(1, 1, 2, 6, 6)
    network(image, image + 1.0)
    first, second = (0.0 + 3.0) / 2, (3.0 + 6.0 + 30.0) / 3
    assert [tuple(each.shape) for each in seen] == [(1, 2, 2, 6, 6), (1, 2, 2, 3, 3), (1, 2, 2, 2, 2)]
    assert seen[1][0, 0, 1, 2].tolist() == [first, second, 13.0]
    torch.testing.assert_close(seen[1][0, 1], seen[1][0, 0] + 1.0)
    assert seen[2][0, 0, 0, 0].tolist() == [(first + second) / 2, (second + 13.0) / 2]


def test_the_second_scale_is_a_discriminator_of_the_pooled_patch() -> None:
    network = discriminator().eval()
    mr, ct = noise(1, 1, 64, 48, 48), noise(1, 1, 64, 48, 48).flip(2)
    alone = discriminator(scales=1).eval()
    alone.scales[0].load_state_dict(network.scales[1].state_dict())
    pooled = [nn.functional.avg_pool3d(each, 3, 2, 1, count_include_pad=False) for each in (mr, ct)]
    for ours, theirs in zip(network(mr, ct)[1], alone(*pooled)[0], strict=True):
        assert torch.equal(ours, theirs)
    first, second = (scale.state_dict()["0.0.parametrizations.weight.original"] for scale in network.scales)
    assert not torch.equal(first, second)  # weights of their own


@pytest.mark.parametrize(
    ("changes", "patch", "field"),
    [
        ({"layers": 3}, (88, 88, 88), (70, 70, 70)),
        ({"layers": 2}, (48, 48, 48), (34, 34, 34)),
        (THIN, (24, 88, 88), (11, 70, 70)),
    ],
)
def test_receptive_field_is_measured(
    changes: dict[str, Any], patch: tuple[int, int, int], field: tuple[int, int, int]
) -> None:
    """Voxels with a gradient to one logit. Instance norm lets every voxel reach every logit, so it is left out.

    By hand, from the last convolution back: 4, 4 + 3 = 7, 2 * 7 + 2 = 16, 34, 70, 142; along z of the thin one five
    kernels of 3 with no stride: 3 + 4 * 2 = 11.
    """
    network = discriminator(norm="none", scales=1, **{key: value for key, value in changes.items() if key != "width"})
    ct = noise(1, 1, *patch).requires_grad_()
    logits = network(noise(1, 1, *patch), ct)[0][-1]
    centre = tuple(edge // 2 for edge in logits.shape[2:])
    logits[(0, 0, *centre)].backward()
    assert ct.grad is not None
    reached = ct.grad[0, 0].nonzero()
    assert tuple((reached.amax(0) - reached.amin(0) + 1).tolist()) == field
    assert network.config.receptive_field == field


def test_four_layers_see_142() -> None:
    assert DiscriminatorConfig(layers=4).receptive_field == (142, 142, 142)
    assert DiscriminatorConfig().receptive_field == (70, 70, 70)


@pytest.mark.parametrize(
    ("changes", "patch"),
    [
        ({}, (48, 64, 48)),
        ({"pool": (1, 2, 2)}, (32, 48, 64)),
        ({"scales": 1}, (24, 31, 25)),
        (THIN, (4, 64, 48)),
        (THIN, (1, 48, 48)),
        (THIN | {"norm": "none", "layers": 2}, (1, 24, 24)),
    ],
)
def test_maps_have_the_shapes_that_are_told(changes: dict[str, Any], patch: tuple[int, int, int]) -> None:
    config = DiscriminatorConfig.model_validate(TINY | changes)
    with torch.device("meta"):
        maps = Discriminator(config)(torch.empty(2, 1, *patch), torch.empty(2, 1, *patch))
    assert [scale[-1] for scale in shapes(maps)] == [(1, *shape) for shape in config.logit_maps(patch)]


def test_maps_of_every_layer() -> None:
    """32 voxels: 16, 8, 4, 3, 2 where there is no pooling along z; 48 and 24 in-plane."""
    network = discriminator(pool=(1, 2, 2))
    maps = network(noise(1, 1, 32, 48, 48), noise(1, 1, 32, 48, 48))
    assert shapes(maps) == [
        [(2, 16, 24, 24), (4, 8, 12, 12), (8, 4, 6, 6), (16, 3, 5, 5), (1, 2, 4, 4)],
        [(2, 16, 12, 12), (4, 8, 6, 6), (8, 4, 3, 3), (16, 3, 2, 2), (1, 2, 1, 1)],
    ]


def test_layers_in_their_order() -> None:
    def leaves(network: nn.Module) -> list[str]:
        kinds = (nn.Conv3d, nn.InstanceNorm3d, nn.LeakyReLU)
        return [
            next(kind.__name__ for kind in kinds if isinstance(module, kind))
            for module in network.modules()
            if isinstance(module, kinds)
        ]

    norm = ["Conv3d", "InstanceNorm3d", "LeakyReLU"]
    assert leaves(discriminator(scales=1)) == ["Conv3d", "LeakyReLU", *norm * 3, "Conv3d"]
    assert leaves(discriminator(scales=1, norm="none")) == ["Conv3d", "LeakyReLU"] * 4 + ["Conv3d"]
    slopes = {module.negative_slope for module in discriminator().modules() if isinstance(module, nn.LeakyReLU)}
    assert slopes == {DiscriminatorConfig().negative_slope} == {0.2}
    assert sum("_u" in name for name in discriminator().state_dict()) == 2 * 5
    assert not [name for name in discriminator(spectral_norm=False).state_dict() if "parametrizations" in name]


def test_it_judges_the_ct_for_its_mr() -> None:
    network = discriminator(pool=(1, 2, 2)).eval()
    mr, ct = noise(1, 1, 32, 48, 48), noise(1, 1, 32, 48, 48).flip(3)
    with torch.no_grad():
        judged = network(mr, ct)
        for other in (network(mr.flip(4), ct), network(mr, ct.flip(4))):
            for ours, theirs in zip(judged, other, strict=True):
                assert not torch.allclose(ours[-1], theirs[-1], atol=1e-4)


def test_autocast_changes_nothing() -> None:
    network = discriminator(**{key: value for key, value in THIN.items() if key != "width"}).eval()
    mr, ct = noise(1, 1, 3, 48, 48), noise(1, 1, 3, 48, 48).flip(3)
    precise = network(mr, ct)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = network(mr, ct)
    for ours, theirs in zip(precise, mixed, strict=True):
        assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))
        assert {each.dtype for each in theirs} == {torch.float32}
    assert network(mr.bfloat16(), ct.bfloat16())[0][0].dtype == torch.float32


def test_gradients() -> None:
    """Against finite differences through the generator's loss, double precision; activations are changed in place."""
    config = DiscriminatorConfig.model_validate(THIN | {"layers": 1, "scales": 2, "width": 1})
    torch.manual_seed(1)
    network = Discriminator(config).eval()
    mr, ct, real = (noise(1, 1, 2, 12, 12).roll(step) for step in range(3))
    ct.requires_grad_()

    def loss(shown: Tensor) -> Tensor:
        fake = network(mr, shown)
        with torch.no_grad():
            wanted = network(mr, real)
        return sum((hinge_generator(maps[-1]) for maps in fake), torch.zeros(())) + feature_matching(fake, wanted)

    loss(ct).backward()
    assert ct.grad is not None
    direction = ct.grad / ct.grad.norm()
    with torch.no_grad():
        step = 1e-2
        slope = (loss(ct + step * direction) - loss(ct - step * direction)) / (2 * step)
    assert float(slope) == pytest.approx(float(ct.grad.norm()), rel=0.02)


def test_both_turns_of_a_gan_train_every_weight() -> None:
    network = discriminator(**{key: value for key, value in THIN.items() if key != "width"}).train()
    mr, ct = noise(1, 1, 2, 48, 48), noise(1, 1, 2, 48, 48).flip(3)
    logits = [maps[-1] for maps in (*network(mr, ct), *network(mr, ct.flip(4)))]
    torch.cat([each.flatten() for each in logits]).square().sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_copies_and_folding() -> None:
    network = discriminator(scales=1).eval()
    image = noise(1, 1, 24, 32, 32)
    twin, plain = copy.deepcopy(network), discriminator(scales=1, spectral_norm=False).eval()
    plain.load_state_dict(plain_state(network))
    for ours, theirs, folded in zip(
        network(image, image)[0], twin(image, image)[0], plain(image, image)[0], strict=True
    ):
        assert torch.equal(ours, theirs)
        torch.testing.assert_close(ours, folded, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "patch", "complaint"),
    [
        ({"scales": 1}, (23, 64, 64), r"\(23, 64, 64\) .* scale 1, .* convolution 5 of 5 leaves \(0, 6, 6\)"),
        ({}, (32, 160, 160), r"scale 2, which sees \(16, 80, 80\): convolution 5 of 5 leaves \(0, 8, 8\)"),
        (
            THIN | {"kernel": (3, 3, 3)},
            (1, 16, 16),
            r"scale 2, which sees \(1, 8, 8\): convolution 3 of 5 leaves \(1, 1, 1\)",
        ),
    ],
)
def test_patches_that_are_too_small(changes: dict[str, Any], patch: tuple[int, int, int], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        DiscriminatorConfig.model_validate(TINY | changes).logit_maps(patch)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"scales": 0}, "greater than or equal to 1"),
        ({"layers": 0}, "greater than or equal to 1"),
        ({"width": 0}, "greater than 0"),
        ({"kernel": (0, 4, 4)}, "greater than or equal to 1"),
        ({"stride": (3, 2, 2)}, "less than or equal to 2"),
        ({"pool": (2, 2, 3)}, "less than or equal to 2"),
        ({"negative_slope": -0.1}, "greater than or equal to 0"),
        ({"norm": "batch"}, "'instance' or 'none'"),
        ({"receptive_field": 70}, "Extra inputs"),
    ],
)
def test_settings_that_make_no_network(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        DiscriminatorConfig.model_validate(TINY | changes)
