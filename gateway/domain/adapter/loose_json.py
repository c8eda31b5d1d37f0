"""The one JSON value in a body that is not quite JSON. Pure, and bounded in what it looks at.

Providers and the proxies before them send bodies that a strict parser refuses and a person reads at a glance: a PHP
warning before the object, a comment behind it, a raw line break within a string, a text in GBK, a character cut in two.
The id of a task that was paid for stands in them.

A wrong reading is worse than none. Only a whole object at the outer level is ever taken, never one from within an
object that is incomplete or damaged, and never one from the scripts of an HTML page.
"""

import codecs
import json
import re
from collections.abc import Iterator
from contextlib import suppress

import msgspec

_LOOSE_MAX = 512 * 1024  # bytes of a body that is no strict JSON; a reply of this size is no provider's answer
_OBJECTS_MAX = 16  # whole objects beside one another that are looked at
_STARTS_MAX = 256  # places where an object may begin; `{` in a text before it is one
_DIGITS_MAX = 4000  # of a whole number; longer ones are absent
_GARBLED_MAX = 2  # characters that a cut leaves unreadable; more of them mean that the body is not UTF-8
_START = re.compile(r'\{(?=\s{0,64}["}])')
_PAGE = re.compile(r"<!doctype\s+html|<html|<head\b|<body\b|<script|<style", re.IGNORECASE)
_SCRIPT = re.compile(r"<script|<style", re.IGNORECASE)
_TAGS = re.compile(r"<[^<>]*>")
# A string, also one without its end, so that nothing is looked at twice; outside of strings commas before closing
# brackets, comments, and words of other languages.
_TOKEN = re.compile(
    r'"(?:[^"\\]|\\.)*+"?|,(?=\s*+[}\]])|/\*[^*]{0,500}\*/|(?<![\w$.])(?:undefined|None|True|False)(?![\w$.])',
    re.DOTALL,
)
_WORDS = {"undefined": "null", "None": "null", "True": "true", "False": "false", ",": ""}
_BAD_ESCAPE = re.compile(r'\\(?:(["\\/bfnrt]|u[0-9A-Fa-f]{4})|)')
_ID_NAMES = frozenset({"id", "ids", "taskid", "taskids", "jobid", "generationid", "videoid"})
_INNER = ("data", "result", "task", "response", "output")
_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16: it begins like it
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def json_value(body: bytes) -> object:
    """The JSON value that a body is, or the one object in it; raises `ValueError` where there is none."""
    try:
        return _unquoted(msgspec.json.decode(body))
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        pass
    if len(body) > _LOOSE_MAX:
        raise ValueError("the body is not JSON and too large to look for an object in it")
    for text in _texts(body):
        try:
            value = _unquoted(_DECODER.decode(text.strip("\0\ufeff \t\r\n")))
        except (ValueError, RecursionError):
            pass
        else:
            if value is not None:  # a number with too many digits is no value
                return value
        for candidate in (text, _mended(text)):
            found = _one_object(candidate)
            if found is not None:
                return found
    raise ValueError("the body holds no JSON object that is whole")


def _integer(digits: str) -> int | None:
    return int(digits) if len(digits) <= _DIGITS_MAX else None


_DECODER = json.JSONDecoder(strict=False, parse_int=_integer)


def _unquoted(value: object) -> object:
    """The object that a string holds: some servers encode their JSON twice."""
    if isinstance(value, str) and value.lstrip().startswith("{"):
        try:
            return _DECODER.decode(value)
        except (ValueError, RecursionError):
            pass
    return value


def _texts(body: bytes) -> Iterator[str]:
    """The body as text, best guess first; bytes that no guess explains are replaced."""
    for mark, encoding in _BOMS:
        if body.startswith(mark):
            yield body[len(mark) :].decode(encoding, "replace")
            return
    if body[1:2] == b"\0" and body[:1] not in {b"\0", b""} and body[3:4] == b"\0":
        yield body.decode("utf-16-le", "replace")
        return
    if body[:1] == b"\0" and body[2:3] == b"\0" and body[1:2] != b"\0":
        yield body.decode("utf-16-be", "replace")
        return
    plain = body.decode("utf-8", "replace")
    if plain.count("\ufffd") <= _GARBLED_MAX:
        yield plain
        return
    with suppress(UnicodeDecodeError):
        # Chinese services that do not send UTF-8 send GBK, whose second bytes may be backslashes and brackets.
        yield body.decode("gb18030")
    yield plain


def _one_object(text: str) -> dict[str, object] | None:
    """The whole object at the outer level of a text, `None` where there is none or it is unclear which one counts."""
    found, incomplete = _objects(text)
    filled = [one for one in found if one]
    if not filled:
        return found[0] if found and not incomplete else None
    if len(filled) == 1 and not incomplete:
        return filled[0]
    # Several objects, as in a stream of events or in the output of two programs: what names a task counts, the last of
    # them as the latest. Without one it is not for us to choose, least of all a refusal.
    return next((one for one in reversed(filled) if _names_task(one)), None)


def _objects(text: str) -> tuple[list[dict[str, object]], bool]:
    """The whole objects of the outer level, and whether one more begins that is incomplete or damaged."""
    found: list[dict[str, object]] = []
    at = 0
    page = _PAGE.search(text)
    for _ in range(_STARTS_MAX):
        start = _START.search(text, at)
        if start is None or len(found) == _OBJECTS_MAX:
            return found, False
        begin = start.start()
        if page is not None and page.start() < begin and not _is_wrapped(text, begin):
            return found, False  # what scripts and styles of a page hold is no answer
        try:
            value, at = _DECODER.raw_decode(text, begin)
        except (ValueError, RecursionError):
            # Nothing from within it is taken: a broken object that holds a whole one is still broken.
            return found, True
        if not found and _is_open(text[:begin]):
            return found, True
        found.append(value)
    return found, False


def _is_open(before: str) -> bool:
    """Whether a bracket is open in front of an object: then it is a part of something that is no JSON or is cut."""
    in_list = before.lstrip("\0\ufeff \t\r\n").startswith("[") or before.rstrip().endswith(("[", ",", ":"))
    return before.count("{") > before.count("}") or (in_list and before.count("[") > before.count("]"))


def _is_wrapped(text: str, begin: int) -> bool:
    """Whether a page is nothing but tags around the object: some proxies show JSON as a browser does."""
    before = text[:begin]
    return not _SCRIPT.search(before) and not _TAGS.sub("", before).strip()


def _names_task(value: dict[str, object]) -> bool:
    layers: list[object] = [value, *(value.get(name) for name in _INNER)]
    return any(
        bool(inner) and isinstance(inner, str | int | list) and name.lower().replace("_", "") in _ID_NAMES
        for layer in layers
        if isinstance(layer, dict)
        for name, inner in layer.items()
    )


def _mended(text: str) -> str:
    """The text without comments and needless commas, with JSON's words and with every lone backslash doubled."""
    return _TOKEN.sub(lambda found: _token(found[0]), text)


def _token(token: str) -> str:
    return _escaped(token) if token.startswith('"') else _WORDS.get(token, "")


def _escaped(string: str) -> str:
    return _BAD_ESCAPE.sub(lambda found: found[0] if found[1] else r"\\", string) if "\\" in string else string
