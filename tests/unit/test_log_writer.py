"""An unread log blocks nothing, and reports afterwards how many lines were dropped."""

import contextlib
import os
import threading
from collections.abc import Iterator

import pytest

from gateway import log_writer
from gateway.log_writer import LogWriter, write_apart

PIPE = 1 << 20  # more than fits into a pipe


class Reader:
    """The reading end of a pipe that can be left unread."""

    def __init__(self) -> None:
        self.end, self.write_end = os.pipe()

    def all(self) -> list[bytes]:
        """Close the writing end and read the rest."""
        os.close(self.write_end)
        data = b""
        while chunk := os.read(self.end, PIPE):
            data += chunk
        os.close(self.end)
        return data.splitlines()


def test_lines_are_written_in_their_order_also_at_the_end() -> None:
    reader = Reader()
    writer = LogWriter(reader.write_end, lambda _: None)
    for number in range(100):
        writer.put(f"line {number}")
    assert writer.close()
    assert reader.all() == [b"line %d" % number for number in range(100)]


def test_one_wake_up_of_the_thread_serves_all_lines_of_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_writer, "GATHERING_SECONDS", 3600)
    reader = Reader()
    writer = LogWriter(reader.write_end, lambda _: None)
    for number in range(100):
        writer.put(f"line {number}")
    assert writer.close(timeout_seconds=60), "the end does not wait for more lines"
    assert writer.wake_ups == 1
    assert len(reader.all()) == 100


def test_reader_that_hangs_blocks_neither_writers_nor_the_end() -> None:
    reader = Reader()
    writer = LogWriter(reader.write_end, lambda _: None, queue_bytes=PIPE)
    line = "x" * 1000
    for _ in range(4 * PIPE // 1000):
        writer.put(line)
    assert not writer.close(timeout_seconds=0.05), "not all was written"
    assert writer.dropped > 2 * PIPE // 1000
    assert len(os.read(reader.end, 1000)) == 1000
    os.close(reader.end)


def test_every_line_is_written_or_counted_as_dropped() -> None:
    reader = Reader()
    reported: list[int] = []
    written: list[bytes] = []
    writer = LogWriter(reader.write_end, reported.append, queue_bytes=PIPE)
    put = 4 * PIPE // 1000
    for _ in range(put):
        writer.put("x" * 999)
    reading = threading.Thread(target=lambda: written.extend(_until_closed(reader)))
    reading.start()
    writer.close(timeout_seconds=60)
    os.close(reader.write_end)
    reading.join()
    os.close(reader.end)
    assert sum(reported) > 0
    assert sum(map(len, written)) // 1000 + sum(reported) == put


def _until_closed(reader: Reader) -> Iterator[bytes]:
    while chunk := os.read(reader.end, 65536):
        yield chunk


def test_descriptor_that_is_closed_loses_lines_and_stops_nothing() -> None:
    reader = Reader()
    os.close(reader.write_end)
    writer = LogWriter(reader.write_end, lambda _: None)
    writer.put("lost")
    writer.close()
    os.close(reader.end)


@pytest.mark.parametrize("text", ["\ud800", "视频"])
def test_any_text_is_written(text: str) -> None:
    reader = Reader()
    writer = LogWriter(reader.write_end, lambda _: None)
    writer.put(text)
    writer.close()
    assert reader.all() == [text.encode("utf-8", "replace")]


def test_a_line_for_a_reader_that_hangs_blocks_nobody() -> None:
    reader = Reader()
    os.set_blocking(reader.write_end, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(reader.write_end, b"x" * 4096)
    os.set_blocking(reader.write_end, True)
    write_apart(reader.write_end, "listening")
    (thread,) = (thread for thread in threading.enumerate() if thread.name == "line")
    os.set_blocking(reader.end, False)
    data = b""
    while not data.endswith(b"listening\n"):
        with contextlib.suppress(BlockingIOError):
            data += os.read(reader.end, PIPE)
    thread.join()
    os.close(reader.write_end)
    os.close(reader.end)
