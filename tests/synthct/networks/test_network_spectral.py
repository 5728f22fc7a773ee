"""Spectral norm: the singular value, folding it into plain weights, and taking them up again."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from synthct.errors import WeightsError
from synthct.networks.spectral import parametrised, plain_state, plain_tensors, spectral
from synthct.networks.state import fill_network, own_tensors
from synthct.training.averaging import WeightAverage

VECTOR = "parametrizations.weight.0._u"
ORIGINAL = "parametrizations.weight.original"


def conv(inputs: int = 3, outputs: int = 5, kernel: int = 3, seed: int = 0) -> nn.Conv3d:
    torch.manual_seed(seed)
    return nn.Conv3d(inputs, outputs, kernel, padding=kernel // 2)


def network(*, with_spectral: bool = True, seed: int = 0) -> nn.Sequential:
    first, last = conv(1, 4, seed=seed), conv(4, 1, kernel=1, seed=seed + 1)
    return nn.Sequential(spectral(first) if with_spectral else first, nn.LeakyReLU(0.2), last)


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(5))


def largest_singular_value(weight: Tensor) -> float:
    return float(torch.linalg.matrix_norm(weight.detach().flatten(1), ord=2))


def test_by_hand() -> None:
    """A stretch by 3 along one axis and by 1 along the other becomes one by 1 and by 1/3."""
    layer = nn.Conv3d(2, 2, 1, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[3.0, 0.0], [0.0, -1.0]]).reshape(2, 2, 1, 1, 1))
    spectral(layer)
    expected = torch.tensor([[1.0, 0.0], [0.0, -1 / 3]])
    torch.testing.assert_close(layer.weight.flatten(1), expected)


@pytest.mark.parametrize("kernel", [1, 3])
def test_rows_are_output_channels_and_the_norm_is_one(kernel: int) -> None:
    layer = conv(3, 5, kernel)
    before = layer.weight.detach().clone()
    spectral(layer).train()
    for _ in range(30):
        layer(noise(1, 3, 2, 4, 4))
    assert largest_singular_value(layer.weight) == pytest.approx(1.0, rel=1e-4)
    torch.testing.assert_close(layer.weight, before / largest_singular_value(before), rtol=1e-4, atol=1e-5)


def test_the_scale_of_the_weights_and_the_bias_do_not_matter_to_the_norm() -> None:
    layer = spectral(conv()).eval()
    before = layer.weight.detach().clone()
    with torch.no_grad():
        layer.parametrizations["weight"].original.mul_(1000.0)
    torch.testing.assert_close(layer.weight, before)
    assert layer.bias is not None
    assert "bias" not in layer.parametrizations


def test_training_keeps_a_step_of_the_iteration_and_evaluation_does_not() -> None:
    layer = spectral(conv())
    vectors = []
    for mode in (True, False, False):
        layer.train(mode)
        layer(noise(1, 3, 2, 4, 4))
        vectors.append(layer.state_dict()[VECTOR].clone())
    start = spectral(conv()).state_dict()[VECTOR]
    assert not torch.equal(start, vectors[0])
    assert torch.equal(vectors[0], vectors[1])
    assert torch.equal(vectors[1], vectors[2])


def test_gradient_is_the_paper_s() -> None:
    """Miyato and others, equation 12: (R - <R, W'> u v^T) / sigma, with W' = W / sigma and R the gradient of W'."""
    layer = spectral(conv()).eval()
    original = layer.parametrizations["weight"].original
    upstream = noise(*original.shape)
    (layer.weight * upstream).sum().backward()
    with torch.no_grad():
        matrix, wanted = original.flatten(1), upstream.flatten(1)
        v = nn.functional.normalize(matrix.T @ layer.state_dict()[VECTOR], dim=0)
        u = nn.functional.normalize(matrix @ v, dim=0)
        sigma = u @ matrix @ v
        expected = (wanted - (wanted * matrix / sigma).sum() * torch.outer(u, v)) / sigma
    assert original.grad is not None
    torch.testing.assert_close(original.grad.flatten(1), expected)


def test_two_passes_before_one_backward_pass() -> None:
    """As in the discriminator's turn; the first pass's vector must not be overwritten under its graph."""
    layer = spectral(conv()).train()
    (layer(noise(1, 3, 2, 4, 4)) + layer(2 * noise(1, 3, 2, 4, 4))).sum().backward()
    gradient = layer.parametrizations["weight"].original.grad
    assert gradient is not None
    assert gradient.abs().max() > 0


def test_autocast_leaves_the_singular_value_alone() -> None:
    layer = spectral(conv()).eval()
    before = layer.weight.detach()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(layer.weight, before)


def test_weights_of_zero_stay_zero() -> None:
    layer = conv()
    nn.init.zeros_(layer.weight)
    spectral(layer)
    assert float(layer.weight.detach().abs().max()) == 0.0


def test_the_length_of_the_vector_does_not_matter() -> None:
    """An average of turning vectors is shorter than they are. torch's own spectral norm goes wrong by that factor."""
    ours = spectral(conv()).eval()
    theirs = nn.utils.parametrizations.spectral_norm(conv()).eval()
    before = [layer.weight.detach().clone() for layer in (ours, theirs)]
    with torch.no_grad():
        for layer in (ours, theirs):
            for buffer in layer.buffers():
                buffer.mul_(0.5)
    torch.testing.assert_close(ours.weight, before[0])
    torch.testing.assert_close(theirs.weight, 4.0 * before[1])


def test_a_moving_average_follows() -> None:
    """Copies, follows, and still has a norm of about one after weights that turned around."""
    moving = network().train()
    average = WeightAverage({"generator": moving})
    draw = torch.Generator().manual_seed(1)
    for _ in range(20):
        with torch.no_grad():
            weight = moving[0].parametrizations["weight"].original
            weight.add_(0.3 * torch.randn(weight.shape, generator=draw))
        moving(noise(1, 1, 2, 4, 4))
        average.follow({"generator": moving}, 0.9)
    copied = average.networks["generator"].eval()
    assert float(copied.state_dict()[f"0.{VECTOR}"].norm()) < 0.99
    assert largest_singular_value(copied[0].weight) == pytest.approx(1.0, rel=0.03)


def test_folded_weights_give_the_same_network() -> None:
    trained = network().train()
    for _ in range(3):
        trained(noise(1, 1, 2, 4, 4))
    trained.eval()
    plain = network(with_spectral=False, seed=7).eval()
    for tensors in (plain_state(trained), plain_tensors(own_tensors(trained))):
        assert list(tensors) == ["0.bias", "0.weight", "2.weight", "2.bias"]
        assert not any(tensor.requires_grad for tensor in tensors.values())
        fill_network(plain, tensors, "a test")
        image = noise(2, 1, 4, 6, 6)
        torch.testing.assert_close(plain(image), trained(image), rtol=0.0, atol=1e-6)
        assert torch.equal(plain[0].weight, trained[0].weight)


def test_folding_a_convolution_by_itself_and_one_without_spectral_norm() -> None:
    assert sorted(plain_state(spectral(conv()))) == ["bias", "weight"]
    untouched = conv().state_dict()
    folded = plain_tensors(untouched)
    assert list(folded) == list(untouched)
    assert all(folded[name] is untouched[name] for name in untouched)


def test_a_weight_without_its_vector_is_refused() -> None:
    state = network().state_dict()
    del state[f"0.{VECTOR}"]
    with pytest.raises(ValueError, match=rf"hold 0\.{ORIGINAL} but no 0\.{VECTOR}"):
        plain_tensors(state)


def test_plain_weights_are_taken_up() -> None:
    """Folded weights make the network that they came from, and come back from it."""
    trained = network().train()
    for _ in range(60):
        trained(noise(1, 1, 2, 4, 4))
    plain = plain_state(trained.eval())
    fresh = network(seed=3).train()
    before = copy.deepcopy(fresh.state_dict())
    tensors = parametrised(plain, fresh)
    assert all(torch.equal(tensor, before[name]) for name, tensor in fresh.state_dict().items())
    fill_network(fresh, tensors, "a test")
    fresh.load_state_dict(tensors)
    fresh.eval()
    image = noise(2, 1, 4, 6, 6)
    torch.testing.assert_close(fresh(image), trained(image), rtol=1e-4, atol=1e-5)
    for name, tensor in plain_state(fresh).items():
        torch.testing.assert_close(tensor, plain[name], rtol=1e-4, atol=1e-5)


def test_taking_up_leaves_a_network_without_spectral_norm_as_it_is() -> None:
    state = network(with_spectral=False).state_dict()
    named = parametrised(state, network(with_spectral=False, seed=5))
    assert list(named) == list(state)
    assert all(named[name] is state[name] for name in state)


def test_what_does_not_fit_is_left_for_fill_network_to_refuse() -> None:
    target = network()
    plain = plain_state(target)
    wrong = {**plain, "0.weight": torch.zeros(2, 1, 3, 3, 3)}
    with pytest.raises(WeightsError, match=rf"0\.{ORIGINAL} has shape \(2, 1, 3, 3, 3\)"):
        fill_network(target, parametrised(wrong, target), "a file")
    foreign = {**plain, "9.weight": torch.zeros(1)}
    with pytest.raises(WeightsError, match=r"holds 9\.weight"):
        fill_network(target, parametrised(foreign, target), "a file")
    missing = {name: tensor for name, tensor in plain.items() if name != "0.weight"}
    with pytest.raises(WeightsError, match=rf"holds no 0\.{ORIGINAL}"):
        fill_network(target, parametrised(missing, target), "a file")


def test_copies_and_checkpoints(tmp_path: Path) -> None:
    """A copy goes its own way; a state dict comes back from a file that may hold no code."""
    trained = network().train()
    twin = copy.deepcopy(trained)
    trained(noise(1, 1, 2, 4, 4))
    assert not torch.equal(twin.state_dict()[f"0.{VECTOR}"], trained.state_dict()[f"0.{VECTOR}"])
    torch.save(trained.state_dict(), tmp_path / "checkpoint.pt")
    other = network(seed=9)
    other.load_state_dict(torch.load(tmp_path / "checkpoint.pt", weights_only=True))
    image = noise(1, 1, 2, 4, 4)
    assert torch.equal(other.eval()(image), trained.eval()(image))


def test_it_can_be_built_without_memory() -> None:
    with torch.device("meta"):
        built = network()
    assert {name: tensor.shape for name, tensor in built.state_dict().items()} == {
        name: tensor.shape for name, tensor in network().state_dict().items()
    }
