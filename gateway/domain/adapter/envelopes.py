"""What stands around a task in a reply: envelopes, ids, reasons, in the forms that were met in the field. Pure.

Relays and forks wrap the same answer in another envelope. An adapter reads the one that its provider documents, and
that reading comes first. What is in no table here proves no success.
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
_FIELDS_MAX = 1000  # of one object; one with more is no envelope
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
    r"insufficient[ _]+(?:\w+[ _]+)?(?:balance|credit|quota|fund)",
    r"(?:balance|credits?|quota)\s+(?:is\s+|are\s+)?(?:insufficient|not enough|exhausted|used up)",
    "(?:余额|积分|额度)不足|欠费",
)
_KINDS = ((_CREDIT, FailureKind.OUT_OF_CREDIT), (_POLICY, FailureKind.CONTENT_POLICY))


# --- layers -----------------------------------------------------------------------------------------------------------


def layers(body: object) -> list[Fields]:
    """A body, the one object in it that an envelope may hold, the one in that, …: outermost first, at most eight."""
    found: list[Fields] = []
    layer = _only(body)
    while layer is not None and len(found) < _DEPTH_MAX:
        found.append(layer)
        layer = next((inner for value in _inner(layer) if (inner := _only(value)) is not None), None)
    return found


def task_layers(body: object) -> list[Fields]:
    """The layers down to the one that is the task: the outermost that names an id and a state.

    Deeper ones are what the provider's own supplier said, which may be older. Where no layer names both, it is the
    innermost with a state, because outer ones may be about the call; else the outermost with an id.
    """
    found = layers(body)
    for at, layer in enumerate(found):
        if names_id(layer) and status_field(layer) is not None:
            return found[: at + 1]
    with_status = [at for at, layer in enumerate(found) if status_field(layer) is not None]
    with_id = [at for at, layer in enumerate(found) if names_id(layer)]
    return found[: (with_status[-1:] or with_id or [len(found)])[0] + 1]


def holds_several(layer: Fields) -> bool:
    """Whether an object that is no task holds a list of several: nobody can know which of them was asked about."""
    lists = [value for value in _inner(layer) if isinstance(value, list)]
    return not names_id(layer) and any(sum(map(_is_task, value[:_IDS_MAX])) > 1 for value in lists)


def _is_task(value: object) -> bool:
    return isinstance(value, Mapping) and names_id(value) and status_field(value) is not None


def _inner(layer: Fields) -> Iterator[object]:
    named = _named(layer)
    return (named[name] for name in _INNER if named.get(name) is not None)


def _only(value: object) -> Fields | None:
    """An object, also one in a string, and the only one of a list: of several nobody can know which one counts."""
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    return json_object(value) or None


def _named(layer: Fields) -> dict[str, object]:
    """The fields of an object by their plain names; of two with the same one the first."""
    named: dict[str, object] = {}
    for name, value in layer.items() if len(layer) <= _FIELDS_MAX else ():
        named.setdefault(plain(name), value)
    return named


# --- success ----------------------------------------------------------------------------------------------------------


def is_success(envelope: Iterable[Fields]) -> bool:
    """Whether no layer of an envelope has a code or a flag that is in no table of success, or an error."""
    return all(_is_good(name, value) for layer in envelope for name, value in _named(layer).items())


def says_success(envelope: Iterable[Fields]) -> bool:
    """The same, and one of its layers has a code or a flag of success."""
    found = list(envelope)
    has_code = any(name in _CODES and value is not None for layer in found for name, value in _named(layer).items())
    return has_code and is_success(found)


def without_success(layer: Fields) -> Fields:
    """An object without the codes and flags of success that an adapter may not know."""
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
    """Whether an error object is an empty form: `{"code": 0, "message": ""}`."""
    said = error_body({"error": error})
    return not said.message.strip() and not said.type and said.code in {"", "0", "success", "ok"}


# --- ids --------------------------------------------------------------------------------------------------------------


def names_id(layer: Fields) -> bool:
    """Whether an object names a task."""
    named = _named(layer)
    return any(_ids(named.get(name)) for name in (*_ID_NAMES, *_PLAIN_ID_NAMES))


def names_task_id(layer: Fields) -> bool:
    """Whether an object has an id under a name that can only be a task's: `taskId`, `TASK_ID`, `task_ids`."""
    named = _named(layer)
    return any(_ids(named.get(name)) for name in _TASK_ID_NAMES)


def task_ids(body: object) -> list[str]:
    """The tasks that a body names: by a name that can mean nothing else, else by a plain `id`; outermost first."""
    found = layers(body)
    named = [_named(layer) for layer in found]
    for name in _ID_NAMES:
        for layer in named:
            if ids := _ids(layer.get(name)):
                return ids
    for layer in named:
        for name in _PLAIN_ID_NAMES:
            if ids := _ids(layer.get(name)):
                return ids
    return (_bare_id(found) or _listed_ids(found[-1])) if found else []


def _ids(value: object) -> list[str]:
    """The ids in a field: one, a list of them, or objects that have one each."""
    ids: list[str] = []
    for one in value[:_IDS_MAX] if isinstance(value, list) else [value]:
        fields = one if isinstance(one, Mapping) else {"id": one}
        ids += [found for name in ("task_id", "taskId", "id") if (found := id_of(fields.get(name)))][:1]
    return list(dict.fromkeys(ids))


def _bare_id(found: Sequence[Fields]) -> list[str]:
    """An id that stands where an object would: `{"code": 1, "result": "14001934816969359"}`; only beside a success."""
    named = _named(found[-1])
    values = [named.get(name) for name in ("data", "result") if says_success(found)]
    return [value for value in map(id_of, values) if _BARE_ID.fullmatch(value)][:1]


def _listed_ids(layer: Fields) -> list[str]:
    """The ids of a list of tasks: `{"data": [{"task_id": …}, {"task_id": …}]}`."""
    for value in _inner(layer):
        entries = (
            [_named(one) for one in value[:_IDS_MAX] if isinstance(one, Mapping)] if isinstance(value, list) else []
        )
        if ids := [found for entry in entries for found in _ids(entry.get("taskid"))]:
            return list(dict.fromkeys(ids))
    return []


# --- reasons ----------------------------------------------------------------------------------------------------------


def reason_of(envelope: Sequence[Fields]) -> tuple[str, str]:
    """The message and the code of a failed task, from the task outwards; `""` for what is not said."""
    code = ""
    for layer in reversed(envelope):
        named = _named(layer)
        error = error_body({"error": named.get("error")})
        code = code or first_text(error.code, *(named.get(name) for name in ("errorcode", "failcode", "errcode")))
        values = [error.message, *(error_body({"error": named.get(name)}).message for name in _REASONS)]
        message = next((one for one in map(str.strip, values) if one.lower() not in _NO_REASON), "")
        if message:
            return message, code
    return "", code


def failure_kind(word: str, message: str) -> FailureKind | None:
    """What a task failed of, by phrases that mean the same at every provider; `None` where no phrase decides."""
    return match_phrase(_KINDS, f"{word} {message}")
