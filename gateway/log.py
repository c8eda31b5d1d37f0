"""The log: one line for each event on standard error, without keys, prompts and images.

Every log line, from structlog or from the standard library's `logging`, passes the same processors. `redact` is
the last one before the time is added and the line is rendered: it leaves only plain values of limited size.
"""

import logging
import re
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import contextmanager, suppress
from dataclasses import fields, is_dataclass
from functools import lru_cache
from typing import Any, Literal

import msgspec
import structlog
from msgspec import Struct, structs
from structlog.typing import EventDict, Processor

from gateway import log_context
from gateway.domain.redaction import NO_SECRETS, Redactor
from gateway.domain.secret_patterns import HIDDEN, KEY_PREFIXES, SECRET_NAMES, SECRET_PATTERNS
from gateway.log_writer import LogWriter

FIELD_MAX = 2_000  # characters of one string
SHORT_MAX = 64  # characters of a text that is remembered with what is shown of it
READ_MAX = 64_000  # characters of a string that are searched for secrets; the rest is never shown
ITEMS_MAX = 100  # of one array or object; the rest is left out
DEPTH_MAX = 8  # levels of nested values

_SECRET_KEY = re.compile(SECRET_NAMES, re.IGNORECASE)
# Contents that a client sent. Numbers under these names stay, because they are sizes and counts.
_PAYLOAD_KEY = re.compile(
    r"(?:^|[_-])(?:prompts?|images?|frames?|references?|body|b64|base64)(?:$|[_-])", re.IGNORECASE
)
_SECRETS = tuple(row.in_log for row in SECRET_PATTERNS if row.in_log is not None)
# Most texts in the log are names, ids and states. None of the patterns above can match one of these, so none is tried.
_PLAIN = re.compile(rf"(?!.*(?:(?<![A-Za-z0-9])(?:{KEY_PREFIXES})[-_]|eyJ))[A-Za-z0-9_.-]{{0,64}}")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # the terminal of a reader would execute an escape sequence
_STANDARD_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message"}
_FROM_TRACEBACK = {"exception", "stack"}  # the end of these is the most useful part


def configure(
    format: Literal["json", "console"] | None = None,  # noqa: A002  # as in the configuration
    level: str = "info",
    redactor: Redactor = NO_SECRETS,
) -> None:
    """Send every log line through one pipeline to standard error. `None`: console on a terminal, else JSON lines.

    `redactor` hides the secrets of the configuration by their value. The last call counts. A server that configures
    logging by itself must be started without that (`log_config`).
    """
    sink = _Sink()
    is_terminal = sys.stderr.isatty()
    form = format or ("console" if is_terminal else "json")
    chain: list[Processor] = [
        _with_context,
        structlog.processors.add_log_level,
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
        redact,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _console(colors=is_terminal) if form == "console" else _json,
    ]
    structlog.configure(
        processors=chain,
        logger_factory=lambda *_: sink,
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    root.handlers = [handler for handler in root.handlers if type(handler) not in {_Handler, logging.StreamHandler}]
    root.addHandler(_Handler(chain, sink))
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi", "litestar"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate, logger.disabled = [], True, False
        logger.setLevel(logging.NOTSET)  # that of the root counts
    logging.captureWarnings(capture=True)
    adjust(level, redactor)


def adjust(level: str, redactor: Redactor) -> None:
    """Change the level, and the secrets that are hidden by their value, after `configure`."""
    _Values.redactor = redactor
    threshold = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(threshold))
    logging.getLogger().setLevel(threshold)
    for name in ("httpx", "httpcore"):  # at "info" they write a line for each call
        logging.getLogger(name).setLevel(max(threshold, logging.WARNING))


@contextmanager
def in_background() -> Iterator[None]:
    """Write log lines from a separate thread until the end of the block, so an unread log cannot block the gateway.

    If standard error has no file descriptor, as in tests, lines are written directly.
    """
    try:
        descriptor = sys.stderr.fileno()
    except (OSError, ValueError, AttributeError):
        yield
        return
    writer = LogWriter(descriptor, lambda lines: structlog.get_logger().warning("log_lines_dropped", lines=lines))
    _Sink.write, _Sink.dropped = staticmethod(writer.put), staticmethod(lambda: writer.dropped)
    hooks = sys.unraisablehook, threading.excepthook
    sys.unraisablehook, threading.excepthook = _log_ignored, _log_ignored
    try:
        yield
    finally:
        # While nobody reads, a direct write would block the end of the process.
        _Sink.write = staticmethod(_write_now if writer.close() else _write_nowhere)
        _Sink.dropped = staticmethod(lambda: 0)
        sys.unraisablehook, threading.excepthook = hooks


def dropped_lines() -> int:
    """How many lines were dropped since the start, because standard error was not read fast enough."""
    return _Sink.dropped()


def _log_ignored(error: Any) -> None:
    """Log an exception that Python would print on standard error, where the print could block."""
    if error.exc_value is not None:
        structlog.get_logger().error("exception_ignored", exc_info=error.exc_value)


def _with_context(_logger: object, _method: str, event_dict: EventDict) -> EventDict:
    """The event with the fields of `log_context`."""
    return {**log_context.current(), **event_dict}


def redact(_logger: object, _method: str, event_dict: EventDict) -> EventDict:
    """The event as plain values, without secrets and payloads, with limited strings and collections."""
    shown = _object(event_dict, DEPTH_MAX)
    for key in _FROM_TRACEBACK & event_dict.keys():
        shown[key] = clean(str(event_dict[key]), from_end=True)
    return shown


