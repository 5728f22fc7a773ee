"""What every extractor does: its own units, padding with air, frozen weights, a gradient for the input."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from synthct.errors import UsageError
from synthct.features.folder import random_extractor
from synthct.features.interface import Axis, Backbone, FeatureExtractor
from synthct.features.normalisation import VolumeZScore, air_value, normalise, volume_statistics
from synthct.intensity import LinearScale, ZScore

UNITS = ZScore(mean=100.0, std=200.0, low=-900.0, high=1100.0)
SMALL = {
    "nnunet": {
        "kind": "plain",
        "features": (4, 8, 8),
        "kernels": ((1, 3, 3), (3, 3, 3), (3, 3, 3)),
        "strides": ((1, 1, 1), (1, 2, 2), (2, 2, 2)),
        "encoder_blocks": 1,
        "decoder_blocks": 1,
    },
    "navi-airway": {"features": (8, 8, 16, 16)},
    "medicalnet": {"depth": 10},
}


class Identity(Backbone):
    """Two maps, by hand: the normalised image, and its double. Remembers whether the second was computed."""

    map_names = ("first", "second")
    default_layers = ("first", "second")
    multiple = (2, 4, 4)

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(2.0))
        self.computed: list[str] = []

    def maps(self, image: Tensor) -> Iterator[tuple[str, Tensor]]:
        self.computed.append("first")
        yield "first", image
        self.computed.append("second")
        yield "second", image * self.factor


def make(
    units: ZScore | LinearScale | VolumeZScore = UNITS,
    layers: tuple[str, ...] | None = None,
    flips: tuple[Axis, ...] = (),
) -> FeatureExtractor:
    return FeatureExtractor(Identity(), units, layers=layers, name="identity", sha256="0", random=False, flips=flips)


def ramp(*shape: int) -> Tensor:
    return torch.linspace(-800.0, 1000.0, math.prod(shape)).reshape(1, 1, *shape)


def test_hu_are_clipped_and_normalised() -> None:
    hu = torch.tensor([-2000.0, -900.0, 100.0, 300.0, 3000.0, 0.0, 0.0, 0.0]).reshape(1, 1, 2, 1, 4)
    first, second = make()(hu.expand(1, 1, 2, 4, 4))
    assert first[0, 0, 0, 0, :4].tolist() == [-5.0, -5.0, 0.0, 1.0]
    assert first[0, 0, 1, 0, :4].tolist() == [5.0, -0.5, -0.5, -0.5]
    assert torch.equal(second, 2 * first)


def test_the_same_as_the_normalisation_of_arrays() -> None:
    hu = ramp(2, 3, 4)
    for units in (UNITS, LinearScale(low=-500, high=700, offset=-1000, scale=1600)):
        assert torch.allclose(normalise(hu, units), torch.from_numpy(units.apply(hu.numpy())), atol=1e-6)


def test_air_is_what_minus_1000_hu_becomes() -> None:
    assert make().air == -5.0  # clipped at -900 HU
    assert make(ZScore(mean=0.0, std=500.0)).air == -2.0
    assert make(LinearScale(low=-1000, high=600, offset=-1000, scale=1600)).air == 0.0
    assert air_value(VolumeZScore()) is None
    assert make(VolumeZScore()).air is None


def test_edges_are_padded_with_air_at_the_far_end() -> None:
    hu = ramp(3, 5, 7)
    (first,) = make(layers=("first",))(hu)
    assert first.shape == (1, 1, 4, 8, 8)
    assert torch.equal(first[..., :3, :5, :7], normalise(hu, UNITS))
    outside = torch.ones_like(first, dtype=torch.bool)
    outside[..., :3, :5, :7] = False
    assert torch.all(first[outside] == -5.0)


def test_nothing_is_padded_that_fits_and_one_voxel_at_the_bottom_is_made_two() -> None:
    assert make(layers=("first",))(ramp(2, 4, 8))[0].shape == (1, 1, 2, 4, 8)
    assert make(layers=("first",))(ramp(2, 4, 4))[0].shape == (1, 1, 2, 4, 8)
    assert make(layers=("first",))(ramp(1, 1, 1))[0].shape == (1, 1, 2, 4, 8)


def test_a_volumes_own_statistics_leave_the_padding_out() -> None:
    hu = ramp(3, 5, 7)
    (first,) = make(VolumeZScore(), layers=("first",))(hu)
    inside = first[..., :3, :5, :7]
    assert abs(float(inside.mean())) < 1e-5
    assert abs(float(inside.std(correction=0)) - 1.0) < 1e-5
    mean, deviation = volume_statistics(hu)
    assert float(first[0, 0, 3, 7, 7]) == pytest.approx(float((-1000 - mean) / deviation), abs=1e-5)


def test_each_volume_of_a_batch_has_its_own_statistics_and_a_constant_one_is_0() -> None:
    batch = torch.cat((ramp(2, 4, 8), 10 * ramp(2, 4, 8) + 5, torch.full((1, 1, 2, 4, 8), 40.0))).requires_grad_()
    (first,) = make(VolumeZScore(), layers=("first",))(batch)
    assert torch.allclose(first[0], first[1], atol=1e-5)
    assert torch.equal(first[2], torch.zeros(1, 2, 4, 8))
    first.sum().backward()
    assert batch.grad is not None
    assert bool(torch.isfinite(batch.grad).all())


def test_axes_are_turned_round_for_networks_that_were_trained_so() -> None:
    hu = ramp(2, 4, 8)
    (plain,) = make(layers=("first",))(hu)
    (turned,) = make(layers=("first",), flips=("y", "x"))(hu)
    assert torch.equal(turned, plain.flip(3, 4))
    assert not torch.equal(turned, plain)


def test_layers_come_in_the_order_asked_for_and_no_further_one_is_computed() -> None:
    extractor = make(layers=("second", "first"))
    second, first = extractor(ramp(2, 4, 8))
    assert torch.equal(second, 2 * first)
    assert extractor.layers == ("second", "first")
    short = make(layers=("first",))
    short(ramp(2, 4, 8))
    assert isinstance(short.backbone, Identity)
    assert short.backbone.computed == ["first"]


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        (("third",), "layer 'third' is unknown; expected one of first, second"),
        ((), "layers are none; expected one at least"),
        (("first", "first"), "layers are first, first; expected one at least, each once"),
    ],
)
def test_layers_that_are_not_there(layers: tuple[str, ...], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make(layers=layers)


@pytest.mark.parametrize("shape", [(1, 2, 4, 4, 4), (1, 4, 4, 4), (4, 4, 4)])
def test_a_wrong_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected \(batch, 1, z, y, x\)"):
        make()(torch.zeros(shape))


@pytest.mark.parametrize("kind", ["nnunet", "navi-airway", "medicalnet"])
def test_the_gradient_reaches_the_input_and_not_the_weights(kind: str) -> None:
    extractor = random_extractor(kind, 1, network=SMALL[kind])  # type: ignore[arg-type]
    hu = (torch.randn(1, 1, 6, 17, 18, generator=torch.Generator().manual_seed(4)) * 300).requires_grad_()
    loss = torch.stack([features.abs().mean() for features in extractor(hu)]).sum()
    loss.backward()
    assert hu.grad is not None
    assert float(hu.grad.abs().sum()) > 0
    assert float(hu.grad[0, 0, 3].abs().sum()) > 0
    assert [name for name, weight in extractor.named_parameters() if weight.grad is not None] == []
    assert not any(weight.requires_grad for weight in extractor.parameters())


@pytest.mark.parametrize("kind", ["nnunet", "navi-airway", "medicalnet"])
def test_the_gradient_is_that_of_the_features(kind: str) -> None:
    """Along the gradient, the features change as fast as it says."""
    extractor = random_extractor(kind, 1, network=SMALL[kind], normalisation=ZScore(mean=0, std=500))  # type: ignore[arg-type]
    hu = torch.randn(1, 1, 8, 16, 16, generator=torch.Generator().manual_seed(5)) * 300
    leaf = hu.clone().requires_grad_()

    def loss(image: Tensor) -> Tensor:
        return torch.stack([features.square().mean() for features in extractor(image)]).sum()

    loss(leaf).backward()
    assert leaf.grad is not None
    steepness = float(leaf.grad.norm())
    step = leaf.grad / steepness * 10.0  # 10 HU, spread over 2048 voxels: small against the kinks of the ReLUs
    with torch.no_grad():
        measured = float(loss(hu + step) - loss(hu - step)) / 20.0
    assert steepness > 0
    assert measured == pytest.approx(steepness, rel=0.1)


def test_training_mode_does_not_reach_it() -> None:
    around = nn.ModuleList([random_extractor("medicalnet", 1)]).train()
    extractor = around[0]
    assert not any(module.training for module in extractor.modules())
    before = {name: tensor.clone() for name, tensor in extractor.named_buffers()}
    extractor(torch.randn(1, 1, 16, 16, 16) * 300)
    assert all(torch.equal(tensor, before[name]) for name, tensor in extractor.named_buffers())


@pytest.mark.parametrize("kind", ["nnunet", "navi-airway", "medicalnet"])
def test_autocast(kind: str) -> None:
    """Normalised in float32, run in bfloat16, and still near what float32 gives."""
    extractor = random_extractor(kind, 1, network=SMALL[kind])  # type: ignore[arg-type]
    hu = (torch.randn(1, 1, 8, 16, 16, generator=torch.Generator().manual_seed(6)) * 300).requires_grad_()
    exact = [features.detach() for features in extractor(hu)]
    with torch.autocast("cpu", torch.bfloat16):
        rough = extractor(hu)
    assert any(features.dtype == torch.bfloat16 for features in rough)
    for close, features in zip(exact, rough, strict=True):
        assert float((close - features.detach().float()).abs().mean()) < 0.05 * float(close.abs().mean() + 1e-3)
    torch.stack([features.float().mean() for features in rough]).sum().backward()
    assert hu.grad is not None
    assert bool(torch.isfinite(hu.grad).all())


def test_half_precision_input_is_taken_as_it_is_worth() -> None:
    hu = torch.full((1, 1, 2, 4, 8), 300.0, dtype=torch.float16)
    assert torch.all(make(layers=("first",))(hu)[0] == 1.0)


def test_random_extractors_say_so_and_are_repeatable() -> None:
    state = torch.get_rng_state()
    one, same, other = (random_extractor("nnunet", seed, network=SMALL["nnunet"]) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert one.random
    assert one.name == "nnunet with RANDOM weights (seed 1)"
    assert len(one.sha256) == 64
    assert one.sha256 == same.sha256 != other.sha256
    hu = ramp(2, 4, 8)
    assert torch.equal(one(hu)[-1], same(hu)[-1])
    assert not torch.equal(one(hu)[-1], other(hu)[-1])
    with pytest.raises(UsageError, match="extractor kind 'vgg' is unknown; expected nnunet, navi-airway, medicalnet"):
        random_extractor("vgg", 1)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="network of kind medicalnet: depth: Input should be 10, 18, 34 or 50"):
        random_extractor("medicalnet", 1, network={"depth": 11})
