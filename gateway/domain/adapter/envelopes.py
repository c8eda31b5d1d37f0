"""Finds the task in a reply, its id and the reason of its failure, in all envelopes that were met in practice. Pure.

Relays and forks wrap the same answer in different envelopes. The adapter's own reading comes first; these tables are
for the replies that it does not understand. A code that is missing here is never taken as a success.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from gateway.domain.adapter.decoding import first_text, json_object
from gateway.domain.adapter.failure import FailureKind
from gateway.domain.adapter.field_names import plain, words
from gateway.domain.adapter.replies import error_body, id_of, match_phrase, phrases
from gateway.domain.adapter.status_words import status_field

Fields = Mapping[str, object]

_DEPTH_MAX = 8
_IDS_MAX = 64
_FIELDS_MAX = 1000  # fields of one object; an object with more is not an envelope
_INNER = words("""
    data result results task response output resp body payload content item detail details taskinfo taskdata info video
    generation job prediction
    """)
_CODES = frozenset(
    words("""
        code errcode errorcode errno errornumber ret retcode returncode resultcode statuscode respcode bizcode success
        ok issuccess succeed
        """)
)
_GOOD = frozenset(words("ok success succeed succeeded successful true yes"))
_GOOD_NUMBER = re.compile(r"0{1,8}(?:\.0)?|1(?:\.0)?|20[0-6](?:\.0)?|20000|200000|10000|1000000?")
_ID_NAMES = words("""
    taskid taskids tasks jobid generationid predictionid operationid workid taskno tasknumber videoid
    """)
_TASK_ID_NAMES = words("taskid taskids jobid")
_PLAIN_ID_NAMES = words("id ids uuid")
_BARE_ID = re.compile(r"(?=[^\d]*\d)[A-Za-z0-9][A-Za-z0-9_.:-]{5,127}", re.ASCII)
_REASONS = words("""
    errormessage errormsg errmessage errmsg failreason failedreason failurereason failuremessage failmessage failmsg
    failedmessage taskstatusmsg taskstatusmessage statusmsg statusmessage statusreason errorreason errorinfo errorinfos
    errordetail errordetails errordescription failure exception reason message msg detail details description desc
    statusdetail
    """)
_NO_REASON = frozenset(
    ("", *words("ok success succeed succeeded successful null none 0 failed fail failure error true false"))
)
_POLICY = phrases(
    "policy|safety|sensitive|moderat|violat|nsfw|prohibited|flagged|inappropriate",
    "审核|违规|敏感|风控|審核|違規",
)
_CREDIT = phrases(
    r"insufficient[ _]{1,4}(?:\w{1,40}[ _]{1,4})?(?:balance|credit|quota|fund)",
    r"(?:balance|credits?|quota)\s{1,9}(?:is\s{1,9}|are\s{1,9})?(?:insufficient|not enough|exhausted|used up)",
    "(?:余额|积分|额度)不足|欠费",
)
_KINDS = ((_CREDIT, FailureKind.OUT_OF_CREDIT), (_POLICY, FailureKind.CONTENT_POLICY))


# --- layers -----------------------------------------------------------------------------------------------------------


def layers(body: object) -> list[Fields]:
    """A body, the one object inside it as in an envelope, the one in that, and so on: outermost first, at most 8."""
    envelope: list[Fields] = []
    layer = _only(body)
    while layer is not None and len(envelope) < _DEPTH_MAX:
        envelope.append(layer)
        layer = next((inner for value in _inner(layer) if (inner := _only(value)) is not None), None)
    return envelope


def task_layers(body: object) -> list[Fields]:
    """The layers down to the task. The task is the outermost layer that has an id and a status.

    Deeper layers are the answer of the provider's own supplier, which may be older. If no layer has both, the task is
    the innermost layer with a status (an outer status may be about the call), else the outermost layer with an id.
    """
    envelope = layers(body)
    for depth, layer in enumerate(envelope):
        if names_id(layer) and status_field(layer) is not None:
            return envelope[: depth + 1]
    with_status = [depth for depth, layer in enumerate(envelope) if status_field(layer) is not None]
    with_id = [depth for depth, layer in enumerate(envelope) if names_id(layer)]
    return envelope[: (with_status[-1:] or with_id or [len(envelope)])[0] + 1]


def holds_several(layer: Fields) -> bool:
    """Whether an object is not a task but has a list of several tasks: it is unknown which of them was polled."""
    lists = [value for value in _inner(layer) if isinstance(value, list)]
    return not names_id(layer) and any(sum(map(_is_task, value[:_IDS_MAX])) > 1 for value in lists)


def _is_task(value: object) -> bool:
    return isinstance(value, Mapping) and names_id(value) and status_field(value) is not None


def _inner(layer: Fields) -> Iterator[object]:
    named = _named(layer)
    return (named[name] for name in _INNER if named.get(name) is not None)


def _only(value: object) -> Fields | None:
    """The value if it is an object, the JSON text of an object, or a list with only one such value; else None."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    return json_object(value) or None


