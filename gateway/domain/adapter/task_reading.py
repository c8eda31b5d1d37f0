"""What a provider's reply means, by the adapter's own tables first and by the shared vocabulary where they end.

The engine reads every reply to a submit with `read_submit` and every reply to a poll with `read_poll`, so that what one
provider was seen to say is understood of all of them, third-party adapters included.

Where an adapter does not understand a reply, the task in it is first spelled in the way that the adapter documents (out
of its envelope, `taskId` as `task_id`, "TASK_STATUS_SUCCEED" as "succeeded") and the adapter is asked again: its own
tables of codes, texts and places then decide. Only what it still cannot read is read here.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeVar
from urllib.parse import unquote, urlsplit

import msgspec
from msgspec import Struct, structs

from gateway.domain.adapter.contract import Adapter, HttpCall, HttpReply
from gateway.domain.adapter.decoding import json_or_none, mapping, progress
from gateway.domain.adapter.envelopes import (
    Fields,
    failure_kind,
    holds_several,
    is_success,
    layers,
    names_id,
    names_task_id,
    reason_of,
    says_success,
    task_ids,
    task_layers,
    without_success,
)
from gateway.domain.adapter.failure import FailureKind
from gateway.domain.adapter.field_names import snake
from gateway.domain.adapter.file_links import file_url
from gateway.domain.adapter.messages import failed
from gateway.domain.adapter.replies import succeeded, unique_by_url, without_result
from gateway.domain.adapter.result_files import files_of
from gateway.domain.adapter.status_words import State, state_of, status_field
from gateway.domain.adapter.task import Completed, Failed, Pending, Status, TaskRef, TaskSnapshot
from gateway.domain.errors import UnreadableReply

TASK_ID_MAX = 512  # characters
_TASKS_MAX = 64  # of one submit that are looked for here
_TEXT_MAX = 20_000  # characters of one text that an adapter is asked about again; what is longer is no id and no URL
_NODES_MAX = 2000  # values that it is asked about again
_DEPTH_MAX = 12
_CONTENT_PATH = re.compile(r"/v1/(?:videos|video/generations)/[^/]+/content/?$|/tasks/[^/]+/artifacts/.+/content/?$")
# Words of which every adapter knows at least one.
_SPELLED = {
    State.DONE: ("completed", "succeeded", "success", "succeed", "done", "finished"),
    State.FAILED: ("failed", "failure", "error", "fail"),
    State.CANCELLED: ("cancelled", "canceled"),
    State.EXPIRED: ("expired", "timeout"),
    State.RUNNING: (),
    State.QUEUED: (),
}
_UNCLEAR = frozenset({FailureKind.UNAVAILABLE, FailureKind.AMBIGUOUS})  # what a code in no table is read as
_Value = TypeVar("_Value")


class PollRefused(Struct, frozen=True):
    """A poll that was answered without a reading: it says nothing about the task, unless its kind is `TASK_LOST`."""

    failure: Failed | None  # None: the HTTP status alone says that this is no reading

    @property
    def not_found(self) -> bool:
        """Whether the provider says that it knows no such task."""
        return self.failure is not None and self.failure.kind is FailureKind.TASK_LOST


# --- submits ----------------------------------------------------------------------------------------------------------


def read_submit(adapter: Adapter, call: HttpCall, reply: HttpReply) -> Failed | tuple[TaskRef, ...]:
    """Why a submit was refused, or the tasks that it started, at least one. What is not clear is `AMBIGUOUS`."""
    if is_broken(reply):
        return failed(FailureKind.AMBIGUOUS)
    found = _submitted(adapter, call, reply)
    if isinstance(found, Failed):
        return found
    faults = [(ref, task_id_fault(ref.id)) for ref in found]
    sound = tuple(ref for ref, fault in faults if fault is None)
    return sound or _with_odd_id(next(fault for _, fault in faults if fault is not None))


def is_broken(reply: HttpReply) -> bool:
    """Whether a reply broke off before a whole JSON object had come: it proves nothing, not even a refusal."""
    return reply.cut and not mapping(json_or_none(reply))


def task_id_fault(task_id: str) -> str | None:
    """Why a task id is not stored, `None` for one that is sound."""
    if len(task_id) > TASK_ID_MAX:
        return f"it has {len(task_id)} characters, more than {TASK_ID_MAX}"
    if any(ord(character) < 0x20 or 0x7F <= ord(character) < 0xA0 for character in task_id):
        return "it has control characters"
    return None


def _with_odd_id(fault: str) -> Failed:
    message = f"The provider answered with a task id that cannot be used: {fault}. It may have accepted the request."
    return Failed(kind=FailureKind.AMBIGUOUS, message=message)


def _submitted(adapter: Adapter, call: HttpCall, reply: HttpReply) -> Failed | tuple[TaskRef, ...]:
    refusal: Failed | None = None
    try:
        refusal = adapter.classify(reply)
        if refusal is not None and refusal.kind is not FailureKind.AMBIGUOUS:
            return _unless_it_names_task(refusal, reply)
        return adapter.task_refs(call, reply)
    except UnreadableReply:
        return _started(adapter, call, reply) or refusal or failed(FailureKind.AMBIGUOUS)
    except Exception:
        if found := _started(adapter, call, reply):
            return found
        raise


def _unless_it_names_task(refusal: Failed, reply: HttpReply) -> Failed:
    """The refusal; `AMBIGUOUS` where its body names a task in any spelling, so that the submit is not sent again.

    Adapters look for the id in the places and under the names that their providers document.
    """
    found = layers(json_or_none(reply))
    errors = [inner for layer in found for inner in layers(layer.get("error"))]
    if not any(names_task_id(layer) for layer in (*found, *errors)):
        return refusal
    return failed(FailureKind.AMBIGUOUS, code=refusal.upstream_code)


def _started(adapter: Adapter, call: HttpCall, reply: HttpReply) -> tuple[TaskRef, ...]:
    """The tasks that a reply of success names in a form that the adapter does not know; none where that is unclear."""
    body = json_or_none(reply)
    ids = task_ids(body)[:_TASKS_MAX] if succeeded(reply) and is_success(layers(body)) else []
    if not ids:
        return ()
    own = _ask(_spellings(task_layers(body)[-1]), reply, adapter.classify, lambda one: adapter.task_refs(call, one))
    if own and {ref.id for ref in own} >= set(ids):
        return own
    refs: list[TaskRef] = []
    for task_id in ids:
        named = {"task_id": task_id, "id": task_id, "status": "submitted"}
        spelled = {"code": 0, **named, "data": {**named, "task_ids": [task_id]}}
        own = _ask([spelled], reply, adapter.classify, lambda one: adapter.task_refs(call, one)) or ()
        refs += [ref for ref in own if ref.id == task_id][:1] or _bare(adapter, task_id)
    return tuple({ref.id: ref for ref in refs}.values())


def _bare(adapter: Adapter, task_id: str) -> list[TaskRef]:
    return [TaskRef(id=task_id)] if adapter.known_task is None else []


# --- polls ------------------------------------------------------------------------------------------------------------


def read_poll(adapter: Adapter, reply: HttpReply, base_url: str, kind: str = "video") -> TaskSnapshot | PollRefused:
    """What a task is by the reply to a poll. Raises `UnreadableReply` where nobody can tell.

    Links without a host are the provider's own, at `base_url`; `kind` is that of the files, "video" or "image".
    """
    if is_broken(reply):
        raise UnreadableReply(f"HTTP {reply.status}: the reply broke off")
    try:
        refusal = adapter.classify(reply)
        if not succeeded(reply) or (refusal is not None and refusal.kind not in _UNCLEAR):
            return PollRefused(refusal)
        own = PollRefused(refusal) if refusal is not None else adapter.from_upstream(reply)
    except Exception:  # an adapter that cannot read a reply in an unknown form may break on it
        found = _Poll(adapter, reply, base_url, kind).shared(None) if succeeded(reply) else None
        if found is None:
            raise
        return found
    if isinstance(own, Pending) and not own.unknown_status and not own.result_missing:
        return own
    poll = _Poll(adapter, reply, base_url, kind)
    if isinstance(own, Failed):
        return poll.with_reason(own)
    if isinstance(own, Completed):
        return poll.with_links(own) or poll.shared(None) or without_result("completed")
    return poll.shared(own) or own


class _Poll:
    """One reply that the adapter alone does not read to its end."""

    def __init__(self, adapter: Adapter, reply: HttpReply, base_url: str, kind: str) -> None:
        self._adapter = adapter
        self._reply = reply
        self._base_url = base_url
        self._kind = kind
        found = task_layers(json_or_none(reply))
        self._envelope = [] if found and holds_several(found[-1]) else found

    def shared(self, own: TaskSnapshot | PollRefused | None) -> TaskSnapshot | None:
        """The reading with the shared vocabulary; `None` where it knows no more than the adapter's `own`."""
        envelope = self._envelope
        if not envelope or (isinstance(own, PollRefused) and not is_success([*envelope[:-1], _codes_of(envelope[-1])])):
            return None
        task = envelope[-1]
        # Without a task's id, a word of failure or success may be about the call alone.
        is_sure = names_id(task) or says_success(envelope)
        if is_sure and not isinstance(own, Pending):  # out of its envelope, the adapter may know all of it
            found = self._again("")
            if found is not None and not (
                isinstance(found, Pending) and (found.unknown_status or found.result_missing)
            ):
                return found
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
                return self._done(State.DONE) or missing
            case None:  # a file beside a word that nobody knows was paid for: it is taken
                return self._done() if names_id(task) or (is_sure and word) else None

    def with_reason(self, failure: Failed) -> Failed:
        """The failure with the provider's reason, where it stands in a field that the adapter does not know."""
        if failure.kind is not FailureKind.TASK_FAILED or failure.message != failed(FailureKind.TASK_FAILED).message:
            return failure
        message, code = reason_of(self._envelope)
        if not message:
            return failure
        return failed(failure_kind("", message) or failure.kind, message, failure.upstream_code or code or None)

    def with_links(self, completed: Completed) -> Completed | None:
        """The files with links that can be fetched; `None` where none is left."""
        files = unique_by_url(
            one if one.needs_credential else structs.replace(one, url=url, thumbnail_url=self._link(one.thumbnail_url))
            for one in completed.artifacts
            if (url := one.url if one.needs_credential else self._link(one.url)) is not None
        )
        return Completed(files) if files else None

    def _link(self, url: str | None) -> str | None:
        return file_url(url, self._base_url)

    def _failure(self, state: State, word: str) -> Failed:
        """Why the task failed: by the adapter's own tables where they read it, else by shared phrases."""
        for spelled in _words(state):
            own = self._again(spelled)
            if isinstance(own, Failed):
                return own
        message, code = reason_of(self._envelope)
        if state is State.EXPIRED and not message:
            return failed(FailureKind.TIMED_OUT, code=code or word)
        if state is State.CANCELLED:
            message = message or "The provider cancelled the task."
        return failed(failure_kind(word, message) or FailureKind.TASK_FAILED, message, code or word)

    def _done(self, state: State | None = None) -> Completed | None:
        """The files of a task in this state, by the adapter's own places first."""
        for spelled in _words(State.DONE):
            own = self._again(spelled)
            if isinstance(own, Completed):
                return own
        for layer in (self._envelope[-1], self._envelope[0]):
            if files := files_of(layer, self._base_url, self._kind, self._is_no_file, done=state is State.DONE):
                return Completed(files)
        return None

    def _is_no_file(self, url: str) -> bool:
        """Whether a URL is the provider's own call for a file, or for the task: there are other ways to those."""
        parts = urlsplit(url)
        if self._adapter.content is not None and _CONTENT_PATH.search(parts.path):
            return True
        last = unquote(parts.path.rstrip("/").rpartition("/")[2])
        own_host = parts.netloc == urlsplit(self._base_url).netloc
        return own_host and any(last in task_ids(layer) for layer in self._envelope)

    def _again(self, word: str) -> TaskSnapshot | None:
        """What the adapter reads when the task is spelled in its way, with this word as its status."""
        bodies = _spellings(self._envelope[-1], word)
        found = _ask(bodies, self._reply, self._adapter.classify, self._adapter.from_upstream)
        return self.with_links(found) if isinstance(found, Completed) else found


