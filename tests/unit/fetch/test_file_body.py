"""What is taken of a body: its size, its pieces, its pace, its encoding."""

import gzip

import pytest

from gateway.fetch.file_body import (
    CRUMB_BYTES,
    CRUMBS_MAX,
    SLOW_AFTER_SECONDS,
    SLOW_BYTES,
    TOTAL_SECONDS,
    BadBody,
    BodyReader,
    BodyTooLarge,
)

MUCH = 10**9


def take(body: BodyReader, data: bytes, now: float = 0.0) -> bytes:
    return b"".join(body.take(data, now))


def test_a_body_that_moves_has_no_limit_of_minutes() -> None:
    body = BodyReader("", MUCH, began=100.0)
    for second in range(0, 6 * 3600, 20):
        assert take(body, bytes(20 * SLOW_BYTES), 100.0 + second) == bytes(20 * SLOW_BYTES)


def test_a_byte_now_and_then_does_not_hold_a_place_for_long() -> None:
    body = BodyReader("", MUCH, began=0.0)
    take(body, bytes(20), SLOW_AFTER_SECONDS)
    with pytest.raises(BadBody, match="less than 1,024 bytes a second"):
        take(body, b"x", SLOW_AFTER_SECONDS + 1)


def test_even_a_body_that_moves_ends_some_day() -> None:
    body = BodyReader("", MUCH, began=0.0)
    take(body, bytes(MUCH // 2), TOTAL_SECONDS)
    with pytest.raises(BadBody, match="more than 6 hours"):
        take(body, bytes(MUCH // 2), TOTAL_SECONDS + 1)


def test_so_many_tiny_pieces_are_taken_and_no_more() -> None:
    body = BodyReader("", MUCH, began=0.0)
    for _ in range(CRUMBS_MAX):
        take(body, b"x")
    with pytest.raises(BadBody, match="pieces that are too small"):
        take(body, b"x")
    fine = BodyReader("", MUCH, began=0.0)
    for _ in range(CRUMBS_MAX * 2):
        take(fine, bytes(CRUMB_BYTES))


def test_neither_more_bytes_are_taken_nor_unpacked() -> None:
    body = BodyReader("", 10, began=0.0)
    body.check_length(10)
    body.check_length(None)
    with pytest.raises(BodyTooLarge, match="more than the 10 bytes"):
        body.check_length(11)
    with pytest.raises(BodyTooLarge, match="more than the 10 bytes"):
        take(body, bytes(11))
    with pytest.raises(BodyTooLarge, match="sent a body that has more than 50 bytes once it is decoded"):
        take(BodyReader("gzip", 50, began=0.0), gzip.compress(bytes(51), mtime=0))


def test_what_is_held_back_comes_at_the_end() -> None:
    body = BodyReader("", 10, began=0.0)
    assert take(body, b"tiny") == b""
    assert (body.finish(), body.received, body.is_plain) == (b"tiny", 4, True)
    broken = BodyReader("", 1000, began=0.0)
    take(broken, gzip.compress(b"something", mtime=0)[:-5])
    with pytest.raises(BadBody, match="sent a body that breaks off in the middle of its gzip encoding"):
        broken.finish()
