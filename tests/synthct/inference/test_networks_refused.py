"""Networks that a sweep refuses in one line: training mode, lists that calculate nothing, answers of several maps."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from synthct.errors import SynthCTError, UsageError
from synthct.inference import SweepSettings
from synthct.inference.engine import Engine

CPU = torch.device("cpu")
IMAGE = np.random.default_rng(0).normal(0, 1, (4, 4, 8)).astype(np.float32)
SETTINGS = SweepSettings(patch=(4, 4, 4))


def _with_dropout() -> nn.Sequential:
    return nn.Sequential(nn.Conv3d(1, 4, 1), nn.Dropout(0.5), nn.Conv3d(4, 1, 1))


def _half_asleep() -> nn.Module:
    """In evaluation mode but for the dropout."""
    network = _with_dropout().eval()
    network[1].train()
    return network


class _Supervised(nn.Module):
    """Answers at two resolutions, as training with deep supervision has it."""

    def forward(self, window: Tensor) -> list[Tensor]:
        return [window, window[..., ::2]]


def test_dropout_that_is_on_would_make_two_sweeps_differ() -> None:
    """Why it is refused; in evaluation mode the same network gives the same twice."""
    network, window = _with_dropout(), torch.from_numpy(IMAGE)[None, None]
    torch.manual_seed(0)
    with torch.no_grad():
        assert not torch.equal(network(window), network(window))
    engine = Engine(CPU)
    first, second = (engine.sweep(network.eval(), IMAGE, SETTINGS).values for _ in range(2))
    assert np.array_equal(first, second)


@pytest.mark.parametrize(
    ("make", "named"),
    [(_with_dropout, "(Sequential)"), (_half_asleep, "(Sequential.1)"), (nn.Identity, "(Identity)")],
)
def test_training_mode_is_refused(make: Callable[[], nn.Module], named: str) -> None:
    with pytest.raises(UsageError, match="training mode") as caught:
        Engine(CPU).sweep(make(), IMAGE, SETTINGS)
    assert named in str(caught.value)
    assert str(caught.value).endswith("expected it after .eval()")


def test_each_member_of_an_ensemble_is_looked_at() -> None:
    with pytest.raises(UsageError, match="training mode"):
        Engine(CPU).sweep([nn.Identity().eval(), _half_asleep()], IMAGE, SETTINGS)


@pytest.mark.parametrize(
    ("networks", "named"),
    [
        (nn.ModuleList([nn.Identity()]).eval(), "ModuleList"),
        (nn.ModuleDict({"generator": nn.Identity()}).eval(), "ModuleDict"),
        ([nn.ModuleList([nn.Identity()]).eval()], "ModuleList"),
        ([], "0 networks"),
    ],
    ids=["list", "dict", "list in a list", "nothing"],
)
def test_containers_are_no_networks(networks: nn.Module | list[nn.Module], named: str) -> None:
    with pytest.raises(UsageError, match=rf"a sweep was given .*{named}; expected"):
        Engine(CPU).sweep(networks, IMAGE, SETTINGS)


def test_members_of_a_module_list_run_as_a_plain_list() -> None:
    members = nn.ModuleList([nn.Identity(), nn.Identity()]).eval()
    swept = Engine(CPU).sweep(list(members), IMAGE, SETTINGS)
    np.testing.assert_allclose(swept.values, IMAGE, rtol=0, atol=1e-5)


def test_answer_of_several_maps_is_refused() -> None:
    with pytest.raises(SynthCTError, match=r"answered with a list; expected one tensor of shape \(1, 1, 4, 4, 4\)"):
        Engine(CPU).sweep(_Supervised().eval(), IMAGE, SETTINGS)


def test_refused_before_anything_runs() -> None:
    """The weights of a refused network are not moved, nor laid out."""
    network = nn.Conv3d(2, 2, 3)
    with pytest.raises(UsageError, match="training mode"):
        Engine(CPU).sweep([nn.Identity().eval(), network], IMAGE, SETTINGS)
    assert network.weight.is_contiguous()


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_frozen_scripts_have_no_modes() -> None:
    frozen = torch.jit.freeze(torch.jit.trace(_with_dropout().eval(), torch.zeros(1, 1, 4, 4, 4)))
    assert np.isfinite(Engine(CPU).sweep(frozen, IMAGE, SETTINGS).values).all()


def test_engine_counts_its_sweeps() -> None:
    engine, network = Engine(CPU), nn.Identity().eval()
    assert engine.sweeps == 0
    with pytest.raises(UsageError, match="0 networks"):
        engine.sweep([], IMAGE, SETTINGS)
    assert engine.sweeps == 0
    for done in (1, 2):
        engine.sweep(network, IMAGE, SETTINGS)
        assert engine.sweeps == done