def _named(layer: Fields) -> dict[str, object]:
    """The fields of an object by their plain names; the first of two that have the same plain name."""
    named: dict[str, object] = {}
    for name, value in layer.items() if len(layer) <= _FIELDS_MAX else ():
        named.setdefault(plain(name), value)
    return named


# --- success ----------------------------------------------------------------------------------------------------------


def is_success(envelope: Iterable[Fields]) -> bool:
    """Whether every code and flag in an envelope is a known word for success, and no layer has an error."""
    return all(_is_good(name, value) for layer in envelope for name, value in _named(layer).items())


def says_success(envelope: Iterable[Fields]) -> bool:
    """Whether `is_success` holds, and at least one layer has a code or flag that says so."""
    parts = list(envelope)
    has_code = any(name in _CODES and value is not None for layer in parts for name, value in _named(layer).items())
    return has_code and is_success(parts)


def without_success(layer: Fields) -> Fields:
    """An object without its codes and flags for success, which an adapter may take for error codes."""
    return {
        name: value for name, value in layer.items() if plain(name) not in _CODES or not _is_good(plain(name), value)
    }


def _is_good(name: str, value: object) -> bool:
    if name in {"error", "errors", "iserror"}:
        return not value or value == "0" or (name == "error" and _says_nothing(value))
    if name not in _CODES and not (name == "status" and isinstance(value, int)):
        return True
    if value is None or value == "":
        return True
    word = str(value).strip().lower() if isinstance(value, str | int | float) else "?"
    return word in _GOOD or _GOOD_NUMBER.fullmatch(word) is not None


def _says_nothing(error: object) -> bool:
    """Whether an error object is an empty form such as `{"code": 0, "message": ""}`."""
    content = error_body({"error": error})
    return not content.message.strip() and not content.type and content.code in {"", "0", "success", "ok"}


# --- ids --------------------------------------------------------------------------------------------------------------


def names_id(layer: Fields) -> bool:
    """Whether an object has the id of a task under any usual name."""
    named = _named(layer)
    return any(_ids(named.get(name)) for name in (*_ID_NAMES, *_PLAIN_ID_NAMES))


def names_task_id(layer: Fields) -> bool:
    """Whether an object has an id under a name that only a task has, such as `taskId` or `task_ids`."""
    named = _named(layer)
    return any(_ids(named.get(name)) for name in _TASK_ID_NAMES)


def task_ids(body: object) -> list[str]:
    """The task ids in a body, outermost first: those under an unmistakable name, else those under a plain `id`.

    Without either: a bare id in `data` or `result`, or the ids in a list of tasks.
    """
    envelope = layers(body)
    named = [_named(layer) for layer in envelope]
    for name in _ID_NAMES:
        for layer in named:
            if ids := _ids(layer.get(name)):
                return ids
    for layer in named:
        for name in _PLAIN_ID_NAMES:
            if ids := _ids(layer.get(name)):
                return ids
    return (_bare_id(envelope) or _listed_ids(envelope[-1])) if envelope else []


def _ids(value: object) -> list[str]:
    """The ids in a field: a single id, a list of ids, or a list of objects with an id each."""
    ids: list[str] = []
    for entry in value[:_IDS_MAX] if isinstance(value, list) else [value]:
        fields = entry if isinstance(entry, Mapping) else {"id": entry}
        ids += [task_id for name in ("task_id", "taskId", "id") if (task_id := id_of(fields.get(name)))][:1]
    return list(dict.fromkeys(ids))


def _bare_id(envelope: Sequence[Fields]) -> list[str]:
    """An id in place of an object, as in `{"code": 1, "result": "14001934816969359"}`; only if a code says success."""
    named = _named(envelope[-1])
    values = [named.get(name) for name in ("data", "result") if says_success(envelope)]
    return [value for value in map(id_of, values) if _BARE_ID.fullmatch(value)][:1]


def _listed_ids(layer: Fields) -> list[str]:
    """The ids in a list of tasks, as in `{"data": [{"task_id": …}, {"task_id": …}]}`."""
    for value in _inner(layer):
        entries = (
            [_named(item) for item in value[:_IDS_MAX] if isinstance(item, Mapping)] if isinstance(value, list) else []
        )
        if ids := [task_id for entry in entries for task_id in _ids(entry.get("taskid"))]:
            return list(dict.fromkeys(ids))
    return []


# --- reasons ----------------------------------------------------------------------------------------------------------


def reason_of(envelope: Sequence[Fields]) -> tuple[str, str]:
    """The message and the code of a failed task, looked for from the task outwards; "" for a missing one."""
    code = ""
    for layer in reversed(envelope):
        named = _named(layer)
        error = error_body({"error": named.get("error")})
        code = code or first_text(error.code, *(named.get(name) for name in ("errorcode", "failcode", "errcode")))
        values = [error.message, *(error_body({"error": named.get(name)}).message for name in _REASONS)]
        message = next((words for words in map(str.strip, values) if words.lower() not in _NO_REASON), "")
        if message:
            return message, code
    return "", code


def failure_kind(word: str, message: str) -> FailureKind | None:
    """Why a task failed, by phrases with the same meaning at every provider; None if no phrase decides."""
    return match_phrase(_KINDS, f"{word} {message}")
