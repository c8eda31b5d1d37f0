"""Faults on demand: rules set through the admin call, and markers in a prompt.

A marker reads `[[sandbox:PROVIDER:OPERATION:FAULT]]` or `[[sandbox:PROVIDER:OPERATION:FAULT?times=2&seconds=1]]`;
provider and operation may be `any`. Besides the names below, every provider has its own table of documented errors.
Any fault takes `rate=0.5`: it happens to that part of the calls alone, drawn in their order (`seed` for another order).
A submit's refusal takes `started=1`: the task is started all the same, and where the provider calls back, it names it.
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

from gateway.sandbox.wire import Manner, Reply, any_reply, html_reply, json_reply, text_reply

# What becomes of a task: given at submit for its life, or at a poll for that poll alone.
FATES = {
    "fail": "fails for no reason of the client's (args: message, code)",
    "fail_content": "fails, its content refused",
    "fail_image": "fails, its image refused",
    "given_up": "is given up by the relay itself at its end: its task plug-in shows the last that Kling said for ever",
    "cancelled": "ends as cancelled",
    "stuck": "never ends (args: phase=queued|running)",
    "slow_task": "takes longer (args: seconds)",
    "lost": "is not to be found",
    "no_url": "is done without a file, for good or until so many polls have seen it (args: polls, until_sync)",
    "unknown_status": "shows a status word that is in no documentation (args: word)",
}
CALLBACKS = {
    "duplicated": "the callback is sent twice",
    "early": "the task ends at once, and the callback comes before the reply to the submit",
    "forged": "a callback claims success, with a foreign URL, before the end (args: task_id, url, after: seconds)",
    "none": "no callback is sent",
}
EXTRA_IDS = "extra_ids"  # Keevx alone: more tasks than were asked for (args: n)
FEWER_IDS = "fewer_ids"  # Keevx alone: the reply leaves out some of the tasks that were started (args: n)
DELAYED = "delayed"  # the call is read at once and handled later (args: seconds); `slow` is handled at once
BEFORE = "close_before_read"  # the connection ends before the body is read; nothing is started


def _garbage(reply: Reply, args: Mapping[str, Any]) -> Reply:
    return replace(reply, body=random.Random(int(args.get("seed", 7))).randbytes(512))  # noqa: S311  # no secret


def _truncated(reply: Reply, _args: Mapping[str, Any]) -> Reply:
    return replace(reply, body=reply.body[: max(len(reply.body) // 2, 1)])


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
    "raw": lambda body: zlib.compress(body)[2:-4],  # deflate as some servers understand it
}


def _encoded(reply: Reply, args: Mapping[str, Any]) -> Reply:
    """A `Content-Encoding` header, and what was really done to the body: nothing, or several things in this order."""
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
    named = re.sub(rb'"([a-z]+(?:_[a-z]+)+)"(?=\s*:)', lambda found: _camel(found[0]), reply.body)
    return replace(reply, body=named)


def _camel(name: bytes) -> bytes:
    return re.sub(rb"_([a-z])", lambda found: found[1].upper(), name)


def _other_word(reply: Reply, args: Mapping[str, Any]) -> Reply:
    """Another word for the state of the task, whatever that is: `word` is said as soon as `of` would be."""
    said, instead = str(args.get("of", "")), json.dumps(str(args.get("word", "done"))).encode()
    word = re.escape(said).encode() or rb"[^\"]*"
    return replace(
        reply, body=re.sub(rb'("(?:task_)?status"\s*:\s*)"%s"' % word, lambda found: found[1] + instead, reply.body)
    )


def _in_pieces(reply: Reply, args: Mapping[str, Any]) -> Reply:
    pieces = int(args.get("pieces", 10))
    return replace(reply, pieces=pieces, piece_seconds=float(args.get("seconds", 2)) / pieces)


def _manner(manner: Manner) -> Callable[[Reply, Mapping[str, Any]], Reply]:
    return lambda reply, args: replace(reply, manner=manner, reset=bool(args.get("reset")))


# What becomes of the reply to a call that was accepted: for a submit, the task IS started.
AFTER: dict[str, Callable[[Reply, Mapping[str, Any]], Reply]] = {
    "close_after_accept": _manner(Manner.CLOSE),
    "hang_after_accept": _manner(Manner.HANG),
    "half_reply": _manner(Manner.HALF),
    "length_too_long": _manner(Manner.LONG),
    "length_too_short": _manner(Manner.SHORT),
    "slow_body": _in_pieces,  # in the whole time `seconds`, in `pieces`
    "encoded": _encoded,  # args: header, pack=gzip+deflate+raw
    "dirty_json": _dirty,  # args: dirt, one of DIRT
    "other_envelope": _wrapped,  # args: code
    "camel_case": _in_camel_case,
    "other_word": _other_word,  # args: word, and of: the provider's own word that it is said for
    "slow": lambda reply, args: replace(reply, delay_seconds=float(args.get("seconds", 2))),
    "garbage": _garbage,
    "truncated_json": _truncated,
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
# What comes in place of handling the call: nothing is started, unless the fault has `started=1`.
INSTEAD = {
    "close": "the request is read, the connection ends (args: reset)",
    "hang": "the request is read, no reply ever comes",
    "502_html": "a proxy's page, as with every other number (504_html …)",
    "redirect": "302 (args: location); without a location it leads to a trap that remembers who came",
    "reply": "any reply at all (args: status, json, text, headers)",
}
MARKER_FORM = "[[sandbox:PROVIDER:OPERATION:FAULT?times=2]]"
_NUMBER = re.compile(r"([345]\d\d)(_html|_retry_after|_retry_date)?")
_MARKER = re.compile(r"\[\[sandbox:(\w+):(\w+):([\w.-]+)(?:\?([^\]]*))?\]\]")


@dataclass(slots=True, kw_only=True)
class Fault:
    """One fault that was asked for."""

    name: str
    provider: str = "any"
    operation: str = "any"
    args: Mapping[str, Any] = field(default_factory=dict)
    times: int | None = None  # how often it still happens; None: always
    id: int = 0

    def fits(self, provider: str, operation: str, group: str) -> bool:
        """Whether this fault is for that operation, and of that group."""
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
        self._drawn: Counter[int | str] = Counter()  # by the id of a rule, or by a marker
        self._ids = itertools.count(1)

    def add(self, fault: Fault) -> Fault:
        """Set one."""
        fault.name = fault.name.replace("-", "_")
        fault.id = next(self._ids)
        self.rules.append(fault)
        return fault

    def clear(self) -> None:
        """Take all back."""
        self.rules.clear()
        self._marked.clear()
        self._drawn.clear()

    def take(self, provider: str, operation: str, group: str, *, prompt: str = "", key: str = "") -> Fault | None:
        """The first fault of this group that fits, now used once more; rules go before markers.

        A marker with `times` counts for each key (a task, say), or else for each prompt.
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
        """Whether a fault with a rate happens this time."""
        if "rate" not in fault.args:
            return True
        self._drawn[name] += 1
        draw = random.Random(f"{fault.args.get('seed', 7)}:{self._drawn[name]}")  # noqa: S311  # no secret
        return draw.random() < float(fault.args["rate"])


