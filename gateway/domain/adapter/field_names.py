"""Names of JSON fields, whatever case and punctuation they are written in. Pure."""

import re

_NAME_MAX = 100  # characters of a name that are looked at
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_PARTS = re.compile(r"[^0-9a-zA-Z]+")


def words(names: str) -> tuple[str, ...]:
    """The words of a table that is written as text."""
    return tuple(names.split())


def tokens(name: str) -> list[str]:
    """The words that a name is made of, in lower case: `videoUrl` and `VIDEO-URL` are `video`, `url`."""
    return [word.lower() for word in _PARTS.split(camel_apart(name)) if word]


def plain(name: str) -> str:
    """A name in lower case without anything between its words: `taskId`, `task_id` and `TaskID` are one."""
    return "".join(character for character in name[:_NAME_MAX].lower() if character.isalnum())


def snake(name: str) -> str:
    """A name as most providers write it: `task_id`."""
    return "_".join(tokens(name))


def camel_apart(name: str) -> str:
    """A name with an underscore between its words where only a capital letter was: `taskFailed` is `task_Failed`."""
    return _CAMEL.sub("_", name[:_NAME_MAX])
