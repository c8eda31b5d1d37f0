"""The errors that a client can meet, and the tree of them that the package shows."""

import re
from collections.abc import Iterator

from gateway.domain import errors
from gateway.domain.errors import GatewayError, PreconditionFailed


def subtree(error: type[GatewayError], depth: int = 0) -> Iterator[tuple[int, str, int, str]]:
    yield depth, error.__name__, error.status, error.code
    for child in error.__subclasses__():
        if child.__module__.startswith(f"{errors.__name__}."):
            yield from subtree(child, depth + 1)


def test_the_tree_on_top_of_the_package_lists_every_error_with_its_parent_status_and_code() -> None:
    lines = re.findall(r"^    ([│├└─ ]*)(\w+) +(\d{3}) (\w+) *(\S*)$", errors.__doc__ or "", flags=re.MULTILINE)
    drawn = [(len(indent) // 4, name, int(status), code) for indent, name, status, code, _ in lines]
    assert drawn[0] == (0, "GatewayError", 500, "internal")
    assert sorted(drawn) == sorted(subtree(GatewayError))
    parents = {name: drawn[:at] for at, (_, name, _, _) in enumerate(drawn)}
    for depth, name, _, _ in drawn[1:]:
        parent = next(above for level, above, _, _ in reversed(parents[name]) if level == depth - 1)
        assert issubclass(getattr(errors, name), getattr(errors, parent))
    module = ""
    for _, name, _, _, begins in lines:
        module = begins or module
        assert f"{getattr(errors, name).__module__}.py" == f"{errors.__name__}.{module}", name


def test_every_error_has_a_code_of_its_own_and_a_sentence_for_its_reader() -> None:
    entries = list(subtree(GatewayError))
    assert len({code for _, _, _, code in entries}) == len(entries)
    for _, name, _, _ in entries:
        title = getattr(errors, name).title
        assert re.fullmatch(r"[A-Z].+\.", title), f"{name}: {title!r} is not a sentence"


def test_an_error_without_a_detail_says_its_title() -> None:
    assert str(PreconditionFailed()) == "The file does not match If-Match or If-Unmodified-Since."
    assert PreconditionFailed("It is newer.").detail == "It is newer."
