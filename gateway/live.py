"""A value of the configuration that may change while the process runs. Services hold the `Live`, and read `current`."""

from collections.abc import Callable
from typing import Any, Generic, TypeVar

T = TypeVar("T")
U = TypeVar("U")


class Live(Generic[T]):
    """The value that counts now. A service that needs one value for several steps reads it once."""

    __slots__ = ("_derived", "_watchers", "current")

    def __init__(self, current: T) -> None:
        self.current = current
        self._derived: list[tuple[Live[Any], Callable[[T], Any]]] = []
        self._watchers: list[Callable[[T, T], None]] = []

    def of(self, derive: Callable[[T], U]) -> "Live[U]":
        """A value that follows from this one, now and after every change. `derive` is pure, and runs in any thread."""
        derived = Live(derive(self.current))
        self._derived.append((derived, derive))
        return derived

    def watch(self, watcher: Callable[[T, T], None]) -> None:
        """Call `watcher` with the old and the new value after each change, when every derived value is in place.

        It runs on the event loop, and must not raise, because the change is made already.
        """
        self._watchers.append(watcher)

    def prepared(self, value: T) -> Callable[[], None]:
        """Derive everything from a new value, and change nothing. The result, called, puts all of it in place at once.

        Raises what deriving raises: then nothing has changed.
        """
        changes = self.changes(value)

        def commit() -> None:
            before = [live.current for live, _ in changes]
            for live, new in changes:
                live.current = new
            for (live, new), old in zip(changes, before, strict=True):
                live.announce(old, new)

        return commit

    def changes(self, value: T) -> "list[tuple[Live[Any], Any]]":
        """This value and every derived one, with what each becomes."""
        changes: list[tuple[Live[Any], Any]] = [(self, value)]
        for derived, derive in self._derived:
            changes += derived.changes(derive(value))
        return changes

    def announce(self, old: T, new: T) -> None:
        """Call every watcher."""
        for watcher in self._watchers:
            watcher(old, new)
