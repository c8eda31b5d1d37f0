"""Compares names of JSON fields regardless of case and punctuation. Pure."""

import re
from functools import lru_cache

_NAME_MAX = 100  # characters of a name that are compared
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_PARTS = re.compile(r"[^0-9a-zA-Z]+")


def words(names: str) -> tuple[str, ...]:
    """The words of a table that is written as one text, separated by blanks."""
    return tuple(names.split())


def tokens(name: str) -> list[str]:
    """The words in a name, in lower case: `videoUrl` and `VIDEO-URL` both have `video` and `url`."""
    return list(_tokens(name[:_NAME_MAX]))


def plain(name: str) -> str:
    """A name in lower case without separators: `taskId`, `task_id` and `TaskID` all become `taskid`."""
    return _plain(name[:_NAME_MAX])


def snake(name: str) -> str:
    """A name in the form that most providers use: `taskId` becomes `task_id`."""
    return "_".join(tokens(name))


def camel_apart(name: str) -> str:
    """A name with an underscore before each capital letter that begins a word: `taskFailed` becomes `task_Failed`."""
    return _CAMEL.sub("_", name[:_NAME_MAX])


# The readers of a reply ask for the same few names again and again.
@lru_cache(maxsize=4096)
def _tokens(name: str) -> tuple[str, ...]:
    return tuple(word.lower() for word in _PARTS.split(camel_apart(name)) if word)


@lru_cache(maxsize=4096)
def _plain(name: str) -> str:
    return "".join(character for character in name.lower() if character.isalnum())
