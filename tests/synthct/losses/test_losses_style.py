"""Gram matrices and the style loss against figures worked out by hand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
import torch
from torch import Tensor, nn

from synthct.features.interface import Backbone, FeatureExtractor
from synthct.intensity import LinearScale
from synthct.losses.style import StyleLoss, gram


class TwoChannels:
    """One layer: channels a and 2 a for a slice whose voxels are a, plus a second layer 3 a where asked for."""

    def __init__(self, *, second: bool = False) -> None:
        self.second = second

    def __call__(self, hu: Tensor) -> Sequence[Tensor]:
        first = torch.cat((hu, 2 * hu), dim=1)
        return (first, 3 * hu) if self.second else (first,)


def volume(*slices: float) -> Tensor:
    """(1, 1, slices, 1, 2): each slice two voxels of one value."""
    return torch.tensor(slices).reshape(1, 1, -1, 1, 1).expand(-1, -1, -1, -1, 2).contiguous()


def test_gram_of_two_channels_by_hand() -> None:
    """a = 1 2 3 4 and b = 0 1 0 -1: aa = 30, ab = 2 - 4 = -2, bb = 2; divided by c h w = 2 * 2 * 2."""
    maps = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]], [[0.0, 1.0], [0.0, -1.0]]]])
    assert (gram(maps) * 8).tolist() == [[[30.0, -2.0], [-2.0, 2.0]]]


def test_gram_knows_not_where_things_are() -> None:
    """Moving all channels' pixels alike changes nothing; moving one channel's does. Images of a batch stay apart."""
    draw = torch.Generator().manual_seed(0)
    maps = torch.randn(3, 4, 5, 6, generator=draw)
    moved = maps.flatten(2)[:, :, torch.randperm(30, generator=draw)].reshape(maps.shape)
    torch.testing.assert_close(gram(moved), gram(maps))
    torch.testing.assert_close(gram(maps[1:2]), gram(maps)[1:2])
    one = torch.cat((moved[:, :1], maps[:, 1:]), dim=1)
    assert not torch.allclose(gram(one), gram(maps))
    assert gram(maps).shape == (3, 4, 4)


def test_gram_in_bf16_autocast_is_float32() -> None:
    """257 needs nine bits, bf16 has eight: rounded first, the square would be 256^2."""
    maps = torch.full((1, 1, 1, 3), 257.0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = maps.flatten(2) @ maps.flatten(2).mT
        found = gram(maps)
    assert rounded.dtype == torch.bfloat16  # what the switch is there for
    assert (found.dtype, found.item()) == (torch.float32, 257.0**2)
    assert gram(maps.to(torch.bfloat16)).item() == 256.0**2  # maps that come in 16 bits are summed in 32


def test_maps_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"maps of shape \(2, 3, 4\); expected \(n, channels, height, width\)"):
        gram(torch.zeros(2, 3, 4))


def test_sum_and_mean_by_hand() -> None:
    """Slices of value v have Grams v^2 * 2 pixels / (2 * 1 * 2) * [[1, 2], [2, 4]]: entries that sum to 4.5 v^2.

    sCT slices 1 and 2, CT slices 3 and 0: |1 - 9| = 8 and |4 - 0| = 4, times 4.5, over 2 slices = 27.
    """
    prediction, reference = volume(1.0, 2.0), volume(3.0, 0.0)
    assert StyleLoss(TwoChannels(), "sum")(prediction, reference).item() == 27.0
    assert StyleLoss(TwoChannels(), "mean")(prediction, reference).item() == 27.0 / 4
    assert StyleLoss(TwoChannels())(prediction, reference).item() == 27.0


def test_layers_add_up() -> None:
    """The second layer: (3 v)^2 * 2 / (1 * 1 * 2) = 9 v^2, so 9 * (8 + 4) / 2 slices = 54 beside the first's 27."""
    prediction, reference = volume(1.0, 2.0), volume(3.0, 0.0)
    assert StyleLoss(TwoChannels(second=True), "sum")(prediction, reference).item() == 27.0 + 54.0
    assert StyleLoss(TwoChannels(second=True), "mean")(prediction, reference).item() == 27.0 / 4 + 54.0


