"""Faults on demand: rules that are set through `/_sandbox/faults`, and markers in a prompt.

A marker is `[[sandbox:PROVIDER:OPERATION:FAULT]]` or `[[sandbox:PROVIDER:OPERATION:FAULT?times=2&seconds=1]]`; provider
and operation may be `any`. Each provider also has its own table of documented errors, whose names are faults.

Every fault accepts `rate=0.5`: only this share of the calls has it, chosen by a fixed sequence (another one by `seed`).
A refusal of a submit accepts `started=1`: the task is started although the reply refuses it, and a callback names it.
"""

import gzip
import itertools
import json
import random
import re
import zlib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from gateway.sandbox.media import blank_png
from gateway.sandbox.wire import Manner, Reply, any_reply, html_reply, json_reply, text_reply

# The fate of a task. Set at the submit it lasts for the whole task, set at a poll it lasts for that poll.
FATES = {
    "fail": "fails for a reason that is not the client's fault (args: message, code)",
    "fail_content": "fails because its content was refused",
    "fail_image": "fails because its image was refused",
    "given_up": "is abandoned by the relay itself: its task plug-in shows the last answer of Kling forever",
    "cancelled": "ends as cancelled",
    "stuck": "never ends (args: phase=queued|running)",
    "slow_task": "takes longer (args: seconds)",
    "lost": "does not exist any more",
    "no_url": "is done without a file, permanently or for this number of polls (args: polls, until_sync)",
    "unknown_status": "has a status word that is not documented (args: word)",
}
CALLBACKS = {
    "duplicated": "the callback is sent twice",
    "early": "the task ends at once, and the callback comes before the reply to the submit",
    "forged": "a false callback reports success with another URL before the end (args: task_id, url, after: seconds)",
    "none": "no callback is sent",
}
EXTRA_IDS = "extra_ids"  # only Keevx: starts more tasks than requested (args: n)
FEWER_IDS = "fewer_ids"  # only Keevx: the reply omits some of the started tasks (args: n)
DELAYED = "delayed"  # the call is read now and handled later (args: seconds); `slow` handles it now and replies later
BEFORE = "close_before_read"  # the connection ends before the body is read; nothing is started


def _garbage(reply: Reply, args: Mapping[str, Any]) -> Reply:
    return replace(reply, body=random.Random(int(args.get("seed", 7))).randbytes(512))  # noqa: S311  # not a secret


