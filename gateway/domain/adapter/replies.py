"""Readers for what the replies of all providers have: task ids, status words, files, error bodies, tables of words.

An adapter brings the tables; these functions read a reply with them. `refusals` classifies refused calls.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, TypeVar

from gateway.domain.adapter.contract import HttpReply
from gateway.domain.adapter.decoding import first_text, mapping, number, text, whole
from gateway.domain.adapter.failure import FailureKind
from gateway.domain.adapter.file_links import file_url
from gateway.domain.adapter.task import Artifact, Pending, Status

_RAW_MAX = 100  # characters of a status word that are stored
_MESSAGE_MAX = 10_000  # characters of a message that are read; it may be a whole error body
_Value = TypeVar("_Value")

# What an HTTP status means for a refused call if neither a code nor the words say more. After a status that is missing
# here the call may have been accepted.
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
    """Whether the HTTP status is a 2xx. The body may still be a refusal."""
    return 200 <= reply.status < 300


# --- tasks ------------------------------------------------------------------------------------------------------------


def id_of(value: object) -> str:
    """A task id as a reply has it, or "" if the value cannot be one.

    Dots alone would change the path of the poll. An id with characters that could not be decoded is not the provider's.
    """
    task_id = text(value).strip()
    return task_id if task_id.strip(".") and "\ufffd" not in task_id else ""


def names_task(*objects: object) -> bool:
    """Whether one of these objects has a `task_id` or an `id`. Then a task may exist, whatever else the reply says."""
    return any(id_of(mapping(value).get(name)) for value in objects for name in ("task_id", "id"))


def pending(raw: str, words: Mapping[str, Status], progress: float | None = None) -> Pending:
    """A task that has not ended, by the provider's status word.

    `words` maps words in lower case to `QUEUED` or `IN_PROGRESS`. A word that is missing there counts as in progress
    and sets `unknown_status`. `progress` is a fraction from 0.0 to 1.0.
    """
    status = words.get(raw.strip().lower())
    return Pending(
        status=status or Status.IN_PROGRESS,
        raw_status=raw[:_RAW_MAX],
        progress=progress,
        unknown_status=status is None,
    )


def without_result(raw: str, progress: float | None = None) -> Pending:
    """A task that the provider calls done, without a file: it is polled again for the grace."""
    return Pending(status=Status.IN_PROGRESS, raw_status=raw[:_RAW_MAX], progress=progress, result_missing=True)


def artifact(url: object, *about: Mapping[str, object]) -> Artifact | None:
    """The file at `url`, or None if that is not an http(s) URL.

    Thumbnail, media type, duration in seconds, width and height come from the first mapping of `about` that has them.
    """
    address = file_url(url)
    if address is None:
        return None

    def first(name: str, read: Callable[[object], _Value | None]) -> _Value | None:
        return next((value for fields in about if (value := read(fields.get(name))) is not None), None)

    return Artifact(
        url=address,
        thumbnail_url=first("thumbnail_url", file_url),
        content_type=first("content_type", lambda value: first_text(value) or None),
        duration_seconds=first("duration", _seconds) or first("seconds", _seconds),
        width=first("width", whole),
        height=first("height", whole),
    )


def unique_by_url(files: Iterable[Artifact | None]) -> tuple[Artifact, ...]:
    """The files in their order, without None. Of files with the same URL only the first is kept."""
    by_url: dict[str, Artifact] = {}
    for file in files:
        if file is not None:
            by_url.setdefault(file.url, file)
    return tuple(by_url.values())


def _seconds(value: object) -> float | None:
    seconds = number(value)
    return seconds if seconds is not None and seconds > 0 else None


# --- error bodies ----------------------------------------------------------------------------------------------------


class ErrorBody(NamedTuple):
    """What an error body says. A part that is missing is ""."""

    code: str
    type: str
    message: str


def error_body(body: object) -> ErrorBody:
    """The error in `{"error": {…}}`, in a flat `{"code", "type", "message"}` or in a bare text; `msg` is a message too.

    An inner `error` goes before the fields beside it. The message has at most 10,000 characters.
    """
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
    """The text of a message, which may be an object such as `{"global": "success"}`; "" if it has none."""
    return first_text(value, *mapping(value).values())[:_MESSAGE_MAX]


def by_code(table: Mapping[_Value, str]) -> dict[str, _Value]:
    """The table code → value, from value → codes separated by spaces: `{A: "1 2"}` is `{"1": A, "2": A}`."""
    return {code: value for value, codes in table.items() for code in codes.split()}


def phrases(*words: str) -> re.Pattern[str]:
    """A pattern that matches where any of these regular expressions does, in upper and lower case."""
    return re.compile("|".join(words), re.IGNORECASE)


def match_phrase(table: Iterable[tuple[re.Pattern[str], FailureKind]], message: str) -> FailureKind | None:
    """The kind of the first row whose pattern matches the message, else None."""
    return next((kind for words, kind in table if words.search(message)), None)
