"""What a provider's reply means: by the adapter's own tables first, then by the vocabulary that all providers share.

The engine reads every reply to a submit with `read_submit` and every reply to a poll with `read_poll`. So a form that
was met at one provider is understood from all of them, third-party adapters included.
"""

from msgspec import Struct

from gateway.domain.adapter.contract import Adapter, HttpCall, HttpReply
from gateway.domain.adapter.decoding import json_or_none, mapping
from gateway.domain.adapter.envelopes import is_success, layers, names_task_id, task_ids, task_layers
from gateway.domain.adapter.failure import FailureKind
from gateway.domain.adapter.messages import failed
from gateway.domain.adapter.replies import succeeded, without_result
from gateway.domain.adapter.request import Kind
from gateway.domain.adapter.respelling import ask, spellings
from gateway.domain.adapter.shared_reading import SharedReading
from gateway.domain.adapter.task import Completed, Failed, Pending, TaskRef, TaskSnapshot
from gateway.domain.errors import UnreadableReply

TASK_ID_MAX = 512  # characters
_TASKS_MAX = 64  # task ids of one submit that are looked for here
_UNCLEAR = frozenset({FailureKind.UNAVAILABLE, FailureKind.AMBIGUOUS})  # how adapters read a code that no table has


class PollRefused(Struct, frozen=True):
    """A poll that was answered without a reading. It says nothing about the task, unless its kind is `TASK_LOST`."""

    failure: Failed | None  # None: the HTTP status alone says that this is not a reading

    @property
    def not_found(self) -> bool:
        """Whether the provider says that it has no such task."""
        return self.failure is not None and self.failure.kind is FailureKind.TASK_LOST


# --- submits ----------------------------------------------------------------------------------------------------------


def read_submit(adapter: Adapter, call: HttpCall, reply: HttpReply) -> Failed | tuple[TaskRef, ...]:
    """Why a submit was refused, or the tasks that it started (at least one).

    A reply that is not clear is a failure of the kind `AMBIGUOUS`: a task may exist, so the submit is not sent again.
    An exception of the adapter that is not `UnreadableReply` is passed on if the shared vocabulary finds no task.
    """
    if is_broken(reply):
        return failed(FailureKind.AMBIGUOUS)
    outcome = _submitted(adapter, call, reply)
    if isinstance(outcome, Failed):
        return outcome
    faults = [(ref, task_id_fault(ref.id)) for ref in outcome]
    sound = tuple(ref for ref, fault in faults if fault is None)
    return sound or _with_odd_id(next(fault for _, fault in faults if fault is not None))


def is_broken(reply: HttpReply) -> bool:
    """Whether a reply broke off before a whole JSON object had arrived: it proves nothing, not even a refusal."""
    return reply.cut and not mapping(json_or_none(reply))


def task_id_fault(task_id: str) -> str | None:
    """Why a task id is not stored, or None for a sound one."""
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
    except Exception:  # whatever the adapter raised, a task that the reply names was paid for
        if started := _started(adapter, call, reply):
            return started
        raise


def _unless_it_names_task(refusal: Failed, reply: HttpReply) -> Failed:
    """The refusal, or `AMBIGUOUS` if its body names a task in any spelling, so that the submit is not sent again.

    Adapters look for the id only in the places and under the names that their providers document.
    """
    envelope = layers(json_or_none(reply))
    errors = [inner for layer in envelope for inner in layers(layer.get("error"))]
    if not any(names_task_id(layer) for layer in (*envelope, *errors)):
        return refusal
    return failed(FailureKind.AMBIGUOUS, code=refusal.upstream_code)


def _started(adapter: Adapter, call: HttpCall, reply: HttpReply) -> tuple[TaskRef, ...]:
    """The tasks that a reply of success names in a form that the adapter does not read; empty if that is unclear."""
    body = json_or_none(reply)
    ids = task_ids(body)[:_TASKS_MAX] if succeeded(reply) and is_success(layers(body)) else []
    if not ids:
        return ()

    def task_refs(respelled: HttpReply) -> tuple[TaskRef, ...]:
        return adapter.task_refs(call, respelled)

    own = ask(spellings(task_layers(body)[-1]), reply, adapter.classify, task_refs)
    if own and {ref.id for ref in own} >= set(ids):
        return own
    refs: list[TaskRef] = []
    for task_id in ids:
        named = {"task_id": task_id, "id": task_id, "status": "submitted"}
        spelled = {"code": 0, **named, "data": {**named, "task_ids": [task_id]}}
        own = ask([spelled], reply, adapter.classify, task_refs) or ()
        refs += [ref for ref in own if ref.id == task_id][:1] or _bare(adapter, task_id)
    return tuple({ref.id: ref for ref in refs}.values())


def _bare(adapter: Adapter, task_id: str) -> list[TaskRef]:
    """The reference of a bare id, if an id is all that the adapter needs to poll."""
    return [TaskRef(id=task_id)] if adapter.known_task is None else []


# --- polls ------------------------------------------------------------------------------------------------------------


def read_poll(adapter: Adapter, reply: HttpReply, base_url: str, kind: Kind = "video") -> TaskSnapshot | PollRefused:
    """The state of a task by the reply to a poll. Raises `UnreadableReply` if the reply has no clear meaning.

    Links without a host are the provider's own, at `base_url`; `kind` is that of the files, "video" or "image". An
    exception of the adapter is passed on if the shared vocabulary does not understand the reply either.
    """
    if is_broken(reply):
        raise UnreadableReply(f"HTTP {reply.status}: the reply broke off")

    def shared() -> SharedReading:
        return SharedReading(adapter, reply, base_url, kind)

    try:
        refusal = adapter.classify(reply)
        if not succeeded(reply) or (refusal is not None and refusal.kind not in _UNCLEAR):
            return PollRefused(refusal)
        own = adapter.from_upstream(reply) if refusal is None else None
    except Exception:  # an adapter may break on a form that it was not written for
        snapshot = shared().snapshot(None) if succeeded(reply) else None
        if snapshot is None:
            raise
        return snapshot
    match own:
        case None:
            return shared().snapshot(None, refused=True) or PollRefused(refusal)
        case Failed():
            return shared().with_reason(own)
        case Completed():
            return shared().with_links(own) or shared().snapshot(None) or without_result("completed")
        case Pending(unknown_status=False, result_missing=False):
            return own
        case _:
            return shared().snapshot(own) or own
