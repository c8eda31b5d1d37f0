"""What a log line is about: fields that every line of a request or of a driver has without naming them.

The fields are `request_id`, `client`, `generation`, `attempt` and `delivery`. They are variables of the running task
(`contextvars`), and `gateway/log.py` adds them to each line; a field that the line itself names counts more. A task
inherits the fields of the one that started it. So a driver, which outlives the request that woke it, starts with
`nothing()` and names what it is about.
"""

from contextvars import Context

from structlog.contextvars import bind_contextvars, clear_contextvars


def begin(**fields: str) -> None:
    """Forget what the task was about, and begin with these fields."""
    clear_contextvars()
    bind_contextvars(**fields)


def add(**fields: str) -> None:
    """Add fields to the lines of this task, until it ends."""
    bind_contextvars(**fields)


def nothing() -> Context:
    """A context without fields, for a task that is not about what the running one is about."""
    return Context()
