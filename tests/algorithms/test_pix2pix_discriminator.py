"""Discriminator of pix2pix-pelvis: what it sees and says by either reading of 9 x 9, in 3-D and slice by slice."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file
from torch import Tensor, nn

from algorithms.interface import find_algorithm
from algorithms.pix2pix_pelvis.discriminator import Discriminator, DiscriminatorConfig
from algorithms.pix2pix_pelvis.network import Dimensions, NetworkConfig, UNetGenerator
from algorithms.pix2pix_pelvis.predictor import ModelConfig
from algorithms.pix2pix_pelvis.settings import RecipeConfig
from algorithms.presets import read_preset
from synthct.networks.patch_judges import edge_after, least_edge
from synthct.weights import read_card

ABOUT = find_algorithm("pix2pix-pelvis")
FLAT: dict[str, Any] = {"dimensions": 2, "strides": [(1, 2, 2)] * 4, "kernels": [(1, 3, 3)] * 5}
FIELDS = (9, 16, 34, 70)
HALVES = (slice(0, 4), slice(3, 7))
"""Of 7 logits, when they are averaged onto 2."""


def judge(field: int = 9, dimensions: Dimensions = 3, width: int = 2, **changes: Any) -> Discriminator:
    torch.manual_seed(0)
    network = NetworkConfig.model_validate((FLAT if dimensions == 2 else {}) | {"discriminator_width": width})
    return Discriminator(DiscriminatorConfig.model_validate({"receptive_field": field} | changes), network)


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(5))


def reached(network: Discriminator, shape: tuple[int, int, int], place: tuple[int, int, int]) -> list[list[int]]:
    """Voxels (z, y, x) with a gradient from one logit, of MR and CT together, each axis by itself.

    Instance norm lets every voxel reach every logit through mean and deviation; it is made the identity here.
    """
    for name, module in list(network.net.named_children()):
        if isinstance(module, nn.InstanceNorm3d):
            setattr(network.net, name, nn.Identity())
    image, ct = (noise(1, 1, *shape).requires_grad_() for _ in range(2))
    network.eval()(image, ct)[(0, 0, *place)].backward()
    assert image.grad is not None
    assert ct.grad is not None
    found = (image.grad[0, 0].abs() > 0) | (ct.grad[0, 0].abs() > 0)
    return [
        found.any(dim=[other for other in range(3) if other != axis]).nonzero().flatten().tolist() for axis in range(3)
    ]


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("field", FIELDS)
def test_receptive_field_in_3_d(field: int, axis: int) -> None:
    """Measured along one axis; the others are as short as gives one logit, so all of their voxels are in reach."""
    layers = DiscriminatorConfig.model_validate({"receptive_field": field}).layers
    shape, place = [least_edge(1, layers)] * 3, [0] * 3
    shape[axis] = 3 * field
    place[axis] = edge_after(shape[axis], layers) // 2
    found = reached(judge(field), (shape[0], shape[1], shape[2]), (place[0], place[1], place[2]))[axis]
    assert (len(found), found[-1] - found[0] + 1) == (field, field)


@pytest.mark.parametrize("field", FIELDS)
def test_receptive_field_in_2_d(field: int) -> None:
    """In-plane the same; a logit sees its own slice alone."""
    edge = 3 * field
    network = judge(field, 2)
    middle = network(*noise(2, 1, 1, 3, edge, edge)).shape[-1] // 2
    z, y, x = reached(network, (3, edge, edge), (1, middle, middle))
    assert z == [1]
    for found in (y, x):
        assert (len(found), found[-1] - found[0] + 1) == (field, field)


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_parameters_by_hand() -> None:
    """k^3 (k^2 in 2-D) taps, a bias an output; scale and shift of the norms of all hidden layers but the first."""
    assert parameters(judge(9, 3, 16)) == (27 * 2 * 16 + 16) + (64 * 16 + 1)
    assert parameters(judge(9, 2, 16)) == (9 * 2 * 16 + 16) + (16 * 16 + 1)
    hidden = {16: (4, 8), 34: (4, 8, 16), 70: (4, 8, 16, 32), 142: (4, 8, 16, 32, 32)}
    for field, widths in hidden.items():
        for dimensions, taps in ((3, 64), (2, 16)):
            joined = zip((2, *widths), (*widths, 1), strict=True)
            convolutions = sum(taps * before * after + after for before, after in joined)
            norms = 2 * sum(widths[1:])
            found = [parameters(judge(field, dimensions, 4, norm=norm)) for norm in ("none", "instance")]
            assert found == [convolutions, convolutions + norms], field


def test_order_of_layers() -> None:
    plain, normed = ["Conv3d", "LeakyReLU"], ["Conv3d", "InstanceNorm3d", "LeakyReLU"]
    for dimensions in (2, 3):
        found = {field: [type(layer).__name__ for layer in judge(field, dimensions).net] for field in (9, 16, 70)}
        assert found == {
            9: [*plain, "Conv3d"],
            16: [*plain, *normed, "Conv3d"],
            70: [*plain, *normed * 3, "Conv3d"],
        }
    assert type(judge(70, output_grid=3).net[-1]).__name__ == "AdaptiveAvgPool3d"


def test_a_field_of_9_is_the_net_that_the_starter_was_trained_with() -> None:
    """Names, shapes and strides of before; the norm's setting changes nothing."""
    for norm in ("instance", "none"):
        shapes = {name: tuple(tensor.shape) for name, tensor in judge(9, 3, 16, norm=norm).state_dict().items()}
        assert shapes == {
            "net.0.weight": (16, 2, 3, 3, 3),
            "net.0.bias": (16,),
            "net.2.weight": (1, 16, 4, 4, 4),
            "net.2.bias": (1,),
        }
    first, _, last = judge().net
    assert (first.stride, first.padding, last.stride, last.padding) == ((2,) * 3, (1,) * 3, (1,) * 3, (1,) * 3)