def clean(text: str, *, from_end: bool = False) -> str:
    """A text without anything that looks like a key. At most `FIELD_MAX` characters: its beginning, or its end."""
    redactor = _Values.redactor
    return _clean_short(text, redactor) if len(text) <= SHORT_MAX else _clean(text, redactor, from_end=from_end)


@lru_cache(maxsize=4096)  # names of fields, paths and clients are the same in most lines
def _clean_short(text: str, redactor: Redactor) -> str:
    return _clean(text, redactor, from_end=False)


def _clean(text: str, redactor: Redactor, *, from_end: bool) -> str:
    if _PLAIN.fullmatch(text):
        return redactor.text(text)
    if len(text) > READ_MAX:  # a cut word may be half a key, which no pattern finds, so it is left out
        words = text[-READ_MAX:].split(maxsplit=1)[1:] if from_end else text[:READ_MAX].rsplit(maxsplit=1)[:-1]
        text = words[0] if words else "…"
    for pattern, shown in _SECRETS:
        text = pattern.sub(shown, text)
    text = _CONTROL.sub("�", text)
    if not text.isascii():
        text = text.encode("utf-8", "replace").decode()
    if len(text) > FIELD_MAX:
        text = "…" + text[1 - FIELD_MAX :] if from_end else text[: FIELD_MAX - 1] + "…"
    return redactor.words(text)  # also the part of a secret that the cut has left


def _object(value: Mapping[Any, Any], depth: int) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    for place, (key, inner) in enumerate(value.items()):
        if place == ITEMS_MAX:
            shown["…"] = len(value) - ITEMS_MAX
            break
        name = key.decode(errors="replace") if isinstance(key, bytes) else str(key)
        if _is_payload(name) and not isinstance(inner, bool | int | float | None):
            continue
        shown[clean(name)] = _named(name, inner, depth)
    return shown


@lru_cache(maxsize=1024)
def _is_payload(name: str) -> bool:
    return _PAYLOAD_KEY.search(name) is not None


@lru_cache(maxsize=1024)
def _is_secret(name: str) -> bool:
    return _SECRET_KEY.search(name) is not None


def _named(name: str, value: object, depth: int) -> Any:
    """A value under a name: hidden if the name is that of a secret."""
    return HIDDEN if _is_secret(name) and value is not None else _plain(value, depth - 1)


def _plain(value: object, depth: int) -> Any:
    match value:
        case None | bool():
            return value
        case str():
            return clean(str.__str__(value))
        case int():
            return int(value) if -(2**63) <= value < 2**63 else "an integer beyond 64 bits"
        case float():
            return float(value)
        case bytes() | bytearray() | memoryview():
            return clean(bytes(value[:READ_MAX]).decode(errors="replace"))
        case BaseException():
            return clean(f"{type(value).__name__}: {_text(value, str)}")
    if depth <= 0:
        return "…"
    match value:
        case Mapping():
            return _object(value, depth)
        case Struct():
            return _object(structs.asdict(value), depth)
        # A header, as ASGI and httpx represent it.
        case (str() | bytes() as key, inner) if isinstance(value, tuple | list):
            name = key if isinstance(key, str) else key.decode(errors="replace")
            return [clean(name), _named(name, inner, depth)]
        case list() | tuple() | AbstractSet():
            return [_plain(inner, depth - 1) for inner, _ in zip(value, range(ITEMS_MAX), strict=False)]
    if is_dataclass(value) and not isinstance(value, type):
        return _object({field.name: getattr(value, field.name, None) for field in fields(value) if field.repr}, depth)
    return clean(_text(value, repr))


def _text(value: object, way: type[str] | Any) -> str:
    try:
        return str(way(value))
    except Exception:  # noqa: BLE001  # a value that cannot be shown must not lose the log line
        return f"<{type(value).__name__}>"


def _json(_logger: object, _method: str, event_dict: EventDict) -> str:
    first = {key: event_dict.pop(key) for key in ("timestamp", "level", "event") if key in event_dict}
    return msgspec.json.encode({**first, **event_dict}).decode()


def _console(*, colors: bool) -> Processor:
    # The traceback is already a clean text; a prettier one would be made from the exception, with its secrets.
    return structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=structlog.dev.plain_traceback)


def _write_now(line: str) -> None:
    with suppress(OSError, ValueError):  # standard error is closed
        sys.stderr.write(line + "\n")
        sys.stderr.flush()


def _write_nowhere(_: str) -> None:
    pass


class _Values:
    """The secrets that are hidden by their value."""

    redactor: Redactor = NO_SECRETS  # one for the whole process


class _Sink:
    """Writes all lines. A line that cannot be written is lost and stops nothing."""

    write: Callable[[str], None] = staticmethod(_write_now)  # one for the whole process
    dropped: Callable[[], int] = staticmethod(lambda: 0)

    def msg(self, line: str) -> None:
        type(self).write(line)

    debug = info = warning = error = critical = exception = fatal = log = msg


class _Handler(logging.Handler):
    """Passes the lines of the standard library's loggers to the same processors."""

    def __init__(self, chain: list[Processor], sink: _Sink) -> None:
        super().__init__()
        self._chain = chain
        self._sink = sink

    def emit(self, record: logging.LogRecord) -> None:
        try:
            extra = {key: value for key, value in vars(record).items() if key not in _STANDARD_FIELDS}
            event: dict[str, Any] = {**extra, "event": record.getMessage(), "logger": record.name}
            if record.exc_info:
                event["exc_info"] = record.exc_info
            line: Any = event
            for processor in self._chain:
                line = processor(None, record.levelname.lower(), line)
            self._sink.msg(str(line))
        except Exception:  # noqa: BLE001  # the standard library would print the arguments with their secrets
            self._sink.msg(f'{{"level":"error","event":"log_failed","logger":"{clean(record.name)}"}}')
