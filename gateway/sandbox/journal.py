"""Records what the sandbox saw, as lines of JSON on disk: purchases can be counted even if both sides are killed.

- `submit`: a submit was read completely and is not handled yet. Provider, model, prompt, number of requested results.
- `start`: tasks were started, so they are paid; no reply has been sent. Their ids, and when each will have its file.
- `withheld`: these tasks were started, but the reply refuses the submit or names fewer tasks.
- `read`: a poll was answered. The reported state, when it was true, and when the reply was sent (null: it was not).
- `callback`: a receiver answered a callback or could not be reached. The task that the callback names, and the answer.

`submit`, `start` and `withheld` are on disk when `note` returns. `read` and `callback` are written at once as well, and
are on disk after the next of those three: a counted purchase has everything before it in the file.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

Event = Literal["submit", "start", "withheld", "read", "callback"]
_DURABLE: frozenset[Event] = frozenset({"submit", "start", "withheld"})


class Journal:
    """Appends lines to a file that stays open until `close`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("ab", buffering=0)

    def note(self, event: Event, about: Mapping[str, Any]) -> None:
        """Write one line."""
        self._file.write(msgspec.json.encode({"event": event, **about}) + b"\n")
        if event in _DURABLE:
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Write the last lines to the disk and close the file."""
        os.fsync(self._file.fileno())
        self._file.close()