@pytest.mark.parametrize(("dimensions", "patch"), [(3, (32, 160, 160)), (2, (1, 256, 256))])
def test_logit_map_is_what_comes_out(dimensions: Dimensions, patch: tuple[int, int, int]) -> None:
    for field in FIELDS:
        with torch.device("meta"):
            logits = judge(field, dimensions)(*torch.empty(2, 1, 1, *patch))
        assert tuple(logits.shape[2:]) == DiscriminatorConfig(receptive_field=field).logit_map(patch, dimensions)


def test_logits_are_averaged_onto_the_grid_by_hand() -> None:
    """A map of 15 onto 3 or 5: means of blocks of 5 or 3 an axis. Of 7 onto 2, the middle one counts in both."""
    image, ct = noise(2, 1, 1, 32, 32, 32)
    plain = judge()(image, ct)
    assert plain.shape[2:] == (15, 15, 15)
    for grid, block in ((3, 5), (5, 3)):
        blocks = plain.reshape(grid, block, grid, block, grid, block).mean(dim=(1, 3, 5))
        torch.testing.assert_close(judge(output_grid=grid)(image, ct)[0, 0], blocks)
    image, ct = noise(2, 1, 1, 1, 16, 16)
    plain = judge(9, 2)(image, ct)[0, 0, 0]
    by_hand = torch.stack([torch.stack([plain[y, x].mean() for x in HALVES]) for y in HALVES])
    torch.testing.assert_close(judge(9, 2, output_grid=2)(image, ct)[0, 0, 0], by_hand)


def test_in_2_d_slices_are_judged_one_by_one() -> None:
    """Without norms a stack of slices gives the logits of each; 3 slices of a grid stay one plane in training."""
    image, ct = noise(2, 1, 1, 3, 24, 24)
    network = judge(34, 2, norm="none")
    stack = network(image, ct)
    for number in range(3):
        one = slice(number, number + 1)
        torch.testing.assert_close(stack[:, :, one], network(image[:, :, one], ct[:, :, one]))
    assert judge(34, 2, output_grid=2)(*noise(2, 1, 1, 1, 24, 24)).shape == (1, 1, 1, 2, 2)


def test_logits_and_gradients_stay_in_float32_under_autocast() -> None:
    """70 voxels over 32 slices: the last convolution has 3 slices, where bf16 on a CPU may read what nobody wrote."""
    network, (image, ct) = judge(70), noise(2, 1, 1, 32, 40, 40)
    found = []
    for mixed in (False, True):
        network.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            logits = network(image.bfloat16().float(), ct.bfloat16() if mixed else ct.bfloat16().float())
        assert logits.dtype == torch.float32
        logits.square().mean().backward()
        found.append([logits.detach(), *(parameter.grad.clone() for parameter in network.parameters())])
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def recipe(field: int, patch: tuple[int, int, int], dimensions: int = 3, **changes: Any) -> RecipeConfig:
    flat = {"dimensions": 2, "strides": [(1, 1, 1)], "kernels": [(1, 3, 3)] * 2}
    deep = {"strides": [(1, 1, 1)], "kernels": [(3, 3, 3)] * 2}
    return RecipeConfig.model_validate(
        {
            "network": {"widths": (4, 4), **(flat if dimensions == 2 else deep)},
            "discriminator": {"receptive_field": field, "output_grid": changes.pop("grid", None)},
            "sampling": {"patch": patch},
            **changes,
        }
    )


