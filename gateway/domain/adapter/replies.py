"""What the replies of providers have in common, whoever sends them: ids, words for a state, files, complaints.

An adapter brings the tables; what is read with them is read here once.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, TypeVar

from gateway.domain.adapter.contract import HttpReply
from gateway.domain.adapter.decoding import first_text, mapping, number, text, whole
from gateway.domain.adapter.failure import FailureKind
from gateway.domain.adapter.file_links import file_url
from gateway.domain.adapter.task import Artifact, Pending, Status

_RAW_MAX = 100  # characters kept of an upstream's own word
_MESSAGE_MAX = 10_000  # characters of a message that are looked at; it may be a whole error body
_Value = TypeVar("_Value")

# What a status says of a refused call where no code and no text says more. Whatever is in no table may have been
# accepted: that, too, is for the adapter to say.
KIND_BY_STATUS = {
    400: FailureKind.INVALID_REQUEST,
    401: FailureKind.CREDENTIAL_REFUSED,
    402: FailureKind.OUT_OF_CREDIT,
    403: FailureKind.CREDENTIAL_REFUSED,
    413: FailureKind.INVALID_REQUEST,
    422: FailureKind.INVALID_REQUEST,
    429: FailureKind.RATE_LIMITED,
}


def succeeded(reply: HttpReply) -> bool:
    """Whether the HTTP status says so; the body may say otherwise."""
    return 200 <= reply.status < 300


# --- tasks ------------------------------------------------------------------------------------------------------------


def id_of(value: object) -> str:
    """An id as a reply names it, `""` when it is none: dots alone would make the poll read another path.

    One with characters that could not be decoded is another id than the provider's own.
    """
    found = text(value).strip()
    return found if found.strip(".") and "\ufffd" not in found else ""


def names_task(*objects: object) -> bool:
    """Whether one of these objects holds a task's id: whatever stands beside it, no proof that nothing was started."""
    return any(id_of(mapping(found).get(name)) for found in objects for name in ("task_id", "id"))


def pending(raw: str, words: Mapping[str, Status], progress: float | None = None) -> Pending:
    """A task that is not at its end, by the upstream's word; `words` are in lower case, one in no table is running."""
    status = words.get(raw.strip().lower())
    return Pending(
        status=status or Status.IN_PROGRESS,
        raw_status=raw[:_RAW_MAX],
        progress=progress,
        unknown_status=status is None,
    )


def without_result(raw: str, progress: float | None = None) -> Pending:
    """A task that is said to be done and names no file."""
    return Pending(status=Status.IN_PROGRESS, raw_status=raw[:_RAW_MAX], progress=progress, result_missing=True)


def artifact(url: object, *about: Mapping[str, object]) -> Artifact | None:
    """The file at a URL, `None` when that is none; what is said `about` it counts in that order."""
    address = file_url(url)
    if address is None:
        return None

    def said(name: str, read: Callable[[object], _Value | None]) -> _Value | None:
        return next((found for fields in about if (found := read(fields.get(name))) is not None), None)

    return Artifact(
        url=address,
        thumbnail_url=said("thumbnail_url", file_url),
        content_type=said("content_type", lambda value: first_text(value) or None),
        duration_seconds=said("duration", _seconds) or said("seconds", _seconds),
        width=said("width", whole),
        height=said("height", whole),
    )


def unique_by_url(files: Iterable[Artifact | None]) -> tuple[Artifact, ...]:
    """The files that are there, in their order, the first of those with the same URL."""
    found: dict[str, Artifact] = {}
    for file in files:
        if file is not None:
            found.setdefault(file.url, file)
    return tuple(found.values())


def _seconds(value: object) -> float | None:
    found = number(value)
    return found if found is not None and found > 0 else None


# --- error bodies ----------------------------------------------------------------------------------------------------


class ErrorBody(NamedTuple):
    """What an error body says; what it does not say is `""`."""

    code: str
    type: str
    message: str


def error_body(body: object) -> ErrorBody:
    """Of `{"error": {…}}`, of a flat `{"code", "type", "message"}`, or of a bare text; `msg` is a `message`, too."""
    flat = mapping(body)
    inner = flat.get("error")
    error = mapping(inner)
    messages = (
        message_text(error.get("message")),
        text(inner),
        message_text(flat.get("msg")),
        message_text(flat.get("message")),
        text(body),
    )
    return ErrorBody(
        code=first_text(error.get("code"), flat.get("code")),
        type=first_text(error.get("type"), flat.get("type")),
        message=first_text(*messages)[:_MESSAGE_MAX],
    )


def message_text(value: object) -> str:
    """The words of a message, which may be an object: `{"global": "success"}`."""
    return first_text(value, *mapping(value).values())[:_MESSAGE_MAX]


def by_code(table: Mapping[_Value, str]) -> dict[str, _Value]:
    """A table written as value → codes, turned round: code → value. Codes are parted by spaces."""
    return {code: value for value, codes in table.items() for code in codes.split()}


def phrases(*words: str) -> re.Pattern[str]:
    """A pattern for any of these words, in any case."""
    return re.compile("|".join(words), re.IGNORECASE)


def match_phrase(table: Iterable[tuple[re.Pattern[str], FailureKind]], message: str) -> FailureKind | None:
    """The first kind of a table whose words are in a message."""
    return next((kind for words, kind in table if words.search(message)), None)
