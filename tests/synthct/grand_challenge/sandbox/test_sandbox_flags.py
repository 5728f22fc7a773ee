"""The flags of a run, and sizes as Docker writes them."""

from __future__ import annotations

import os

import pytest

from synthct.errors import UsageError
from synthct.grand_challenge.sandbox.flags import GIBIBYTE, Phase, core_set, parse_memory, run_flags, usable_cores


@pytest.mark.parametrize("phase", list(Phase))
def test_what_both_phases_share(phase: Phase) -> None:
    flags = run_flags(phase, memory=16 * GIBIBYTE, uid=65532, gpu=False)
    assert flags["cap_drop"] == ["ALL"]
    assert flags["security_opt"] == ["no-new-privileges"]
    assert flags["pids_limit"] == 128
    assert flags["mem_limit"] == flags["memswap_limit"] == 16 * GIBIBYTE
    assert flags["ulimits"] == [{"Name": "data", "Soft": 15 * GIBIBYTE, "Hard": 15 * GIBIBYTE}]
    assert flags["init"]
    assert "device_requests" not in flags
    assert "cpuset_cpus" not in flags


def test_the_platform_keeps_the_user_and_half_the_memory_for_shm() -> None:
    flags = run_flags(Phase.PLATFORM, memory=16 * GIBIBYTE, uid=65532, gpu=False)
    assert flags["shm_size"] == 8 * GIBIBYTE
    assert {"user", "read_only", "tmpfs"} & flags.keys() == set()


def test_the_strict_phase_takes_root_user_and_shm_away() -> None:
    flags = run_flags(Phase.STRICT, memory=16 * GIBIBYTE, uid=4711, gpu=False)
    assert (flags["user"], flags["read_only"], flags["shm_size"]) == ("4711:4711", True, 128 << 20)
    assert list(flags["tmpfs"]) == ["/tmp"]  # noqa: S108


def test_all_gpus_are_handed_over_where_asked() -> None:
    flags = run_flags(Phase.PLATFORM, memory=4 * GIBIBYTE, uid=1, gpu=True)
    (request,) = flags["device_requests"]
    assert (request["Count"], request["Capabilities"]) == (-1, [["gpu"]])


@pytest.mark.parametrize(
    ("total", "usable", "cores"),
    [
        (2, {0, 1}, None),
        (8, set(range(8)), None),
        (9, set(range(9)), "0,1,2,3,4,5,6,7"),
        (64, set(range(32, 64)), "32,33,34,35,36,37,38,39"),
        (64, {5, 3}, "3,5"),
        (64, set(), "0,1,2,3,4,5,6,7"),
        (0, set(), None),
    ],
)
def test_a_large_host_lends_no_more_cores_than_the_platforms_machines_have(
    total: int, usable: set[int], cores: str | None
) -> None:
    assert core_set(total, usable) == cores


def test_the_chosen_cores_are_handed_to_docker() -> None:
    flags = run_flags(Phase.STRICT, memory=4 * GIBIBYTE, uid=1, gpu=False, cores="0,1")
    assert flags["cpuset_cpus"] == "0,1"


def test_the_usable_cores_are_those_of_this_process() -> None:
    own = os.sched_getaffinity(0)
    one = {min(own)}
    try:
        os.sched_setaffinity(0, one)
        assert usable_cores() == one
    finally:
        os.sched_setaffinity(0, own)
    assert usable_cores() == own


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("16g", 16 << 30),
        ("16G", 16 << 30),
        ("16GiB", 16 << 30),
        ("4096m", 4 << 30),
        (str(4 << 30), 4 << 30),
        (" 2g ", 2 << 30),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_memory(text) == size


@pytest.mark.parametrize("text", ["", "g", "much", "1.5g", "-4g", "16x"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(UsageError, match="expected one like 16g"):
        parse_memory(text)


def test_too_little_memory_says_how_much_is_needed() -> None:
    with pytest.raises(UsageError, match="--memory 1g is too little; expected 2g or more"):
        parse_memory("1g")
