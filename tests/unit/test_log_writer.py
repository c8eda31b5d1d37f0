"""A log that nobody reads stops nothing, and tells afterwards how much of it is missing."""

import os
import threading

import pytest

from gateway.log_writer import LogWriter

PIPE = 1 << 20  # more than a pipe holds


class Reader:
    """The reading end of a pipe that can be left unread."""

    def __init__(self) -> None:
        self.end, self.write_end = os.pipe()

    def all(self) -> list[bytes]:
        """Close the writing end and read the rest."""
        os.close(self.write_end)
        found = b""
        while chunk := os.read(self.end, PIPE):
            found += chunk
        os.close(self.end)
        return found.splitlines()


def test_lines_are_written_in_their_order_also_at_the_end() -> None:
    reader = Reader()
    writer = LogWriter(reader.write_end, lambda _: None)
    for number in range(100):
        writer.put(f"line {number}")
    writer.close()
    assert reader.all() == [b"line %d" % number for number in range(100)]


def test_reader_that_hangs_blocks_neither_writers_nor_the_end() -> None:
    reader = Reader()
    writer = LogWriter(reader.write_end, lambda _: None, queue_bytes=PIPE)
    line = "x" * 1000
    for _ in range(4 * PIPE // 1000):
        writer.put(line)
    writer.close(timeout_seconds=0.05)
    assert len(os.read(reader.end, 1000)) == 1000
    os.close(reader.end)


def test_dropped_lines_are_counted_and_reported_once_the_reader_reads_again() -> None:
    reader = Reader()
    reported: list[int] = []
    told = threading.Event()

    def report(lines: int) -> None:
        reported.append(lines)
        told.set()

    writer = LogWriter(reader.write_end, report, queue_bytes=PIPE)
    put = 4 * PIPE // 1000
    for _ in range(put):
        writer.put("x" * 999)
    read = 0
    while not told.is_set():
        read += len(os.read(reader.end, 65536))
    closing = threading.Thread(target=writer.close)
    closing.start()
    drain = threading.Thread(target=lambda: _read_until_closed(reader))
    drain.start()
    closing.join()
    os.close(reader.write_end)
    drain.join()
    assert len(reported) == 1
    assert 0 < reported[0] < put
    assert read > 0


def _read_until_closed(reader: Reader) -> None:
    while os.read(reader.end, 65536):
        pass
    os.close(reader.end)


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
