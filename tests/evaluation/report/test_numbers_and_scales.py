"""Numbers as readers see them, axes with round ticks, colours and pictures."""

from __future__ import annotations

import io

import numpy as np
import pytest

from evaluation.report.colours import MAPS, STOPS, colourise, data_url, encode_png, gradient, hex_colours
from evaluation.report.numbers import data_value, number, p_value, signed, with_places
from evaluation.report.scales import Frame, label, nice_ticks

NO_NUMBERS = (None, float("nan"), float("inf"), "7", True, [1], 10**400)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (123.456, "123"),
        (12.345, "12.3"),
        (1.2345, "1.23"),
        (0.12345, "0.123"),
        (0, "0.000"),
        (-45.67, "-45.7"),
        (1234567, "1.23e+06"),
    ],
)
def test_number_keeps_three_digits(value: float, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize("value", NO_NUMBERS)
def test_what_is_no_number_is_a_dash(value: object) -> None:
    assert [number(value), with_places(value, 2), signed(value), p_value(value)] == ["\u2013"] * 4
    assert data_value(value) == ""


def test_other_forms() -> None:
    assert (with_places(1 / 3, 2), signed(12.6), signed(-12.6), data_value(0.1)) == ("0.33", "+13", "\u221213", "0.1")
    assert (p_value(0.00001), p_value(0.0001), p_value(0)) == ("< 0.0001", "0.0001", "< 0.0001")


@pytest.mark.parametrize(
    ("low", "high", "count", "ticks"),
    [
        (0, 10, 5, [0, 2, 4, 6, 8, 10]),
        (-1050, 1550, 6, [-1000, -500, 0, 500, 1000, 1500]),
        (0.71, 0.93, 4, [0.75, 0.8, 0.85, 0.9]),
        (3, 3, 5, [3]),
        (-1e-3, 1e-3, 2, [-1e-3, 0, 1e-3]),
    ],
)
def test_ticks_are_round(low: float, high: float, count: int, ticks: list[float]) -> None:
    assert nice_ticks(low, high, count) == pytest.approx(ticks)


def test_frame_turns_values_into_places() -> None:
    frame = Frame(100, 50, 10, 5, 90, 45, (0, 8), (-1, 1))
    assert (frame.x(0), frame.x(4), frame.x(8)) == (10, 50, 90)
    assert (frame.y(-1), frame.y(0), frame.y(1)) == (45, 25, 5)  # upwards
    assert [tick.at for tick in frame.x_ticks(4)] == [10, 30, 50, 70, 90]
    assert [tick.label for tick in frame.x_ticks(4)] == ["0", "2", "4", "6", "8"]
    assert [tick.label for tick in frame.y_ticks(2)] == ["\u22121", "0", "1"]
    assert label(0.25) == "0.25"


@pytest.mark.parametrize("name", sorted(STOPS))
def test_maps_run_from_their_first_to_their_last_colour(name: str) -> None:
    table = MAPS[name]
    assert table.shape == (256, 3)
    assert ["#" + bytes(table[place].tolist()).hex() for place in (0, 255)] == [STOPS[name][0], STOPS[name][-1]]
    assert gradient(name).startswith(f"linear-gradient(to right, {STOPS[name][0]}")


@pytest.mark.parametrize("name", ["gray", "cividis", "viridis"])
def test_maps_grow_lighter_all_the_way(name: str) -> None:
    light = MAPS[name] @ (0.299, 0.587, 0.114)
    assert (np.diff(light) > -1.01).all()  # rounding to whole colours
    assert light[-1] - light[0] > 150


def test_both_signs_of_a_difference_are_as_light_and_apart_in_blue() -> None:
    table = MAPS["blue_orange"].astype(float)
    light = table @ (0.299, 0.587, 0.114)
    assert np.abs(light - light[::-1]).max() < 25
    assert light[127] < 5
    assert (table[:100, 2] > table[:100, 0]).all()  # blue: what every colour-blind eye tells from orange
    assert (table[156:, 0] > table[156:, 2]).all()


def test_colourise_clips_and_takes_nan_for_the_lowest() -> None:
    found = colourise(np.array([-5.0, 0.0, 10.0, 99.0, np.nan]), 0, 10, "gray")
    assert found[:, 0].tolist() == [0, 0, 255, 255, 0]
    assert hex_colours("gray", 3) == ["#000000", "#808080", "#ffffff"]


def test_png_is_read_by_another_program() -> None:
    from PIL import Image

    picture = np.random.default_rng(0).integers(0, 256, (7, 5, 3), dtype=np.uint8)
    read = np.asarray(Image.open(io.BytesIO(encode_png(picture))))
    assert np.array_equal(read, picture)
    assert data_url(picture).startswith("data:image/png;base64,iVBORw0KGgo")
