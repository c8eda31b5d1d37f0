"""The limits for the body of a file that a stranger sends: its size, its pieces, its speed and its encoding.

No clock is read here: the caller gives the time, in seconds of a monotonic clock.
"""

from collections.abc import Iterator

from gateway.domain.adapter.content_encoding import BodyDecoder, DecodedTooLarge, UndecodableBody

IDLE_SECONDS = 30.0  # a transfer ends when no byte has arrived for this long
# A slow transfer that keeps moving is not cut, with two exceptions. Without them a server that sends a byte now and
# then could occupy a download for days. 1 KB a second is a tenth of a slow telephone line.
SLOW_AFTER_SECONDS, SLOW_BYTES = 600.0, 1024  # after this time the average must be at least this many bytes a second
TOTAL_SECONDS = 6 * 3600.0
# Receiving a piece of a few bytes costs a thousand times more than sending it.
CRUMB_BYTES, CRUMBS_MAX = 256, 1000  # after this many pieces their average size must be at least this


class BadBody(Exception):
    """The body is not accepted. The text is safe to show to clients and continues after the name of the host."""


class FileBodyTooLarge(BadBody):
    """The body is over the limit of bytes."""


class BodyReader:
    """Checks and decodes one body while it arrives. `max_bytes` limits both the received and the decoded bytes."""

    def __init__(self, encodings: str, max_bytes: int, began: float) -> None:
        self._max_bytes = max_bytes
        self._decoder = BodyDecoder(encodings, max_bytes)
        self._began = began
        self._pieces = 0
        self.received = 0  # bytes, before decoding

    @property
    def is_plain(self) -> bool | None:
        """True if the body needs no decoding; `None` until its first bytes have shown whether it does."""
        return self._decoder.is_plain

    def take(self, data: bytes, now: float) -> Iterator[bytes]:
        """The decoded content of this piece, in pieces of a bounded size. Raises `BadBody`."""
        self._pieces += 1
        self.received += len(data)
        if self.received > self._max_bytes:
            raise self._too_large()
        if self._pieces > CRUMBS_MAX and self.received < self._pieces * CRUMB_BYTES:
            raise BadBody("sent its body in pieces that are too small")
        seconds = now - self._began
        if seconds > TOTAL_SECONDS:
            raise BadBody(f"took more than {TOTAL_SECONDS / 3600:.0f} hours to send its body")
        if seconds > SLOW_AFTER_SECONDS and self.received < seconds * SLOW_BYTES:
            raise BadBody(f"was too slow: it sent less than {SLOW_BYTES:,} bytes a second")
        return self._decoded(self._decoder.pieces(data))

    def finish(self) -> bytes:
        """The rest of the decoded content. Raises `BadBody` when the encoded body is incomplete."""
        return b"".join(self._decoded(self._finished()))

    def check_length(self, declared: int | None) -> None:
        """Raise `FileBodyTooLarge` when the declared length, in bytes, is over the limit."""
        if declared is not None and declared > self._max_bytes:
            raise self._too_large()

    def _finished(self) -> Iterator[bytes]:
        yield self._decoder.finish()

    def _decoded(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        try:
            yield from pieces
        except DecodedTooLarge as error:
            raise FileBodyTooLarge(f"sent a body that {error}") from error
        except UndecodableBody as error:
            raise BadBody(f"sent a body that {error}") from error

    def _too_large(self) -> FileBodyTooLarge:
        return FileBodyTooLarge(f"sent more than the {self._max_bytes:,} bytes that are accepted")
