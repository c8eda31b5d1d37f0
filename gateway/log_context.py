"""What a log line is about: fields that every line of a request or of a driver has without naming them.

The fields are `request_id`, `client`, `generation`, `attempt` and `delivery`. They are in a variable of the running
task (`contextvars`), and `gateway/log.py` adds them to each line; a field that the line itself names counts more. A
task inherits the fields of the one that started it. So a driver, which outlives the request that woke it, starts with
`nothing()` and names what it is about.

All fields are in one variable. With one for each, as structlog has them, every request and every line would have to
look through all variables of the task.
"""

from collections.abc import Mapping
from contextvars import Context, ContextVar

_FIELDS: ContextVar[Mapping[str, str]] = ContextVar("log_fields")
_NONE: Mapping[str, str] = {}


def begin(**fields: str) -> None:
    """Forget what the task was about, and begin with these fields."""
    _FIELDS.set(fields)


def add(**fields: str) -> None:
    """Add fields to the lines of this task, until it ends."""
    _FIELDS.set({**_FIELDS.get(_NONE), **fields})


def current() -> Mapping[str, str]:
    """What the running task is about."""
    return _FIELDS.get(_NONE)


def nothing() -> Context:
    """A context without fields, for a task that is not about what the running one is about."""
    return Context()
