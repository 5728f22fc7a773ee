"""The sliding window by itself: windows, padding, sums, and the arg-max."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from evaluation.segmenters.sweep import finished_slabs, first_largest

CPU = torch.device("cpu")


class TwoChannels(nn.Module):
    """The input and twice the input: merging must give them back whatever the weights."""

    def forward(self, window: Tensor) -> Tensor:
        return torch.cat([window, 2 * window], dim=1)


class Position(nn.Module):
    """0 in the first row of a window, 1 in the second ...: shows which windows a row was merged from."""

    def forward(self, window: Tensor) -> Tensor:
        return (
            torch.arange(window.shape[2], dtype=torch.float32)[None, None, :, None, None].expand(window.shape).clone()
        )


def swept(network: nn.Module, image: Tensor, patch: tuple[int, ...], channels: int) -> Tensor:
    return torch.cat(list(finished_slabs(network, image, patch=patch, channels=channels, device=CPU)), dim=1)


@pytest.mark.parametrize("shape", [(30, 17, 9), (8, 8, 8), (3, 20, 8), (9, 2, 31), (1, 1, 1)])
@pytest.mark.parametrize("patch", [(8, 8, 8), (6, 10, 4), (10, 4)])
def test_merging_gives_back_what_does_not_depend_on_the_window(
    shape: tuple[int, int, int], patch: tuple[int, ...]
) -> None:
    image = torch.from_numpy(np.random.default_rng(0).integers(-99, 99, (1, *shape)).astype(np.float32))
    merged = swept(TwoChannels(), image, patch, 2)
    assert merged.dtype == torch.half
    assert merged.shape == (2, *shape)
    torch.testing.assert_close(merged.float(), torch.cat([image, 2 * image]), rtol=4e-3, atol=0)


def test_rows_are_given_away_as_soon_as_no_window_touches_them() -> None:
    reports: list[tuple[int, int]] = []
    slabs = finished_slabs(
        TwoChannels(),
        torch.ones(1, 16, 4, 4),
        patch=(8, 4, 4),
        channels=2,
        device=CPU,
        advance=lambda done, total: reports.append((done, total)),
    )
    assert next(slabs).shape == (2, 4, 4, 4)
    assert reports == [(1, 3)]  # windows at rows 0, 4 and 8; rows 0 to 3 need the first alone
    assert [slab.shape[1] for slab in slabs] == [4, 8]
    assert reports == [(1, 3), (2, 3), (3, 3)]


def test_the_weight_is_greatest_in_the_middle_of_a_window() -> None:
    merged = swept(Position(), torch.zeros(1, 12, 4, 4), (8, 4, 4), 1)[0, :, 2, 2].float()
    assert merged[:4].tolist() == [0, 1, 2, 3]
    torch.testing.assert_close(merged[8:], torch.tensor([4.0, 5, 6, 7]), rtol=2e-3, atol=0)
    # Row 6 is 2 rows from either centre (rows 4 and 8), so it is the plain mean of 6 and 2. Rows 5 and 7 are 1 row from
    # one centre and 3 from the other: weights exp(-1/2) and exp(-9/2), which merge 5 and 1 to 4.93, 7 and 3 to 3.07.
    torch.testing.assert_close(merged[5:8], torch.tensor([4.928, 4.0, 3.072]), rtol=2e-3, atol=0)


def test_a_window_of_two_dimensions_sees_each_slice_alone() -> None:
    seen: list[tuple[int, ...]] = []

    class Shapes(TwoChannels):
        def forward(self, window: Tensor) -> Tensor:
            seen.append(tuple(window.shape))
            return super().forward(window)

    swept(Shapes(), torch.ones(1, 5, 8, 12), (8, 8), 2)
    assert seen == [(1, 1, 8, 8)] * 10


def test_arg_max_is_numpys_ties_included() -> None:
    logits = np.random.default_rng(1).integers(0, 4, (6, 5, 7, 9)).astype(np.float16)
    logits[:, 0] = 3  # all equal: the first wins
    labels = first_largest(torch.from_numpy(logits))
    assert labels is not None
    assert labels.dtype == np.uint8
    np.testing.assert_array_equal(labels, logits.argmax(axis=0))
    assert not labels[0].any()
    assert labels.any()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_values_that_are_no_numbers_have_no_arg_max(value: float) -> None:
    logits = torch.zeros(3, 2, 2, 2)
    logits[2, 1, 1, 1] = value
    assert first_largest(logits) is None
