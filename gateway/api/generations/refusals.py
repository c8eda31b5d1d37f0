"""The refusal (400) of a value: what the field accepts, and what the client sent."""

from typing import NoReturn

from gateway.domain.adapter.shown_value import shown
from gateway.domain.errors import InvalidParameter


def refuse(name: str, accepted: str, value: object, meaning: str | None = None) -> NoReturn:
    """Raise `InvalidParameter` for the field `name`.

    `accepted` says what the field must be; `meaning` is what the client probably meant, where that can be guessed.
    """
    hint = "" if meaning is None else f" Did you mean {meaning}?"
    raise InvalidParameter(f"`{name}` must be {accepted}, not {shown(value)}.{hint}", param=name)
