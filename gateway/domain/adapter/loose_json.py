"""Reads the one JSON value in a body that is not quite JSON. Pure, with bounds on what it searches.

Providers and the proxies in front of them send bodies that a strict parser refuses although a person understands them:
a PHP warning before the object, a comment after it, a raw line break within a string, a text in GBK, half a character.
Such a body may have the id of a task that was paid for.

A wrong reading is worse than no reading. Only a whole object at the outer level is taken, never an object inside
another that is incomplete or damaged, and never an object from the scripts of an HTML page.
"""

import codecs
import json
import re
from collections.abc import Iterator
from contextlib import suppress

import msgspec

from gateway.domain.json_size import OF_REPLY, excess

_LOOSE_MAX = 512 * 1024  # bytes of a body that is not strict JSON; the replies of providers are smaller
_OBJECTS_MAX = 16  # whole objects that are read from one body
_STARTS_MAX = 256  # places that are tried as the beginning of an object
_DIGITS_MAX = 4000  # digits of an integer; a longer one reads as null
_GARBLED_MAX = 2  # unreadable characters that a cut may leave; with more of them the body is not UTF-8
_START = re.compile(r'\{(?=\s{0,64}["}])')
_PAGE = re.compile(r"<!doctype\s+html|<html|<head\b|<body\b|<script|<style", re.IGNORECASE)
_SCRIPT = re.compile(r"<script|<style", re.IGNORECASE)
_TAGS = re.compile(r"<[^<>]*>")
# A string (also one without its end, so that no character is searched twice), and outside of strings: a comma before a
# closing bracket, a comment, a word of another language for null, true or false.
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
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark is the beginning of this one
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def json_value(body: bytes) -> object:
    """The JSON value of a body, or the one object in it.

    Raises `ValueError` without such a value, and for a body with so many values that it would take long to decode.
    """
    body = body.strip(b" \t\r\n")  # white space around a value costs nothing to decode
    if (what := excess(body, OF_REPLY)) is not None:
        raise ValueError(f"the body has {what}")
    try:
        return _unquoted(msgspec.json.decode(body))
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        pass
    if len(body) > _LOOSE_MAX:
        raise ValueError("the body is not JSON, and too large to look for an object in it")
    for text in _texts(body):
        try:
            value = _unquoted(_DECODER.decode(text.strip("\0\ufeff \t\r\n")))
        except (ValueError, RecursionError):
            pass
        else:
            if value is not None:  # None: a number with too many digits
                return value
        for candidate in (text, _mended(text)):
            value = _one_object(candidate)
            if value is not None:
                return value
    raise ValueError("the body is not JSON and has no whole object in it")


def _integer(digits: str) -> int | None:
    return int(digits) if len(digits) <= _DIGITS_MAX else None


_DECODER = json.JSONDecoder(strict=False, parse_int=_integer)


def _unquoted(value: object) -> object:
    """The value; for a string with the JSON text of an object that object, because some servers encode twice."""
    if isinstance(value, str) and value.lstrip().startswith("{"):
        try:
            return _DECODER.decode(value)
        except (ValueError, RecursionError):
            pass
    return value


def _texts(body: bytes) -> Iterator[str]:
    """The body as text in the likely encodings, the best guess first. Bytes that cannot be decoded are replaced."""
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
        # Chinese services without UTF-8 send GBK. Its second bytes may look like backslashes and brackets.
        yield body.decode("gb18030")
    yield plain


def _one_object(text: str) -> dict[str, object] | None:
    """The whole object at the outer level of a text; None without such an object, or if the choice is unclear."""
    objects, incomplete = _objects(text)
    filled = [fields for fields in objects if fields]
    if not filled:
        return objects[0] if objects and not incomplete else None
    if len(filled) == 1 and not incomplete:
        return filled[0]
    # There are several objects, as in a stream of events or in the output of two programs. The last one with a task id
    # is the latest state. Without a task id the choice would be a guess, and might find a refusal where none was meant.
    return next((fields for fields in reversed(filled) if _names_task(fields)), None)


def _objects(text: str) -> tuple[list[dict[str, object]], bool]:
    """The whole objects of the outer level, and whether they are followed by an incomplete or damaged one."""
    objects: list[dict[str, object]] = []
    at = 0
    page = _PAGE.search(text)
    for _ in range(_STARTS_MAX):
        start = _START.search(text, at)
        if start is None or len(objects) == _OBJECTS_MAX:
            return objects, False
        begin = start.start()
        if page is not None and page.start() < begin and not _is_wrapped(text, begin):
            return objects, False  # objects in the scripts and styles of a page are not the answer
        try:
            value, at = _DECODER.raw_decode(text, begin)
        except (ValueError, RecursionError):
            # A whole object inside a broken one is not taken.
            return objects, True
        if not objects and _is_open(text[:begin]):
            return objects, True
        objects.append(value)
    return objects, False


def _is_open(before: str) -> bool:
    """Whether a bracket is open before an object: then the object is a part of something damaged or cut."""
    in_list = before.lstrip("\0\ufeff \t\r\n").startswith("[") or before.rstrip().endswith(("[", ",", ":"))
    return before.count("{") > before.count("}") or (in_list and before.count("[") > before.count("]"))


def _is_wrapped(text: str, begin: int) -> bool:
    """Whether a page consists only of tags around the object, as some proxies show JSON."""
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
    """The text without comments and superfluous commas, with the words of JSON and with lone backslashes doubled."""
    return _TOKEN.sub(lambda match: _token(match[0]), text)


def _token(token: str) -> str:
    return _escaped(token) if token.startswith('"') else _WORDS.get(token, "")


def _escaped(string: str) -> str:
    return _BAD_ESCAPE.sub(lambda match: match[0] if match[1] else r"\\", string) if "\\" in string else string
