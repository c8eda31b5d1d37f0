"""The rules for the body of a file that somebody else sends: how large, in which pieces, how slowly, how encoded.

No clock is read here: the caller says what time it is, in seconds of any clock that only goes forward.
"""

from collections.abc import Iterator

from gateway.domain.adapter.content_encoding import BodyDecoder, DecodedTooLarge, UndecodableBody

IDLE_SECONDS = 30.0  # without a byte: then a transfer is cut
# No limit on the whole time cuts a transfer that keeps moving, except these two. They stop a sender of a byte now and
# then, who would hold a place among the downloads for days. 1 KB a second is a tenth of a slow telephone line.
SLOW_AFTER_SECONDS, SLOW_BYTES = 600.0, 1024  # from this time on, the average a second must be at least this
TOTAL_SECONDS = 6 * 3600.0
# Pieces of a few bytes cost their receiver a thousand times what they cost their sender.
CRUMB_BYTES, CRUMBS_MAX = 256, 1000  # the average of a piece; how many pieces are taken before that is asked for


class BadBody(Exception):
    """The body is not taken; the text is safe to show and follows the name of its sender."""


class BodyTooLarge(BadBody):
    """The body has more bytes than are taken."""


class BodyReader:
    """Checks and decodes one body while it arrives. `max_bytes` are taken, and as many may be unpacked from them."""

    def __init__(self, encodings: str, max_bytes: int, began: float) -> None:
        self._max_bytes = max_bytes
        self._decoder = BodyDecoder(encodings, max_bytes)
        self._began = began
        self._pieces = 0
        self.received = 0  # bytes, as they were sent

    @property
    def is_plain(self) -> bool | None:
        """Whether the body is handed over as it was sent; `None` until its first bytes have shown it."""
        return self._decoder.is_plain

    def take(self, data: bytes, now: float) -> Iterator[bytes]:
        """What this piece of the body holds, in pieces of a bounded size. Raises `BadBody`."""
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
        """What was held back. Raises `BadBody` where the encoded body is not whole."""
        return b"".join(self._decoded(self._finished()))

    def check_length(self, declared: int | None) -> None:
        """Raise `BodyTooLarge` where more is announced than is taken."""
        if declared is not None and declared > self._max_bytes:
            raise self._too_large()

    def _finished(self) -> Iterator[bytes]:
        yield self._decoder.finish()

    def _decoded(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        try:
            yield from pieces
        except DecodedTooLarge as error:
            raise BodyTooLarge(f"sent a body that {error}") from error
        except UndecodableBody as error:
            raise BadBody(f"sent a body that {error}") from error

    def _too_large(self) -> BodyTooLarge:
        return BodyTooLarge(f"sent more than the {self._max_bytes:,} bytes that are taken")
