"""What the document says about errors, made from the error classes and from the kinds of failure."""

from collections.abc import Iterator, Mapping, Sequence
from inspect import cleandoc
from typing import Any, NamedTuple

import msgspec

from gateway.api.openapi.sample_generations import REQUEST_ID
from gateway.api.web.error_format import ErrorInfo, openai_error
from gateway.domain.adapter.failure import MEANING, PUBLIC_CODE, REMEDY, REMEDY_TEXT, TASK_BILLED, FailureKind
from gateway.domain.errors import GatewayError

_SHOWN_FIRST = {400: "invalid_parameter", 403: "forbidden_host", 503: "overloaded"}  # the example of a status
_SHOWN_AS: Mapping[str, tuple[str, str | None]] = {  # code → the message and the parameter of its example
    "invalid_parameter": ("`duration` must be a whole number of seconds.", "duration"),
}
_OF_FAILURES = frozenset(PUBLIC_CODE.values())


class ErrorCode(NamedTuple):
    """A code that the answer to a request can have."""

    code: str
    status: int
    type: str
    title: str
    meaning: str
    remedy: str


def error_codes() -> list[ErrorCode]:
    """Return every code of a request once, in the order of its status and then of the source.

    An error that has the code of a failed generation is left out: `failure_rows` has it.
    """
    codes: dict[str, ErrorCode] = {}
    for kind in _classes(GatewayError):
        if kind.code in _OF_FAILURES:
            continue
        meaning = cleandoc(kind.__doc__ or "").partition("\n\n")[0].replace("\n", " ")
        codes.setdefault(kind.code, ErrorCode(kind.code, kind.status, kind.type, kind.title, meaning, kind.remedy))
    return sorted(codes.values(), key=lambda code: code.status)


def _classes(root: type[GatewayError]) -> Iterator[type[GatewayError]]:
    yield root
    for inner in root.__subclasses__():
        yield from _classes(inner)


def failure_rows() -> list[tuple[str, str, str, str]]:
    """Return (code, meaning, what the gateway does, whether a task was billed) of each failure of a generation."""
    return [(PUBLIC_CODE[kind], MEANING[kind], REMEDY_TEXT[REMEDY[kind]], TASK_BILLED[kind]) for kind in FailureKind]


def error_info(status: int) -> ErrorInfo | None:
    """Return an error with a status, before it has a shape; None for a status that no error has."""
    fitting = [code for code in error_codes() if code.status == status]
    if not fitting:
        return None
    code = next((code for code in fitting if code.code == _SHOWN_FIRST.get(status)), fitting[0])
    message, param = _SHOWN_AS.get(code.code, (code.title, None))
    return ErrorInfo(status, message, code.type, code.code, param, {}, REQUEST_ID)


def example_of(status: int) -> Mapping[str, Any] | None:
    """Return an error body for a status in the usual shape; None for a status that no error has."""
    info = error_info(status)
    return None if info is None else msgspec.to_builtins(openai_error(info).body)


def tables() -> str:
    """Return the codes, what they mean and their remedies, as text in Markdown."""
    requests = [(f"`{code.code}`", str(code.status), code.meaning, code.remedy) for code in error_codes()]
    failures = [(f"`{code}`", *rest) for code, *rest in failure_rows()]
    return (
        "## Errors of requests\n\nPrograms should read `error.code`, which is stable; people read `error.message`."
        " `error.param` names the parameter at fault, or is null.\n\n"
        + _table(("code", "status", "meaning", "what to do"), requests)
        + "\n\n## Errors of generations\n\n`error.code` of a generation or an output, and `failure` of an attempt, say"
        " why a provider made no file. In an attempt, `submission_unknown` is called `ambiguous`.\n\n"
        + _table(("code", "meaning", "then", "billed"), failures)
    )


def _table(heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [heads, ("---",) * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
