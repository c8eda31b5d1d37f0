"""The limits of a body: its size, its pieces, its speed and its encoding."""

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
    FileBodyTooLarge,
)

MUCH = 10**9


def take(body: BodyReader, data: bytes, now: float = 0.0) -> bytes:
    return b"".join(body.take(data, now))


def test_a_body_that_keeps_moving_is_not_cut_after_minutes() -> None:
    body = BodyReader("", MUCH, began=100.0)
    for second in range(0, 6 * 3600, 20):
        assert take(body, bytes(20 * SLOW_BYTES), 100.0 + second) == bytes(20 * SLOW_BYTES)


def test_a_sender_of_single_bytes_is_cut_off() -> None:
    body = BodyReader("", MUCH, began=0.0)
    take(body, bytes(20), SLOW_AFTER_SECONDS)
    with pytest.raises(BadBody, match="less than 1,024 bytes a second"):
        take(body, b"x", SLOW_AFTER_SECONDS + 1)


def test_a_body_that_keeps_moving_is_cut_after_hours() -> None:
    body = BodyReader("", MUCH, began=0.0)
    take(body, bytes(MUCH // 2), TOTAL_SECONDS)
    with pytest.raises(BadBody, match="more than 6 hours"):
        take(body, bytes(MUCH // 2), TOTAL_SECONDS + 1)


def test_the_number_of_tiny_pieces_is_limited() -> None:
    body = BodyReader("", MUCH, began=0.0)
    for _ in range(CRUMBS_MAX):
        take(body, b"x")
    with pytest.raises(BadBody, match="pieces that are too small"):
        take(body, b"x")
    fine = BodyReader("", MUCH, began=0.0)
    for _ in range(CRUMBS_MAX * 2):
        take(fine, bytes(CRUMB_BYTES))


def test_received_and_decoded_bytes_are_limited() -> None:
    body = BodyReader("", 10, began=0.0)
    body.check_length(10)
    body.check_length(None)
    with pytest.raises(FileBodyTooLarge, match="more than the 10 bytes that are accepted"):
        body.check_length(11)
    with pytest.raises(FileBodyTooLarge, match="more than the 10 bytes that are accepted"):
        take(body, bytes(11))
    with pytest.raises(FileBodyTooLarge, match="sent a body that has more than 50 bytes once it is decoded"):
        take(BodyReader("gzip", 50, began=0.0), gzip.compress(bytes(51), mtime=0))


def test_finish_gives_the_rest_of_the_body() -> None:
    body = BodyReader("", 10, began=0.0)
    assert take(body, b"tiny") == b""
    assert (body.finish(), body.received, body.is_plain) == (b"tiny", 4, True)
    broken = BodyReader("", 1000, began=0.0)
    take(broken, gzip.compress(b"something", mtime=0)[:-5])
    with pytest.raises(BadBody, match="sent a body that breaks off in the middle of its gzip encoding"):
        broken.finish()
