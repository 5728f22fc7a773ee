"""Options of the engine with real, tiny networks: ensembles, mirroring, precision, batches, channels, notes."""

from __future__ import annotations

import json
from typing import Any, get_args

import numpy as np
import pytest
import torch
from builders import Array
from torch import Tensor, nn

from synthct.errors import GeometryError, MemoryLimitError, SynthCTError, UsageError
from synthct.inference import SweepSettings
from synthct.inference.engine import Engine
from synthct.inference.settings import Merging

CPU = torch.device("cpu")
Triple = tuple[int, int, int]


class _Constant(nn.Module):
    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.tensor(value))

    def forward(self, window: Tensor) -> Tensor:
        return self.value.expand(len(window), 1, *window.shape[2:])


class _Hungry(nn.Module):
    """Has no memory for more than `most` windows at once: it then asks for a pebibyte."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most
        self.sizes: list[int] = []

    def forward(self, window: Tensor) -> Tensor:
        self.sizes.append(len(window))
        if len(window) > self.most:
            torch.empty(1 << 50, dtype=torch.uint8)
        return window * 2


def _unet(channels: int = 1) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv3d(channels, 8, 3, padding=1),
        nn.InstanceNorm3d(8, affine=True),
        nn.LeakyReLU(0.01, inplace=True),
        nn.Conv3d(8, 8, 3, stride=2, padding=1),
        nn.InstanceNorm3d(8, affine=True),
        nn.LeakyReLU(0.01, inplace=True),
        nn.ConvTranspose3d(8, 4, 2, stride=2),
        nn.Conv3d(4, 1, 1),
    ).eval()


def _image(*shape: int) -> Array:
    return np.random.default_rng(3).normal(0, 1, shape).astype(np.float32)


SETTINGS = SweepSettings(patch=(8, 16, 16))
IMAGE = _image(20, 24, 28)


@pytest.mark.parametrize("batch", [2, 3, 8])
@pytest.mark.parametrize("merging", get_args(Merging))
def test_batch_size_does_not_matter(batch: int, merging: Merging) -> None:
    settings = SETTINGS.model_copy(update={"merging": merging})
    one, many = (Engine(CPU, batch=size).sweep(_unet(), IMAGE, settings) for size in (1, batch))
    np.testing.assert_allclose(many.values, one.values, rtol=0, atol=2e-5)
    assert (one.notes["batch"], many.notes["batch"]) == (1, batch)


def test_same_input_twice_gives_the_same_bits() -> None:
    engine, network = Engine(CPU, spread=True), _unet()
    first, second = (engine.sweep(network, IMAGE, SETTINGS) for _ in range(2))
    assert np.array_equal(first.values, second.values)
    assert first.spread is not None
    assert second.spread is not None
    assert np.array_equal(first.spread, second.spread)


def test_equals_the_network_itself_on_one_window() -> None:
    network, image = _unet(), _image(8, 16, 16)
    with torch.inference_mode():
        expected = network(torch.from_numpy(image)[None, None])[0, 0].numpy()
    swept = Engine(CPU).sweep(network, image, SETTINGS)
    np.testing.assert_allclose(swept.values, expected, rtol=0, atol=1e-5)


def test_weights_keep_their_values_and_lie_channels_last() -> None:
    network = _unet()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    Engine(CPU).sweep(network, IMAGE, SETTINGS)
    weight = network[3].weight  # type: ignore[index]
    assert weight.is_contiguous(memory_format=torch.channels_last_3d)
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    network.load_state_dict(before)  # what a training loop does: the layout stays
    assert weight.is_contiguous(memory_format=torch.channels_last_3d)


def test_members_of_an_ensemble_count_as_predictions() -> None:
    members = [_Constant(value).eval() for value in (1.0, 2.0, 6.0)]
    image = _image(4, 4, 4)

    def merged(merging: str) -> Any:
        settings = SweepSettings.model_validate({"patch": (4, 4, 4), "merging": merging})
        return Engine(CPU, spread=True).sweep(members, image, settings)

    np.testing.assert_allclose(merged("mean").values, 3.0, rtol=1e-6)
    np.testing.assert_allclose(merged("gaussian").values, 3.0, rtol=1e-6)
    np.testing.assert_array_equal(merged("median-lower").values, 2.0)
    np.testing.assert_allclose(merged("median-lower").spread, np.sqrt((4 + 1 + 9) / 3), rtol=1e-6)


def test_members_do_not_see_each_others_work() -> None:
    class _Negate(nn.Module):
        def forward(self, window: Tensor) -> Tensor:
            return window.neg_()

    image = _image(4, 4, 8)
    swept = Engine(CPU).sweep(
        [_Negate().eval(), _Negate().eval()], image, SweepSettings(patch=(4, 4, 4), mirror_axes=(0, 2))
    )
    np.testing.assert_allclose(swept.values, -image, rtol=1e-5, atol=1e-6)


def test_mirroring_by_hand() -> None:
    """A network that answers with the position along x: over both flips the mean position is the middle."""

    class _Position(nn.Module):
        def forward(self, window: Tensor) -> Tensor:
            return torch.arange(float(window.shape[-1])).expand(window.shape)

    image = _image(2, 2, 4)
    plain = Engine(CPU).sweep(_Position().eval(), image, SweepSettings(patch=(2, 2, 4)))
    np.testing.assert_allclose(plain.values[0, 0], [0, 1, 2, 3], atol=1e-6)
    flipped = Engine(CPU, spread=True).sweep(
        _Position().eval(), image, SweepSettings(patch=(2, 2, 4), mirror_axes=(2,))
    )
    np.testing.assert_allclose(flipped.values, 1.5)
    assert flipped.spread is not None
    assert not flipped.spread.any()  # the mean over the flips is one prediction


def test_mirroring_flips_back() -> None:
    image = _image(6, 7, 8)
    swept = Engine(CPU).sweep(nn.Identity().eval(), image, SweepSettings(patch=(4, 4, 4), mirror_axes=(0, 1, 2)))
    np.testing.assert_allclose(swept.values, image, rtol=0, atol=1e-5)


def test_mirroring_runs_every_combination() -> None:
    network = _Hungry(1).eval()
    Engine(CPU).sweep(network, _image(4, 4, 4), SweepSettings(patch=(4, 4, 4), mirror_axes=(0, 1, 2)))
    assert len(network.sizes) == 8


def test_channels() -> None:
    image = _image(3, 10, 16, 20)
    swept = Engine(CPU).sweep(_unet(3), image, SETTINGS)
    assert swept.values.shape == (10, 16, 20)

    class _Second(nn.Module):
        def forward(self, window: Tensor) -> Tensor:
            return window[:, 1:2]

    second = Engine(CPU).sweep(_Second().eval(), image, SweepSettings(patch=(4, 4, 4)))
    np.testing.assert_allclose(second.values, image[1], rtol=0, atol=1e-5)


def test_air_where_no_window_went() -> None:
    wanted = np.zeros((4, 4, 12), bool)
    wanted[0, 0, 11] = True
    settings = SweepSettings(patch=(4, 4, 4), step=1.0)
    swept = Engine(CPU, spread=True).sweep(_Constant(5.0).eval(), _image(4, 4, 12), settings, wanted=wanted, air=-3.0)
    assert (swept.values[..., :8] == -3.0).all()
    np.testing.assert_allclose(swept.values[..., 8:], 5.0)
    assert (swept.notes["windows"], swept.notes["skipped"]) == (1, 2)


@pytest.mark.parametrize("merging", get_args(Merging))
def test_skipping_changes_nothing_inside_the_mask(merging: Merging) -> None:
    wanted = np.zeros(IMAGE.shape, bool)
    wanted[3:9, 5:12, 2:9] = True
    settings = SweepSettings(patch=(6, 8, 8), merging=merging)
    engine = Engine(CPU, spread=True)
    every, some = (engine.sweep(_unet(), IMAGE, settings, wanted=mask) for mask in (None, wanted))
    assert some.notes["skipped"] > 0
    assert np.array_equal(some.values[wanted], every.values[wanted])
    assert every.spread is not None
    assert some.spread is not None
    assert np.array_equal(some.spread[wanted], every.spread[wanted])


def test_notes() -> None:
    settings = SweepSettings(patch=(4, 4, 4), step=1.0, merging="median-upper")
    swept = Engine(CPU).sweep(nn.Identity().eval(), _image(4, 4, 8), settings)
    expected = {"windows": 2, "skipped": 0, "step": 1.0, "merging": "median-upper", "precision": "fp32", "batch": 1}
    assert json.loads(json.dumps(swept.notes)) == expected
    assert swept.spread is None


def test_bf16_stays_near_fp32() -> None:
    fp32, bf16 = (Engine(CPU, precision=name).sweep(_unet(), IMAGE, SETTINGS) for name in ("fp32", "bf16"))
    assert bf16.notes["precision"] == "bf16"
    assert bf16.values.dtype == np.float32
    difference = np.abs(fp32.values - bf16.values)
    assert 0 < difference.mean() < 0.02 * fp32.values.std()


def test_windows_that_are_not_finite_are_made_again_in_fp32() -> None:
    """The largest fp32 number is infinite in bf16; the second window of two holds it."""

    class _Product(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.seen: list[torch.dtype] = []

        def forward(self, window: Tensor) -> Tensor:
            rows = window.reshape(-1, 1) @ torch.ones(1, 1)
            self.seen.append(rows.dtype)
            return rows.reshape(window.shape)

    network, image = _Product().eval(), np.ones((1, 1, 8), np.float32)
    image[0, 0, 6] = np.finfo(np.float32).max
    settings = SweepSettings(patch=(1, 1, 4), step=1.0, merging="median-lower")
    swept = Engine(CPU, precision="bf16", batch=2).sweep(network, image, settings)
    assert network.seen == [torch.bfloat16, torch.float32]
    assert np.array_equal(swept.values, image)
    assert swept.notes["redone_fp32"] == 1


def test_what_stays_broken_enters_as_it_is() -> None:
    image = np.ones((1, 1, 8), np.float32)
    image[0, 0, 6] = np.nan
    swept = Engine(CPU, precision="bf16").sweep(nn.Identity().eval(), image, SweepSettings(patch=(1, 1, 4), step=1.0))
    assert np.isnan(swept.values[0, 0]).tolist() == [False] * 6 + [True, False]
    assert swept.notes["redone_fp32"] == 1


def test_lack_of_memory_halves_the_batch() -> None:
    network, image = _Hungry(2).eval(), _image(4, 4, 40)
    settings = SweepSettings(patch=(4, 4, 4), step=1.0)
    steps: list[tuple[int, int]] = []
    swept = Engine(CPU, batch=8).sweep(
        network, image, settings, advance=lambda done, total: steps.append((done, total))
    )
    assert network.sizes == [8, 4, 2, 2, 2, 2, 2]
    assert swept.notes["fallbacks"] == ["batch 8 to 2"]
    assert swept.notes["batch"] == 2
    assert steps == [(done, 10) for done in range(1, 11)]
    np.testing.assert_allclose(swept.values, 2 * image, rtol=1e-6)


def test_not_even_one_window_fits() -> None:
    network = _Hungry(0).eval()
    with pytest.raises(
        MemoryLimitError, match=r"window of \(4, 4, 4\) .* memory of cpu; expected more memory"
    ) as caught:
        Engine(CPU, batch=4).sweep(network, _image(4, 4, 40), SweepSettings(patch=(4, 4, 4), step=1.0))
    assert network.sizes == [4, 2, 1]
    assert "\n" not in str(caught.value)


def test_wrong_use() -> None:
    settings, image = SweepSettings(patch=(4, 4, 4)), _image(4, 4, 4)
    with pytest.raises(UsageError, match="batch 0 is below 1"):
        Engine(CPU, batch=0)
    with pytest.raises(UsageError, match="0 networks"):
        Engine(CPU).sweep([], image, settings)
    with pytest.raises(UsageError, match=r"shape \(4, 4\)"):
        Engine(CPU).sweep(nn.Identity().eval(), image[0], settings)
    with pytest.raises(GeometryError, match="mask"):
        Engine(CPU).sweep(nn.Identity().eval(), image, settings, wanted=np.ones((4, 4, 5), bool))
    with pytest.raises(SynthCTError, match=r"answered with shape \(1, 2, 4, 4, 4\); expected \(1, 1, 4, 4, 4\)"):
        Engine(CPU).sweep(nn.Conv3d(1, 2, 1).eval(), image, settings)


def test_images_of_other_kinds() -> None:
    image = np.arange(64, dtype=np.int16).reshape(4, 4, 4)[::-1]
    read_only = _image(4, 4, 4)
    read_only.setflags(write=False)
    settings = SweepSettings(patch=(4, 4, 4))
    np.testing.assert_allclose(Engine(CPU).sweep(nn.Identity().eval(), image, settings).values, image)
    np.testing.assert_allclose(Engine(CPU).sweep(nn.Identity().eval(), read_only, settings).values, read_only)
