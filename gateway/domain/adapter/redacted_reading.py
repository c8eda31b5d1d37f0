"""What was read from a provider's reply, without the gateway's secrets: the place where a stranger's words come in.

The ids of tasks and the links to files are as the provider wrote them, because the gateway polls and downloads with
them. In answers to clients and in the log, whole secrets in them are hidden like everywhere else.
"""

from typing import TypeVar

from msgspec.structs import replace

from gateway.domain.adapter.messages import PRIVATE
from gateway.domain.adapter.task import Failed, Pending
from gateway.domain.adapter.task_reading import PollRefused
from gateway.domain.adapter.upstream_answer import UpstreamAnswer
from gateway.domain.redaction import Redactor

Reading = TypeVar("Reading")


def without_secrets(reading: Reading, redactor: Redactor) -> Reading:
    """The same reading; the provider's words, codes, status words and request ids in it show no secret."""

    def hidden(text: str | None) -> str | None:
        return None if text is None else redactor.words(text)

    match reading:
        case Failed(kind=kind, message=message, upstream_code=code):
            own = PRIVATE.get(kind) == message
            return replace(reading, message=message if own else redactor.words(message), upstream_code=hidden(code))
        case Pending(raw_status=word):
            return replace(reading, raw_status=redactor.words(word))
        case PollRefused(failure=failure):
            return replace(reading, failure=without_secrets(failure, redactor))
        case UpstreamAnswer(request_id=request_id, message=words):
            return replace(reading, request_id=hidden(request_id), message=hidden(words))
        case _:
            return reading
