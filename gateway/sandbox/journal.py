"""What the sandbox saw, as lines of JSON on the disk: what was paid for can be counted even if everybody is killed.

- `submit`: a submit was read to its end and is not handled yet. Provider, model, prompt, number of results asked for.
- `start`: tasks were started, so they are paid for; no reply has left yet. Their ids, and when each will have its file.
- `withheld`: these tasks were started, but the reply refuses the submit, or names fewer tasks than were started.
- `read`: a poll was answered. What the reply says, when that was true, and when the reply left (null: it did not).
- `callback`: a receiver has answered a callback, or could not be reached. The task that it names, and the answer.

`submit`, `start` and `withheld` are on the disk when `note` returns. `read` and `callback` are written at once, too,
and reach the disk with the next of those three: when a purchase is counted, everything that came before it is there.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

Event = Literal["submit", "start", "withheld", "read", "callback"]
_DURABLE: frozenset[Event] = frozenset({"submit", "start", "withheld"})


class Journal:
    """Appends lines to a file, which stays open until `close`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("ab", buffering=0)

    def note(self, event: Event, about: Mapping[str, Any]) -> None:
        """Write one line."""
        self._file.write(msgspec.json.encode({"event": event, **about}) + b"\n")
        if event in _DURABLE:
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Bring the last lines to the disk."""
        os.fsync(self._file.fileno())
        self._file.close()
