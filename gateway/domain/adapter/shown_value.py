"""How a message shows a value that a client sent."""

from collections.abc import Mapping


def shown(value: object) -> str:
    """Return short printable text and numbers as they are, and only the kind and the length of anything else.

    A message stays short and on one line, whatever the client sent.
    """
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
