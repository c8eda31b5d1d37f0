"""Asks an adapter again about a reply that it did not understand, with the task spelled as the adapter documents it.

Relays and forks send the same task in another envelope, with other field names, and with other status words. Spelled
in the adapter's own way ("TASK_STATUS_SUCCEED" as "succeeded", `taskId` as `task_id`, without its envelope) the task is
read by the adapter's own tables of codes, texts and places, which know the provider best.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import TypeVar

import msgspec
from msgspec import structs

from gateway.domain.adapter.contract import HttpReply
from gateway.domain.adapter.envelopes import Fields, without_success
from gateway.domain.adapter.field_names import snake
from gateway.domain.adapter.status_words import State, status_field
from gateway.domain.adapter.task import Failed

_TEXT_MAX = 20_000  # characters of one text that is handed over; a longer one is not an id and not a URL
_TEXTS_MAX = 200_000  # characters of all texts that are handed over: up to 28 spellings of them are read
_NODES_MAX = 2000  # values that are handed over
_DEPTH_MAX = 12  # of objects and lists inside one another
# Status words of which every adapter knows at least one.
_WORDS = {
    State.DONE: ("completed", "succeeded", "success", "succeed", "done", "finished"),
    State.FAILED: ("failed", "failure", "error", "fail"),
    State.CANCELLED: ("cancelled", "canceled"),
    State.EXPIRED: ("expired", "timeout"),
    State.RUNNING: (),
    State.QUEUED: (),
}
_Value = TypeVar("_Value")


def words_of(state: State) -> Iterator[str]:
    """The words to try for a state, each in lower and in upper case. An open state has none: adapters need no help."""
    for word in _WORDS[state]:
        yield from (word, word.upper())


def spellings(task: Fields, word: str = "") -> Iterator[object]:
    """The bodies to try for a task: bare, and in an envelope with `code` and `data`, with names in `snake_case`.

    With a `word`, that is the status of the task.
    """
    if len(task) > _NODES_MAX:  # not a task
        return
    spelled = _respelled(without_success(task), _Left(_NODES_MAX, _TEXTS_MAX), 0)
    if not isinstance(spelled, dict):
        return
    if word:
        field = status_field(task)
        named = {snake(field[0])} if field is not None else {"status"}
        spelled |= dict.fromkeys(named | ({"status", "task_status"} & spelled.keys()), word)
    yield spelled
    yield {"code": 0, "data": spelled}


def ask(
    bodies: Iterable[object],
    reply: HttpReply,
    classify: Callable[[HttpReply], Failed | None],
    read: Callable[[HttpReply], _Value],
) -> _Value | None:
    """What `read` returns for the first body that `classify` does not refuse and `read` understands, else None."""
    for body in bodies:
        try:
            respelled = structs.replace(reply, body=msgspec.json.encode(body), cut=False)
            if classify(respelled) is None:
                return read(respelled)
        except Exception:  # noqa: BLE001, S112  # an adapter that breaks on a spelling has not understood it
            continue
    return None


class _Left:
    """How much may still be handed over."""

    def __init__(self, nodes: int, characters: int) -> None:
        self.nodes = nodes
        self.characters = characters


def _respelled(value: object, left: _Left, depth: int) -> object:
    """A value with its names in `snake_case`, cut to the bounds above."""
    left.nodes -= 1
    if left.nodes < 0 or depth > _DEPTH_MAX:
        return None
    if isinstance(value, Mapping):
        members = islice(value.items(), left.nodes)
        return {
            spelled or name: _respelled(inner, left, depth + 1)
            for name, inner in members
            if (spelled := snake(name)) == name or spelled not in value
        }
    if isinstance(value, list):
        return [_respelled(inner, left, depth + 1) for inner in value[: left.nodes]]
    if isinstance(value, str):
        left.characters -= len(value)
        return value if len(value) <= _TEXT_MAX and left.characters >= 0 else ""
    return value if isinstance(value, int | float | None) else None
