"""The words of a 400 about a value: what the field takes, and what came."""

from collections.abc import Mapping
from typing import NoReturn

from gateway.domain.errors import InvalidParameter


def refuse(name: str, accepted: str, value: object, meant: str | None = None) -> NoReturn:
    """Raise `InvalidParameter` for a field.

    `accepted` says what the field must be; `meant` is what the client probably wanted to say, where that is known.
    """
    hint = "" if meant is None else f" Did you mean {meant}?"
    raise InvalidParameter(f"`{name}` must be {accepted}, not {shown(value)}.{hint}", param=name)


def shown(value: object) -> str:
    """A value fit for a message: itself when it is short, else its kind."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return str(value)
        case str() if len(value) <= 40 and value.isprintable():
            return f'"{value}"'
        case str():
            return f"a string of {len(value):,} characters"
        case Mapping():
            return "an object"
        case list():
            return f"a list of {len(value):,}"
        case _:
            return f"a {type(value).__name__}"
