"""The AFP loss against figures worked out by hand, on a net small enough for that."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from synthct.losses.anatomical import AnatomicalFeatureLoss, feature_distance


class TinyNet(nn.Module):
    """Two layers: relu(2 a), then relu(3 b - 1): 1 x 1 x 1 convolutions, frozen."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv3d(1, 1, 1), nn.Conv3d(1, 1, 1)
        with torch.no_grad():
            self.first.weight.fill_(2.0)
            self.first.bias.fill_(0.0)
            self.second.weight.fill_(3.0)
            self.second.bias.fill_(-1.0)
        self.requires_grad_(False)

    def forward(self, hu: Tensor) -> tuple[Tensor, ...]:
        one = torch.relu(self.first(hu))
        return one, torch.relu(self.second(one))


def row(*values: float) -> Tensor:
    return torch.tensor(values).reshape(1, 1, 1, 1, -1)


def test_the_loss_by_hand() -> None:
    # prediction 1, -1 -> layer one 2, 0 -> layer two 5, 0; reference 2, 3 -> 4, 6 -> 11, 17
    # differences: (2 + 6) / 2 = 4; (6 + 17) / 2 = 11.5
    arguments = row(1.0, -1.0), row(2.0, 3.0), row(1.0, 1.0)
    assert AnatomicalFeatureLoss(TinyNet(), "sum")(*arguments).item() == 15.5
    assert AnatomicalFeatureLoss(TinyNet(), "mean")(*arguments).item() == 7.75


def test_the_gradient_by_hand_reaches_the_prediction_and_not_the_extractor() -> None:
    net = TinyNet()
    prediction = row(1.0, -1.0).requires_grad_()
    AnatomicalFeatureLoss(net, "sum")(prediction, row(2.0, 3.0), row(1.0, 1.0)).backward()
    # first voxel: layer one falls short, slope -2 / 2; layer two -2 * 3 / 2; the second voxel is cut off by relu
    assert prediction.grad is not None
    assert prediction.grad.flatten().tolist() == [-4.0, 0.0]
    assert [parameter.grad for parameter in net.parameters()] == [None] * 4


def test_where_the_weight_is_0_the_extractor_sees_the_ct() -> None:
    prediction = row(1.0, 100.0).requires_grad_()
    loss = AnatomicalFeatureLoss(TinyNet(), "sum")(prediction, row(2.0, 3.0), row(1.0, 0.0))
    loss.backward()
    # (2 + 6) / 2 voxels, and half of the patch counts
    assert loss.item() == (2 + 6) / 2 / 0.5
    assert prediction.grad is not None
    assert prediction.grad.flatten()[1] == 0.0


@pytest.mark.parametrize("inside", [1, 2, 4])
def test_the_share_inside_the_mask_does_not_change_the_balance(inside: int) -> None:
    """The same error in each voxel that counts is the same loss, as it is for L1 inside the mask."""
    weight = row(*(1.0 if voxel < inside else 0.0 for voxel in range(4)))
    loss = AnatomicalFeatureLoss(TinyNet(), "sum")(row(*[1.0] * 4), row(*[2.0] * 4), weight)
    assert loss.item() == pytest.approx(2 + 6)


def test_equal_images_are_0_apart() -> None:
    image = torch.randn(2, 1, 3, 4, 5)
    assert AnatomicalFeatureLoss(TinyNet())(image, image.clone(), torch.ones_like(image)).item() == 0.0


def test_each_layer_counts_alike_however_large_its_maps() -> None:
    ones, zeros = [torch.ones(1, 8, 4, 4, 4), torch.ones(1, 1, 1, 1, 1)], [torch.zeros(1, 8, 4, 4, 4), torch.zeros(1)]
    zeros[1] = zeros[1].reshape(1, 1, 1, 1, 1)
    assert feature_distance(ones, zeros, "sum").item() == 2.0
    assert feature_distance(ones, zeros, "mean").item() == 1.0


def test_half_precision_maps_are_compared_in_single() -> None:
    large = [torch.full((1, 1, 1, 1, 4), 60000.0, dtype=torch.float16)]
    assert feature_distance(large, [-large[0]], "sum").item() == 120000.0


def test_another_number_of_maps_is_refused() -> None:
    with pytest.raises(ValueError, match="1 feature maps against 2; expected as many, and some"):
        feature_distance([row(1.0)], [row(1.0), row(1.0)], "sum")
    with pytest.raises(ValueError, match="0 feature maps against 0"):
        feature_distance([], [], "sum")
