"""Writes log lines from a separate thread, so that a log that is not read cannot block the gateway.

If a log shipper hangs, standard error becomes a full pipe, and a write to it blocks without end. Here the event loop
only appends to a queue of limited size. The thread is woken for the first line and then waits a moment for more:
waking it for each line costs more than the line, because the two threads pass Python's lock to and fro. If the queue is
full, lines are dropped and counted; the count is logged as soon as the reader reads again, and `/health/ready` shows it
at any time.
"""

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress

QUEUE_BYTES = 4 * 1024 * 1024
CHUNK_BYTES = 64 * 1024
GATHERING_SECONDS = 0.02  # how long lines wait for others; a process that is killed loses those of this time
CLOSING_SECONDS = 2.0  # for writing the queued lines when the process ends


class LogWriter:
    """Appends lines to a file descriptor in order. Every thread may use it."""

    def __init__(self, descriptor: int, report: Callable[[int], None], *, queue_bytes: int = QUEUE_BYTES) -> None:
        """`report` is called with the number of lines that were dropped, once lines are written again."""
        self._descriptor = descriptor
        self._report = report
        self._queue_bytes = queue_bytes
        self._lines: deque[bytes] = deque()
        self._size = 0  # bytes in the queue
        self._dropped = 0  # since the last report
        self.dropped = 0  # since the start
        self._closing = False
        self._is_idle = True  # the thread waits for a line
        self.wake_ups = 0  # how often it was woken for one
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def put(self, line: str) -> None:
        """Queue a line, or drop and count it when the queue is full. Never blocks."""
        data = line.encode("utf-8", "replace") + b"\n"
        with self._changed:
            if self._size + len(data) > self._queue_bytes:
                self._dropped += 1
                self.dropped += 1
                return
            self._lines.append(data)
            self._size += len(data)
            if self._is_idle:
                self._is_idle = False
                self.wake_ups += 1
                self._changed.notify()

    def close(self, timeout_seconds: float = CLOSING_SECONDS) -> bool:
        """Write the queued lines, for `timeout_seconds` at most: a log that is not read must not delay the end.

        Returns whether all were written. If not, a write to the descriptor would still block.
        """
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(timeout_seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        for chunk in self._chunks():
            with suppress(OSError):  # standard error is closed: only the lines are lost
                _write_all(self._descriptor, chunk)
            with self._changed:
                self._size -= len(chunk)
                dropped, self._dropped = self._dropped, 0
            if dropped:
                self._report(dropped)

    def _chunks(self) -> Iterator[bytes]:
        while True:
            with self._changed:
                if not self._lines and not self._closing:
                    self._is_idle = True
                    self._changed.wait_for(lambda: self._lines or self._closing)
                    self._is_idle = False
                    if not self._closing:
                        self._changed.wait(GATHERING_SECONDS)  # nothing but `close` ends it sooner
                if not self._lines:
                    return
                taken = [self._lines.popleft()]
                size = len(taken[0])
                while self._lines and size + len(self._lines[0]) <= CHUNK_BYTES:
                    taken.append(self._lines.popleft())
                    size += len(taken[-1])
            yield b"".join(taken)


def write_apart(descriptor: int, line: str) -> None:
    """Write one line from a thread of its own, because it may be that nobody reads the descriptor."""

    def write() -> None:
        with suppress(OSError):
            _write_all(descriptor, line.encode("utf-8", "replace") + b"\n")

    threading.Thread(target=write, name="line", daemon=True).start()


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
