"""`every` runs each case, and a case that fails is named."""

from pathlib import Path

import pytest

from gateway.domain.adapter.task import Status

from ..cases import every


def test_every_case_runs_with_fixtures_and_parameters(tmp_path: Path) -> None:
    seen = []

    @every("a", [1, 2])
    @every(("b", "c"), [(3, 4), pytest.param(5, 6, id="named")])
    def run(tmp_path: Path, a: int, b: int, c: int) -> None:
        assert tmp_path.is_dir()
        seen.append((a, b, c))

    run(tmp_path=tmp_path)
    assert seen == [(1, 3, 4), (1, 5, 6), (2, 3, 4), (2, 5, 6)]


def test_each_case_that_fails_is_named() -> None:
    @every("number", [1, 2, 3, pytest.param(4, id="four")], ids=str)
    def odd(number: int) -> None:
        if number == 2:
            pytest.fail("2 is even")
        assert number % 2, "even"

    with pytest.raises(ExceptionGroup, match="2 of 4 cases failed") as raised:
        odd()
    assert [(str(each).partition("\n")[0], each.__notes__) for each in raised.value.exceptions] == [
        ("2 is even", ["in the case 2"]),
        ("even", ["in the case four"]),
    ]


def test_cases_can_be_made_from_a_parameter() -> None:
    seen = []

    @every("inner", lambda outer: [outer + 1, outer + 2])
    def run(outer: int, inner: int) -> None:
        seen.append((outer, inner))

    run(outer=10)
    assert seen == [(10, 11), (10, 12)]


def test_members_of_an_enumeration_are_cases() -> None:
    seen = []

    @every("status", Status)
    def run(status: Status) -> None:
        seen.append(status)

    run()
    assert seen == list(Status)


def test_a_test_without_cases_fails() -> None:
    @every("a", list)
    def never(a: int) -> None: ...

    with pytest.raises(AssertionError, match="without cases"):
        never()
    with pytest.raises(AssertionError, match="does not take"):
        every("b", [1])(never)
