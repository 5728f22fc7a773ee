"""Batches: the same whatever the threads, the ranks together what one would see, errors raised, closing prompt."""

from __future__ import annotations

import threading
import time
from itertools import islice, pairwise

import numpy as np
import pytest
import torch
from coded_training_cases import coded_case
from hypothesis import given
from hypothesis import strategies as st

from synthct.errors import InputError, UsageError
from synthct.training.objective import Batch, BatchSource
from synthct.training.patches import Fill, PairedSampler, Patch, SamplingSettings
from synthct.training.source import PatchSource, batch_indices

PATCH = (3, 5, 5)


class NumberedSampler:
    """A patch that says its own number; it takes a time that differs from patch to patch."""

    def __init__(self, *, seconds: float = 0.0, broken: int | None = None) -> None:
        self.drawn: list[int] = []
        self.threads: set[str] = set()
        self._seconds = seconds
        self._broken = broken

    def patch(self, index: int) -> Patch:
        time.sleep(self._seconds * (index * 7 % 5))
        if index == self._broken:
            raise InputError(f"patch {index} cannot be read")
        self.drawn.append(index)
        self.threads.add(threading.current_thread().name)
        value = np.full((1, 1, 2), index, np.float32)
        return Patch(value, value + 0.25, value * 0, "1EXA001", "1EXA001")


def numbers(batches: list[Batch]) -> list[list[int]]:
    return [batch.image[:, 0, 0, 0, 0].int().tolist() for batch in batches]


def real_sampler() -> PairedSampler:
    cases = [coded_case("1EXA001", (5, 9, 9)), coded_case("1EXA002", (6, 8, 10), first=5000)]
    return PairedSampler(cases, SamplingSettings(patch=PATCH, augment=True), Fill(-3.0, -4.0), 5)


def test_a_batch_holds_the_patches_of_its_numbers() -> None:
    sampler = real_sampler()
    source: BatchSource = PatchSource(sampler, batch=2)
    with source.stream(3, rank=0, world=1) as stream:
        batch = next(stream)
    for place, index in enumerate((6, 7)):
        patch = sampler.patch(index)
        for tensor, array in zip(batch, patch[:3], strict=True):
            assert tensor.shape == (2, 1, *PATCH)
            assert tensor.dtype == torch.float32
            assert tensor.is_contiguous()
            assert np.array_equal(tensor[place, 0].numpy(), array)


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_the_stream_is_the_same_whatever_the_workers(workers: int) -> None:
    streams = []
    for count in (0, workers):
        with PatchSource(real_sampler(), batch=2, workers=count).stream(1) as stream:
            streams.append(list(islice(stream, 12)))
    for one, other in zip(*streams, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    assert not any(torch.equal(a.image, b.image) for a, b in pairwise(streams[0]))


def test_batches_come_in_order_although_threads_overtake_each_other() -> None:
    sampler = NumberedSampler(seconds=0.002)
    with PatchSource(sampler, batch=1, workers=4).stream(0) as stream:
        assert numbers(list(islice(stream, 40))) == [[number] for number in range(40)]
    assert sampler.drawn != sorted(sampler.drawn)
    assert len(sampler.threads) == 4


@given(st.integers(0, 10**9), st.integers(1, 9), st.integers(1, 8), st.data())
def test_ranks_together_see_what_one_would(number: int, batch: int, world: int, data: st.DataObject) -> None:
    together = [index for rank in range(world) for index in batch_indices(number, batch=batch, rank=rank, world=world)]
    assert together == list(batch_indices(number, batch=batch * world, rank=0, world=1))
    rank = data.draw(st.integers(0, world - 1))
    following = batch_indices(number + 1, batch=batch, rank=rank, world=world)
    assert following[0] - batch_indices(number, batch=batch, rank=rank, world=world)[0] == batch * world


@pytest.mark.parametrize("workers", [0, 2])
def test_two_ranks(workers: int) -> None:
    seen = []
    for rank in (0, 1):
        with PatchSource(NumberedSampler(), batch=2, workers=workers).stream(5, rank=rank, world=2) as stream:
            seen.append(numbers(list(islice(stream, 3))))
    assert seen == [[[20, 21], [24, 25], [28, 29]], [[22, 23], [26, 27], [30, 31]]]


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_a_stream_goes_on_from_any_number(workers: int) -> None:
    source = PatchSource(NumberedSampler(), batch=2, workers=workers)
    with source.stream(0) as stream:
        whole = numbers(list(islice(stream, 10)))
    with source.stream(6) as stream:
        assert numbers(list(islice(stream, 4))) == whole[6:]


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_an_error_of_a_worker_is_raised_when_its_batch_is_due(workers: int) -> None:
    source = PatchSource(NumberedSampler(broken=5), batch=2, workers=workers)
    with source.stream(0) as stream:
        assert numbers(list(islice(stream, 2))) == [[0, 1], [2, 3]]
        with pytest.raises(InputError, match="patch 5 cannot be read"):
            next(stream)


def test_no_more_than_a_bounded_number_of_batches_wait() -> None:
    sampler = NumberedSampler()
    with PatchSource(sampler, batch=1, workers=3).stream(0) as stream:
        for _ in range(4):
            next(stream)
        deadline = time.monotonic() + 30
        while len(sampler.drawn) < 10 and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(0.05)
        assert sorted(sampler.drawn) == list(range(10))  # four handed out, 2 x 3 ahead


def test_without_workers_nothing_is_drawn_ahead() -> None:
    sampler = NumberedSampler()
    with PatchSource(sampler, batch=2).stream(0) as stream:
        assert sampler.drawn == []
        next(stream)
    assert sampler.drawn == [0, 1]
    assert sampler.threads == {threading.current_thread().name}


def test_closing_ends_the_threads_without_drawing_what_waits() -> None:
    """Two threads, patches of 0 to 0.4 s: closing waits for those under way and for no other."""
    sampler = NumberedSampler(seconds=0.1)
    with PatchSource(sampler, batch=1, workers=2).stream(1) as stream:
        next(stream)
        began = time.monotonic()
    assert time.monotonic() - began < 2.0
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("patches")]
    drawn = len(sampler.drawn)
    assert drawn <= 4
    time.sleep(0.1)
    assert len(sampler.drawn) == drawn


def test_threads_end_when_the_receiver_fails() -> None:
    with pytest.raises(ZeroDivisionError), PatchSource(NumberedSampler(), batch=1, workers=2).stream(0):
        raise ZeroDivisionError
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("patches")]


def test_time_waited_is_counted() -> None:
    """Five patches take 0.1 s; drawn ahead while the receiver is busy, they cost no waiting."""
    with PatchSource(NumberedSampler(seconds=0.01), batch=5).stream(0) as stream:
        assert stream.seconds_waited == 0
        next(stream)
        assert 0.09 <= stream.seconds_waited < 5
    with PatchSource(NumberedSampler(seconds=0.01), batch=5, workers=1).stream(0) as stream:
        time.sleep(1.0)
        next(stream)
        assert stream.seconds_waited < 0.1


@pytest.mark.parametrize(("batch", "workers"), [(0, 0), (-1, 2), (1, -1)])
def test_numbers_that_are_impossible(batch: int, workers: int) -> None:
    with pytest.raises(UsageError, match=f"batch {batch} with {workers} workers is impossible"):
        PatchSource(NumberedSampler(), batch=batch, workers=workers)