def test_it_is_a_mean_over_the_batch() -> None:
    """Batches of one and the mean of their losses, so that micro-batches add up to a larger batch."""
    draw = torch.Generator().manual_seed(2)
    prediction, reference = (torch.randn(3, 1, 4, 5, 6, generator=draw) for _ in range(2))
    loss = StyleLoss(TwoChannels(second=True))
    alone = [loss(prediction[n : n + 1], reference[n : n + 1]) for n in range(3)]
    torch.testing.assert_close(loss(prediction, reference), torch.stack(alone).mean())


def test_slice_meets_slice_of_the_same_number() -> None:
    loss = StyleLoss(TwoChannels())
    assert loss(volume(1.0, 2.0), volume(1.0, 2.0)).item() == 0.0
    assert loss(volume(1.0, 2.0), volume(2.0, 1.0)).item() == 4.5 * 3


def test_the_gradient_by_hand_reaches_the_prediction_alone() -> None:
    """4.5 |v^2 - w^2|, v^2 being half the sum of two voxels' squares: -+ 4.5 v for each voxel."""
    prediction, reference = volume(1.0, 2.0).requires_grad_(), volume(3.0, 0.0).requires_grad_()
    StyleLoss(TwoChannels(), "sum")(prediction, reference).backward()
    assert prediction.grad is not None
    assert prediction.grad.flatten().tolist() == [-4.5 / 2, -4.5 / 2, 9.0 / 2, 9.0 / 2]
    assert reference.grad is None


class TwoStages(Backbone):
    """A 3-D network whose second map has half the slices."""

    map_names = default_layers = ("one", "two")
    multiple = (2, 2, 2)

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv3d(1, 3, 3, padding=1), nn.Conv3d(3, 4, 3, 2, padding=1)

    def maps(self, image: Tensor) -> Iterator[tuple[str, Tensor]]:
        image = torch.relu(self.one(image))
        yield "one", image
        yield "two", torch.relu(self.two(image))


def test_a_frozen_extractor_passes_the_gradient_on_and_keeps_none() -> None:
    """Each layer counts by its own number of slices: 6 and 3."""
    torch.manual_seed(0)
    scale = LinearScale(low=-1000.0, high=3000.0, offset=-1000.0, scale=4000.0)
    extractor = FeatureExtractor(TwoStages(), scale, name="small", sha256="0", random=True)
    prediction = (torch.rand(1, 1, 6, 8, 8) * 1000).requires_grad_()
    reference = torch.rand(1, 1, 6, 8, 8) * 1000
    loss = StyleLoss(extractor)(prediction, reference)
    expected = torch.zeros(())
    for ours, theirs in zip(extractor(prediction), extractor(reference), strict=True):
        slices = [gram(ours[:, :, n]) - gram(theirs[:, :, n]) for n in range(ours.shape[2])]
        expected = expected + torch.stack([each.abs().sum() for each in slices]).mean()
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert prediction.grad is not None
    assert prediction.grad.abs().sum() > 0
    assert [parameter.grad for parameter in extractor.parameters()] == [None] * 4


class Silent(nn.Module):
    """Gives no map for sCTs, or one too few."""

    def __init__(self, *counts: int) -> None:
        super().__init__()
        self.counts = list(counts)

    def forward(self, hu: Tensor) -> tuple[Tensor, ...]:
        return (hu,) * self.counts.pop(0)


def test_images_that_cannot_be_compared_are_refused() -> None:
    with pytest.raises(ValueError, match=r"sCT of \(1, 1, 2, 1, 2\) against CT of \(1, 1, 3, 1, 2\)"):
        StyleLoss(TwoChannels())(volume(1.0, 2.0), volume(1.0, 2.0, 3.0))
    with pytest.raises(ValueError, match="0 feature maps against 0; expected as many, alike, and some"):
        StyleLoss(Silent(0, 0))(volume(1.0), volume(1.0))
    with pytest.raises(ValueError, match="1 feature maps against 2"):
        StyleLoss(Silent(2, 1))(volume(1.0), volume(1.0))
