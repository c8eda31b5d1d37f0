"""Many small cases in one test.

pytest needs some milliseconds for each of its tests, in each process of tests: more than most pure rules take. `every`
is written like `pytest.mark.parametrize`, but runs all its cases within one test, and then names each case that failed.
It is for tests of pure functions, because all cases share the fixtures.
"""

import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import pytest

Test = TypeVar("Test", bound=Callable[..., None])
ParameterSet = type(pytest.param())
SHOWN = 10  # failures; more of them say little


def every(
    names: str | Sequence[str],
    cases: Iterable[Any] | Callable[..., Iterable[Any]],
    *,
    ids: Iterable[Any] | Callable[[Any], Any] | None = None,
) -> Callable[[Test], Test]:
    """Run a test with each of the cases, which give `names` their values.

    `cases` may be a function that makes them from the values that the test has already, for example of a parameter of
    `pytest.mark.parametrize`.
    """
    words = [word.strip() for word in names.split(",")] if isinstance(names, str) else list(names)
    fixed = list(cases) if isinstance(cases, Iterable) else cases  # the class of an enumeration is callable, too
    titles = ids if ids is None or callable(ids) else [str(title) for title in ids]

    def decorate(test: Test) -> Test:
        assert not inspect.iscoroutinefunction(test), "cases of an asynchronous test need an event loop each"
        signature = inspect.signature(test)
        left = [parameter for name, parameter in signature.parameters.items() if name not in words]
        assert len(left) == len(signature.parameters) - len(words), f"the test does not take {words}"

        @functools.wraps(test)
        def run(**given: Any) -> None:
            table = list(_table(words, fixed(**given) if callable(fixed) else fixed, titles))
            assert table, "a test without cases proves nothing"
            failures: list[Exception] = []
            for title, values in table:
                try:
                    test(**given, **values)
                except pytest.fail.Exception as failure:
                    failures.append(_noted(AssertionError(failure.msg), title))
                except Exception as failure:  # noqa: BLE001  # a test can fail with any exception
                    failures.append(_noted(failure, title))
            if failures:
                raise ExceptionGroup(f"{len(failures)} of {len(table)} cases failed", failures[:SHOWN])

        # pytest reads here which fixtures and parameters are left for it.
        run.__signature__ = signature.replace(parameters=left)  # type: ignore[attr-defined]  # what pytest reads
        return run  # type: ignore[return-value]  # the same test with fewer parameters

    return decorate


def _table(
    words: list[str], cases: Iterable[Any], titles: list[str] | Callable[[Any], Any] | None
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The title and the values of each case."""
    for index, case in enumerate(cases):
        if isinstance(case, ParameterSet):
            assert not case.marks, "a mark belongs to a whole test"
            values, title = case.values, str(case.id or case.values)
        else:
            values, title = (case,) if len(words) == 1 else tuple(case), None
        if title is None and titles is not None:
            title = "-".join(str(titles(value)) for value in values) if callable(titles) else titles[index]
        yield title or repr(values)[:200], dict(zip(words, values, strict=True))


def _noted(failure: Exception, title: str) -> Exception:
    failure.add_note(f"in the case {title}")
    return failure