def group_of(name: str) -> str:
    """When a fault happens: before, delay, instead, after; or to what: fate, callback, ids."""
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
    """Whether there is such a fault for a provider with these documented errors."""
    name = name.replace("-", "_")
    return name in errors or group_of(name) != "instead" or name in INSTEAD or _NUMBER.fullmatch(name) is not None


def reply_instead(fault: Fault, errors: Mapping[str, tuple[int, Any]], *, trap: str, now: float) -> Reply:
    """The reply a fault of the group `instead` gives. `trap` is where a redirect leads."""
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
    """What a fault of the group `after` makes of a reply."""
    return AFTER[fault.name](reply, fault.args)


def _given(args: Mapping[str, Any]) -> Reply:
    status = int(args.get("status", 200))
    headers = tuple((str(name), str(value)) for name, value in dict(args.get("headers", {})).items())
    if "text" in args:
        return replace(text_reply(str(args["text"]), status), headers=headers)
    value = args.get("json")
    if isinstance(value, str):  # from a marker, where all values are text
        value = msgspec.json.decode(value)
    return json_reply(value, status, headers)


def _read_marker(match: re.Match[str]) -> Fault:
    args: dict[str, Any] = dict(parse_qsl(match[4] or "", keep_blank_values=True))
    times = args.pop("times", None)
    name = match[3].replace("-", "_")
    return Fault(
        name="close" if name == BEFORE else name,  # a marker is only seen once the body is read
        provider=match[1],
        operation=match[2],
        args=args,
        times=None if times is None else int(times),
    )