def _truncated(reply: Reply, _args: Mapping[str, Any]) -> Reply:
    return replace(reply, body=reply.body[: max(len(reply.body) // 2, 1)])


def _image_bomb(reply: Reply, args: Mapping[str, Any]) -> Reply:
    return replace(reply, body=blank_png(int(args.get("side", 20_000))))


def _body(body: bytes) -> Callable[[Reply, Mapping[str, Any]], Reply]:
    return lambda reply, _args: replace(reply, body=body)


def _huge(reply: Reply, args: Mapping[str, Any]) -> Reply:
    size = int(args.get("bytes", 10_000_000))
    if reply.content_type != "application/json" or not reply.body.startswith(b"{"):
        return replace(reply, body=reply.body + b"\0" * size)
    return replace(reply, body=b'{"padding":"' + b"x" * size + b'",' + reply.body[1:])


def _gzip_bomb(reply: Reply, args: Mapping[str, Any]) -> Reply:
    bomb = gzip.compress(b" " * int(args.get("bytes", 50_000_000)))
    return replace(reply, body=bomb, headers=(*reply.headers, ("content-encoding", "gzip")))


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "raw": lambda body: zlib.compress(body)[2:-4],  # deflate without the zlib header, as some servers send it
}


def _typed(reply: Reply, args: Mapping[str, Any]) -> Reply:
    """Declare another type, by default one that a browser takes for a page; with `page` the body is that page, too."""
    body = str(args["page"]).encode() if "page" in args else reply.body
    return replace(reply, content_type=str(args.get("type", "video/mp4, text/html")), body=body)


def _encoded(reply: Reply, args: Mapping[str, Any]) -> Reply:
    """Set a `Content-Encoding` header, and encode the body by `pack`: not at all, or several times in that order."""
    body = reply.body
    for name in filter(None, str(args.get("pack", "")).split("+")):
        body = PACKERS[name](body)
    header = str(args.get("header", "utf-8"))
    return replace(reply, body=body, headers=(*reply.headers, *([("content-encoding", header)] if header else [])))


DIRT: dict[str, Callable[[bytes], bytes]] = {
    "comment": lambda body: body + b"\n<!-- 12 ms -->",
    "object": lambda body: body + b"\n{}",
    "nuls": lambda body: body + b"\0\0",
    "php": lambda body: b"<br />\n<b>Warning</b>: x in <b>a.php</b> on line <b>3</b><br />\n" + body,
    "line_break": lambda body: body.rstrip().removesuffix(b"}") + b',"note":"one\ntwo"}',
    "gbk": lambda body: body.rstrip().removesuffix(b"}") + ',"note":"任务已提交"}'.encode("gbk"),
    "cut_character": lambda body: body.rstrip().removesuffix(b"}") + b',"note":"\xe4\xbb"}',
    "bom": lambda body: b"\xef\xbb\xbf" + body,
}


def _dirty(reply: Reply, args: Mapping[str, Any]) -> Reply:
    return replace(reply, body=DIRT[str(args.get("dirt", "comment"))](reply.body))


def _wrapped(reply: Reply, args: Mapping[str, Any]) -> Reply:
    code = args.get("code", 200)
    return replace(
        reply, body=json.dumps({"code": code, "message": "success", "data": json.loads(reply.body)}).encode()
    )


def _in_camel_case(reply: Reply, _args: Mapping[str, Any]) -> Reply:
    named = re.sub(rb'"([a-z]+(?:_[a-z]+)+)"(?=\s*:)', lambda match: _camel(match[0]), reply.body)
    return replace(reply, body=named)


def _camel(name: bytes) -> bytes:
    return re.sub(rb"_([a-z])", lambda match: match[1].upper(), name)


def _other_word(reply: Reply, args: Mapping[str, Any]) -> Reply:
    """Replace the status word `of`, or any status word if `of` is missing, by `word`."""
    original, replacement = str(args.get("of", "")), json.dumps(str(args.get("word", "done"))).encode()
    word = re.escape(original).encode() or rb"[^\"]*"
    return replace(
        reply, body=re.sub(rb'("(?:task_)?status"\s*:\s*)"%s"' % word, lambda match: match[1] + replacement, reply.body)
    )


def _in_pieces(reply: Reply, args: Mapping[str, Any]) -> Reply:
    pieces = int(args.get("pieces", 10))
    return replace(reply, pieces=pieces, piece_seconds=float(args.get("seconds", 2)) / pieces)


def _manner(manner: Manner) -> Callable[[Reply, Mapping[str, Any]], Reply]:
    return lambda reply, args: replace(reply, manner=manner, reset=bool(args.get("reset")))


# What happens to the reply to an accepted call. After a submit, the task IS started.
AFTER: dict[str, Callable[[Reply, Mapping[str, Any]], Reply]] = {
    "close_after_accept": _manner(Manner.CLOSE),
    "hang_after_accept": _manner(Manner.HANG),
    "half_reply": _manner(Manner.HALF),
    "length_too_long": _manner(Manner.LONG),
    "length_too_short": _manner(Manner.SHORT),
    "slow_body": _in_pieces,  # args: seconds for the whole body, pieces
    "other_type": _typed,  # args: type, page
    "encoded": _encoded,  # args: header, pack=gzip+deflate+raw
    "dirty_json": _dirty,  # args: dirt, one of DIRT
    "other_envelope": _wrapped,  # args: code
    "camel_case": _in_camel_case,
    "other_word": _other_word,  # args: word, and of: the word that it replaces
    "slow": lambda reply, args: replace(reply, delay_seconds=float(args.get("seconds", 2))),
    "garbage": _garbage,
    "truncated_json": _truncated,
    "truncated_file": _truncated,  # of a result: the transfer is whole, the file is not
    "image_bomb": _image_bomb,  # of a result: a small PNG file with too many pixels (args: side, in pixels)
    "empty": _body(b""),
    "null": _body(b"null"),
    "empty_list": _body(b"[]"),
    "empty_object": _body(b"{}"),
    "bare_string": _body(b'"ok"'),
    "deep_json": _body(b"[" * 100_000 + b"]" * 100_000),
    "html_200": lambda _reply, _args: html_reply(200),
    "huge": _huge,
    "gzip_bomb": _gzip_bomb,
    "error_after_accept": lambda _reply, args: html_reply(int(args.get("status", 500))),
}
# What happens instead of handling the call: nothing is started, unless the fault has `started=1`.
INSTEAD = {
    "close": "reads the request, then ends the connection (args: reset)",
    "hang": "reads the request and never replies",
    "502_html": "replies with the page of a proxy; any other status works as well (504_html …)",
    "redirect": "replies 302 (args: location); without a location it leads to a trap that counts visits",
    "reply": "any reply (args: status, json, text, headers; {key:SHAPE} in it becomes the key of the caller)",
}
MARKER_FORM = "[[sandbox:PROVIDER:OPERATION:FAULT?times=2]]"
_NUMBER = re.compile(r"([345]\d\d)(_html|_retry_after|_retry_date)?")
_MARKER = re.compile(r"\[\[sandbox:(\w+):(\w+):([\w.-]+)(?:\?([^\]]*))?\]\]")


@dataclass(slots=True, kw_only=True)
class Fault:
    """One fault that was set."""

    name: str
    provider: str = "any"
    operation: str = "any"
    args: Mapping[str, Any] = field(default_factory=dict)
    times: int | None = None  # how many more times it happens; None: always
    id: int = 0

    def fits(self, provider: str, operation: str, group: str) -> bool:
        """Whether this fault applies to the operation and belongs to the group."""
        return (
            self.times != 0
            and self.provider in {"any", provider}
            and self.operation in {"any", operation, "task" if operation == "submit" else operation}
            and group_of(self.name) == group
        )


class Faults:
    """The faults that are set, and how often each marker has happened."""

    def __init__(self) -> None:
        self.rules: list[Fault] = []
        self._marked: Counter[tuple[str, str]] = Counter()
        self._drawn: Counter[int | str] = Counter()  # calls, by the id of the rule or by the marker
        self._ids = itertools.count(1)

    def add(self, fault: Fault) -> Fault:
        """Set a fault."""
        fault.name = fault.name.replace("-", "_")
        fault.id = next(self._ids)
        self.rules.append(fault)
        return fault

    def clear(self) -> None:
        """Remove all faults."""
        self.rules.clear()
        self._marked.clear()
        self._drawn.clear()

    def take(self, provider: str, operation: str, group: str, *, prompt: str = "", key: str = "") -> Fault | None:
        """The first fault of this group that applies, counted as used once more. Rules come before markers.

        A marker with `times` is counted for each `key`, for example a task, or without a key for each prompt.
        """
        for rule in self.rules:
            if rule.fits(provider, operation, group) and self._is_drawn(rule, rule.id):
                if rule.times is not None:
                    rule.times -= 1
                return rule
        for match in _MARKER.finditer(prompt):
            marked = _read_marker(match)
            used = (match[0], key or prompt)
            if marked.times is not None:
                marked.times -= min(self._marked[used], marked.times)
            if marked.fits(provider, operation, group) and self._is_drawn(marked, match[0]):
                self._marked[used] += 1
                return marked
        return None

    def _is_drawn(self, fault: Fault, name: int | str) -> bool:
        """Whether a fault with a rate happens at this call."""
        if "rate" not in fault.args:
            return True
        self._drawn[name] += 1
        draw = random.Random(f"{fault.args.get('seed', 7)}:{self._drawn[name]}")  # noqa: S311  # not a secret
        return draw.random() < float(fault.args["rate"])


def group_of(name: str) -> str:
    """The group of a fault: when it happens (before, delay, instead, after) or to what (fate, callback, ids)."""
    if name == BEFORE:
        return "before"
    if name == DELAYED:
        return "delay"
    if name in {EXTRA_IDS, FEWER_IDS}:
        return "ids"
    if name in CALLBACKS:
        return "callback"
    if name in FATES:
        return "fate"
    return "after" if name in AFTER else "instead"


def is_known(name: str, errors: Mapping[str, object]) -> bool:
    """Whether a fault of this name exists for a provider with these documented errors."""
    name = name.replace("-", "_")
    return name in errors or group_of(name) != "instead" or name in INSTEAD or _NUMBER.fullmatch(name) is not None


def reply_instead(fault: Fault, errors: Mapping[str, tuple[int, Any]], *, trap: str, now: float) -> Reply:
    """The reply of a fault of the group `instead`. `trap` is the URL to which a redirect leads by default."""
    args = fault.args
    number = _NUMBER.fullmatch(fault.name)
    if fault.name == "reply":
        reply = _given(args)
    elif fault.name in {"close", "hang", BEFORE}:
        manner = Manner.HANG if fault.name == "hang" else Manner.CLOSE
        reply = Reply(manner=manner, reset=bool(args.get("reset")))
    elif fault.name == "redirect":
        reply = Reply(status=302, headers=(("location", str(args.get("location", trap))),))
    elif fault.name in errors:
        reply = any_reply(*errors[fault.name])
    elif number and number[2] == "_html":
        reply = html_reply(int(number[1]))
    elif number and number[1] in errors:
        reply = any_reply(*errors[number[1]])
    else:
        reply = text_reply(f"{fault.name}: no such page", int(number[1]) if number else 500)
    after = args.get("retry_after", 3 if number and number[2] == "_retry_after" else None)
    if after is not None:
        reply = replace(reply, headers=(*reply.headers, ("retry-after", str(after))))
    date = args.get("retry_date", 3 if number and number[2] == "_retry_date" else None)
    if date is not None:
        reply = replace(reply, headers=(*reply.headers, ("retry-after", formatdate(now + float(date), usegmt=True))))
    return reply


def mangle(fault: Fault, reply: Reply) -> Reply:
    """The reply changed by a fault of the group `after`."""
    return AFTER[fault.name](reply, fault.args)


def _given(args: Mapping[str, Any]) -> Reply:
    status = int(args.get("status", 200))
    headers = tuple((str(name), str(value)) for name, value in dict(args.get("headers", {})).items())
    if "text" in args:
        return replace(text_reply(str(args["text"]), status), headers=headers)
    value = args.get("json")
    if isinstance(value, str):  # from a marker: all of its values are text
        value = msgspec.json.decode(value)
    return json_reply(value, status, headers)


def _read_marker(match: re.Match[str]) -> Fault:
    args: dict[str, Any] = dict(parse_qsl(match[4] or "", keep_blank_values=True))
    times = args.pop("times", None)
    name = match[3].replace("-", "_")
    return Fault(
        name="close" if name == BEFORE else name,  # a marker is found only after the body was read
        provider=match[1],
        operation=match[2],
        args=args,
        times=None if times is None else int(times),
    )
