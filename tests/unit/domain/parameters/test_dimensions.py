"""The nearest resolution, ratio and duration, and the canonical names of resolutions and ratios."""

from fractions import Fraction
from math import isclose, log

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.domain.parameters.dimensions import (
    equal_ratio,
    equal_resolution,
    has_ratio,
    image_ratio_name,
    nearest_duration,
    nearest_ratio,
    nearest_resolution,
    ratio_name,
    ratio_of,
    resolution_name,
    short_side,
)

RATIOS = ("16:9", "9:16", "1:1", "4:3", "3:4", "21:9", "9:21", "3:2", "2:3", "5:4", "2.35:1")
SHAPES = st.builds(Fraction, st.integers(64, 4096), st.integers(64, 4096))
SIDES = st.integers(64, 5000)
QUICK = settings(max_examples=80)


@QUICK
@given(ratio=SHAPES)
def test_the_canonical_name_of_a_ratio_is_read_as_the_ratio(ratio: Fraction) -> None:
    assert ratio_of(ratio_name(ratio)) == ratio


@QUICK
@given(side=SIDES)
def test_the_canonical_name_of_a_resolution_is_read_as_the_resolution(side: int) -> None:
    assert short_side(resolution_name(side)) == side


@pytest.mark.parametrize("name", ["", "720", "p", "hd", "16:9", "0720px", "٧٢٠p"])
def test_a_name_without_a_number_of_lines_is_not_a_resolution(name: str) -> None:
    assert short_side(name) is None
    assert nearest_resolution("720p", frozenset({name})) is None
    assert nearest_resolution(name, frozenset({"720p"})) is None


@pytest.mark.parametrize("name", ["", "auto", "16:", "16x9", "0:9", "16:0", "-16:9", "16:9:1", "1e3:1"])
def test_a_name_without_two_numbers_is_not_a_ratio(name: str) -> None:
    assert ratio_of(name) is None
    assert nearest_ratio("16:9", frozenset({name})) is None
    assert nearest_ratio(name, frozenset({"16:9"})) is None
    assert equal_ratio(name, frozenset({"16:9"})) is None
    assert not has_ratio(16, 9, name)


@QUICK
@given(requested=SHAPES, supported=st.frozensets(st.sampled_from(RATIOS), min_size=1))
def test_no_ratio_is_nearer_than_the_nearest(requested: Fraction, supported: frozenset[str]) -> None:
    def distance(name: str) -> float:
        ratio = ratio_of(name)
        assert ratio is not None
        return abs(log(requested) - log(ratio))

    nearest = nearest_ratio(ratio_name(requested), supported)
    assert nearest is not None
    least = min(map(distance, supported))
    assert isclose(distance(nearest), least, abs_tol=1e-12)
    assert nearest_ratio(nearest, supported) == nearest, "the nearest ratio of the nearest ratio is itself"
    if (equal := equal_ratio(ratio_name(requested), supported)) is not None:
        assert nearest == equal


@QUICK
@given(requested=SIDES, supported=st.frozensets(st.sampled_from(["480p", "720p", "1080p", "1440p", "4k"]), min_size=1))
def test_no_resolution_is_nearer_than_the_nearest(requested: int, supported: frozenset[str]) -> None:
    sides = {name: short_side(name) or 0 for name in supported}
    nearest = nearest_resolution(resolution_name(requested), supported)
    assert nearest is not None
    assert abs(sides[nearest] - requested) == min(abs(side - requested) for side in sides.values())
    assert all(
        side <= sides[nearest] for side in sides.values() if abs(side - requested) == abs(sides[nearest] - requested)
    )
    assert nearest_resolution(nearest, supported) == nearest
    if (equal := equal_resolution(resolution_name(requested), supported)) is not None:
        assert nearest == equal


@QUICK
@given(
    requested=st.integers(1, 60) | st.floats(1, 60).map(lambda seconds: round(seconds, 2)),
    supported=st.sets(st.integers(1, 20), min_size=1),
)
def test_no_duration_is_nearer_than_the_nearest(requested: float, supported: set[int]) -> None:
    nearest = nearest_duration(requested, supported)
    assert nearest is not None
    assert abs(nearest - requested) == min(abs(seconds - requested) for seconds in supported)
    assert nearest_duration(nearest, supported) == nearest
    assert requested not in supported or nearest == requested


def test_there_is_no_nearest_value_where_nothing_is_supported() -> None:
    assert nearest_duration(5, ()) is nearest_ratio("1:1", frozenset()) is nearest_resolution("4k", frozenset()) is None


@pytest.mark.parametrize(
    ("width", "height", "requested", "has"),
    [
        (1920, 1080, "16:9", True),
        (1366, 768, "16:9", True),
        (1920, 1088, "16:9", True),
        (1792, 1024, "16:9", False),
        (1080, 1920, "16:9", False),
        (1080, 1920, "9:16", True),
        (1000, 1009, "1:1", True),
        (1000, 1011, "1:1", False),
    ],
)
def test_an_image_has_a_ratio_within_a_hundredth(width: int, height: int, requested: str, has: bool) -> None:
    assert has_ratio(width, height, requested) is has


@pytest.mark.parametrize(
    ("width", "height", "name"),
    [(1920, 1080, "16:9"), (1680, 720, "21:9"), (1000, 1000, "1:1"), (1365, 768, "1.78:1"), (768, 1365, "1:1.78")],
)
def test_the_ratio_of_an_image_is_shown_with_short_numbers(width: int, height: int, name: str) -> None:
    assert image_ratio_name(width, height) == name
