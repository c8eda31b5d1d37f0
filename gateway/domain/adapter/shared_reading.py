"""Reads the reply to a poll with the vocabulary that all providers share, where the adapter alone does not.

The adapter's own tables come first: the task is respelled and the adapter is asked again (`respelling`). Only what it
still cannot read is read here, from words, envelopes and places of files that were met at other services.
"""

import re
from urllib.parse import unquote, urlsplit

from msgspec import structs

from gateway.domain.adapter.contract import Adapter, HttpReply
from gateway.domain.adapter.decoding import json_or_none, progress
from gateway.domain.adapter.envelopes import (
    Fields,
    failure_kind,
    holds_several,
    is_success,
    names_id,
    reason_of,
    says_success,
    task_ids,
    task_layers,
)
from gateway.domain.adapter.failure import FailureKind
from gateway.domain.adapter.file_links import file_url
from gateway.domain.adapter.messages import failed
from gateway.domain.adapter.replies import unique_by_url, without_result
from gateway.domain.adapter.respelling import ask, spellings, words_of
from gateway.domain.adapter.result_files import files_of
from gateway.domain.adapter.status_words import State, state_of, status_field
from gateway.domain.adapter.task import Completed, Failed, Pending, Status, TaskSnapshot

_CONTENT_PATH = re.compile(
    r"/v1/(?:videos|video/generations)/[^/]+/content/?$|/tasks/[^/]+/artifacts/.{1,600}/content/?$"
)


class SharedReading:
    """The reply to one poll, read with the shared vocabulary.

    `base_url` completes links without a host; `kind` is that of the wanted files, "video" or "image".
    """

    def __init__(self, adapter: Adapter, reply: HttpReply, base_url: str, kind: str) -> None:
        self._adapter = adapter
        self._reply = reply
        self._base_url = base_url
        self._kind = kind
        layers = task_layers(json_or_none(reply))
        # The layers down to the task. Of a list of several tasks nobody can know which one was polled.
        self._envelope = [] if layers and holds_several(layers[-1]) else layers

    def snapshot(self, own: TaskSnapshot | None, *, refused: bool = False) -> TaskSnapshot | None:
        """The state of the task, or None if the shared vocabulary understands no more than the adapter's `own`.

        `refused`: the adapter took the reply for a refusal that proves nothing. Then the envelope must say success.
        """
        envelope = self._envelope
        if not envelope or (refused and not is_success([*envelope[:-1], _without_error(envelope[-1])])):
            return None
        task = envelope[-1]
        # Without the id of a task, a word of failure or success may be about the call alone.
        is_sure = names_id(task) or says_success(envelope)
        if is_sure and not isinstance(own, Pending):  # without its envelope, the adapter may understand the whole task
            again = self._ask_again("")
            if again is not None and not (
                isinstance(again, Pending) and (again.unknown_status or again.result_missing)
            ):
                return again
        field = status_field(task)
        word = field[1] if field is not None else own.raw_status if isinstance(own, Pending) else ""
        state = State.DONE if isinstance(own, Pending) and own.result_missing else state_of(word)
        match state:
            case State.FAILED | State.CANCELLED | State.EXPIRED:
                return self._failure(state, word) if is_sure else None
            case State.QUEUED | State.RUNNING:
                status = Status.QUEUED if state is State.QUEUED else Status.IN_PROGRESS
                return Pending(status=status, raw_status=word, progress=progress(task.get("progress")))
            case State.DONE:
                missing = without_result(word, progress(task.get("progress"))) if is_sure else None
                return self._completed(done=True) or missing
            case None:  # a file beside a word that no table has was paid for: it is taken
                return self._completed(done=False) if names_id(task) or (is_sure and word) else None

    def with_reason(self, failure: Failed) -> Failed:
        """The failure with the provider's reason, if the reason is in a field that the adapter does not read."""
        if failure.kind is not FailureKind.TASK_FAILED or failure.message != failed(FailureKind.TASK_FAILED).message:
            return failure
        message, code = reason_of(self._envelope)
        if not message:
            return failure
        return failed(failure_kind("", message) or failure.kind, message, failure.upstream_code or code or None)

    def with_links(self, completed: Completed) -> Completed | None:
        """The files whose links can be fetched, with these links mended; None if no link can be fetched."""
        files = unique_by_url(
            file
            if file.needs_credential
            else structs.replace(file, url=url, thumbnail_url=self._link(file.thumbnail_url))
            for file in completed.artifacts
            if (url := file.url if file.needs_credential else self._link(file.url)) is not None
        )
        return Completed(files) if files else None

    def _link(self, url: str | None) -> str | None:
        return file_url(url, self._base_url)

    def _failure(self, state: State, word: str) -> Failed:
        """Why the task failed: by the adapter's own tables if they understand it, else by shared phrases."""
        for spelled in words_of(state):
            own = self._ask_again(spelled)
            if isinstance(own, Failed):
                return own
        message, code = reason_of(self._envelope)
        if state is State.EXPIRED and not message:
            return failed(FailureKind.TIMED_OUT, code=code or word)
        if state is State.CANCELLED:
            message = message or "The provider cancelled the task."
        return failed(failure_kind(word, message) or FailureKind.TASK_FAILED, message, code or word)

    def _completed(self, *, done: bool) -> Completed | None:
        """The files of the task, in the adapter's own places first. `done`: the task says that it is completed."""
        for spelled in words_of(State.DONE):
            own = self._ask_again(spelled)
            if isinstance(own, Completed):
                return own
        for layer in (self._envelope[-1], self._envelope[0]):
            if files := files_of(layer, self._base_url, self._kind, self._is_api_call, done=done):
                return Completed(files)
        return None

    def _is_api_call(self, url: str) -> bool:
        """Whether a URL is the provider's own API call for the file or for the task, and not a public file."""
        parts = urlsplit(url)
        if self._adapter.content is not None and _CONTENT_PATH.search(parts.path):
            return True
        last = unquote(parts.path.rstrip("/").rpartition("/")[2])
        own_host = parts.netloc == urlsplit(self._base_url).netloc
        return own_host and any(last in task_ids(layer) for layer in self._envelope)

    def _ask_again(self, word: str) -> TaskSnapshot | None:
        """What the adapter reads if the task is spelled in its way, with this word as its status ("": its own)."""
        bodies = spellings(self._envelope[-1], word)
        own = ask(bodies, self._reply, self._adapter.classify, self._adapter.from_upstream)
        return self.with_links(own) if isinstance(own, Completed) else own


def _without_error(task: Fields) -> Fields:
    """A task without its `error`, which may be filled beside any state."""
    return {name: value for name, value in task.items() if name not in {"error", "errors"}}