def _words(state: State) -> Iterator[str]:
    for word in _SPELLED[state]:
        yield from (word, word.upper())


def _codes_of(task: Fields) -> Fields:
    """A task without its error: that may stand beside any state."""
    return {name: value for name, value in task.items() if name not in {"error", "errors"}}


# --- asking the adapter again -----------------------------------------------------------------------------------------


def _spellings(task: Fields, word: str = "") -> Iterator[object]:
    """A task in the envelopes that adapters document, its names in `snake_case`, `word` as its status."""
    spelled = _respelled(without_success(task), [_NODES_MAX], 0)
    if not isinstance(spelled, dict):
        return
    if word:
        field = status_field(task)
        named = {snake(field[0])} if field is not None else {"status"}
        spelled |= dict.fromkeys(named | ({"status", "task_status"} & spelled.keys()), word)
    yield spelled
    yield {"code": 0, "data": spelled}


def _respelled(value: object, left: list[int], depth: int) -> object:
    """A value with names in `snake_case`, without what is too long, too much or too deep to be asked about again."""
    left[0] -= 1
    if left[0] < 0 or depth > _DEPTH_MAX:
        return None
    if isinstance(value, Mapping):
        return {
            spelled or name: _respelled(inner, left, depth + 1)
            for name, inner in value.items()
            if (spelled := snake(name)) == name or spelled not in value
        }
    if isinstance(value, list):
        return [_respelled(inner, left, depth + 1) for inner in value[: left[0]]]
    if isinstance(value, str):
        return value if len(value) <= _TEXT_MAX else ""
    return value if isinstance(value, int | float | None) else None


def _ask(
    bodies: Iterable[object],
    reply: HttpReply,
    classify: Callable[[HttpReply], Failed | None],
    read: Callable[[HttpReply], _Value],
) -> _Value | None:
    """What the adapter reads in the first of these bodies that it takes for no refusal and can read."""
    for body in bodies:
        try:
            asked = structs.replace(reply, body=msgspec.json.encode(body), cut=False)
            if classify(asked) is None:
                return read(asked)
        except Exception:  # noqa: BLE001, S112  # an adapter that breaks on a spelling has not read it
            continue
    return None