@pytest.mark.parametrize(
    ("field", "patch", "dimensions", "grid", "complaint"),
    [
        (9, (2, 8, 8), 3, None, r"patch \(2, 8, 8\) .* too small for one logit .* sees 9 .* edges of 3 or more"),
        (16, (6, 6, 5), 3, None, "sees 16 voxels; expected edges of 6 or more"),
        (70, (24, 23, 24), 3, None, "sees 70 voxels; expected edges of 24 or more"),
        (142, (1, 48, 47), 2, None, "sees 142 voxels; expected edges of 48 or more in y and x"),
        (70, (32, 160, 160), 3, 9, "too small for a grid of 9 logits an axis .* expected edges of 88 or more "),
        (70, (1, 88, 87), 2, 9, "expected edges of 88 or more in y and x"),
        (9, (20, 10, 20), 3, 5, "a grid of 5 logits an axis .* edges of 11 or more"),
    ],
)
def test_patches_too_small_are_refused_with_the_settings(
    field: int, patch: tuple[int, int, int], dimensions: int, grid: int | None, complaint: str
) -> None:
    with pytest.raises(ValidationError, match=complaint) as caught:
        recipe(field, patch, dimensions, grid=grid)
    assert "\n" not in caught.value.errors()[0]["msg"]
    assert recipe(field, patch, dimensions, grid=grid, adversarial_weight=0).adversarial_weight == 0


def test_patches_just_large_enough_are_taken() -> None:
    assert recipe(9, (3, 3, 3)).sampling.patch == (3, 3, 3)
    assert recipe(70, (88, 88, 90), grid=9).discriminator.output_grid == 9
    assert recipe(70, (1, 88, 88), 2, grid=9).network.dimensions == 2


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"receptive_field": 10}, "9, 16, 34, 70 or 142"),
        ({"output_grid": 0}, "greater than 0"),
        ({"norm": "batch"}, "'instance' or 'none'"),
        ({"width": 4}, "Extra inputs"),
    ],
)
def test_settings_that_make_no_discriminator(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        DiscriminatorConfig.model_validate(changes)


def test_initial_weights_are_he_s_for_the_slope() -> None:
    network = judge(34, 3, 32)
    for module in network.modules():
        if isinstance(module, nn.Conv3d) and module.weight.numel() > 5000:
            expected = math.sqrt(2 / (1.04 * module.weight[0].numel()))
            assert float(module.weight.detach().std()) == pytest.approx(expected, rel=0.05)
            assert module.bias is not None
            assert not module.bias.any()


def test_presets_hold_both_readings_and_both_dimensionalities() -> None:
    read = {name: RecipeConfig.model_validate(read_preset(ABOUT, name)) for name in ABOUT.presets}
    assert list(read) == ["full", "slices", "grid", "starter"]
    told = {
        name: (preset.network.dimensions, preset.discriminator.receptive_field, preset.discriminator.output_grid)
        for name, preset in read.items()
    }
    assert told == {"full": (3, 9, None), "slices": (2, 9, None), "grid": (2, 70, 9), "starter": (3, 9, None)}
    for name in ("slices", "grid"):
        preset, full = read[name], read["full"]
        assert (preset.sampling.patch, preset.windows.patch) == ((1, 256, 256), (1, 256, 256))
        assert preset.network.widths == full.network.widths
        same = {"batch", "learning_rate", "betas", "l1_weight", "adversarial_weight", "loop", "image_scale", "ct_scale"}
        assert preset.model_dump(include=same) == full.model_dump(include=same)
    assert read["grid"].discriminator.logit_map((1, 256, 256), 2) == (1, 9, 9)
    in_3_d = read["full"].model_dump() | {"discriminator": {"receptive_field": 70, "output_grid": 9}}
    with pytest.raises(ValidationError, match="88 or more"):
        RecipeConfig.model_validate(in_3_d)
    in_3_d["sampling"]["patch"] = (96, 160, 160)  # what grid.yaml names
    assert RecipeConfig.model_validate(in_3_d).discriminator.logit_map((96, 160, 160), 3) == (9, 9, 9)


def test_the_starter_s_model_json_still_loads() -> None:
    """It names no dimensions: 3. Its tensors have the names and shapes of the generator that it describes."""
    folder: Path = ABOUT.starter
    config = read_card(folder).config
    assert "dimensions" not in config["network"]
    model = ModelConfig.model_validate(config)
    assert (model.network.dimensions, model.network.discriminator_width) == (3, 16)
    wanted = {name: tensor.shape for name, tensor in UNetGenerator(model.network).state_dict().items()}
    assert wanted == {name: tensor.shape for name, tensor in load_file(folder / "weights.safetensors").items()}
