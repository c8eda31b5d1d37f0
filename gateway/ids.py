"""Ids that sort by their time: a prefix and a ULID."""

import os
from datetime import UTC, datetime

RANDOM_BYTES = 10
ULID_MAX = (1 << 130) - 1
_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's base 32
# From characters of ids to the digits of `int`; every other character becomes `?`, which `int` refuses.
_DIGITS = bytes(
    ord("0123456789abcdefghijklmnopqrstuv"[_ALPHABET.index(chr(code))]) if chr(code) in _ALPHABET else ord("?")
    for code in range(256)
)


def new_id(prefix: str, now: datetime) -> str:
    """A new id such as `gen_01JDKQ…`: the prefix, then 26 characters for 48 bits of milliseconds and 80 random bits."""
    return prefix + ulid(now, os.urandom(RANDOM_BYTES))


def ulid(now: datetime, random: bytes) -> str:
    """The ULID of a moment: 48 bits of milliseconds and `RANDOM_BYTES` random bytes, in 26 characters."""
    return text_of(int(now.timestamp() * 1000) << 80 | int.from_bytes(random))


def text_of(number: int) -> str:
    """The 26 characters of a number from 0 to `ULID_MAX`."""
    return "".join(_ALPHABET[number >> shift & 31] for shift in range(125, -1, -5))


def number_of(text: str) -> int:
    """The number of which `text_of` makes this text. Raises `ValueError` for another text."""
    return int(text.encode("ascii", "replace").translate(_DIGITS), 32)


def moment_of(identifier: str) -> datetime:
    """The moment of an id such as `gen_01JDKQ…`, in milliseconds. It stays, also if the stored moment is mended."""
    return datetime.fromtimestamp((number_of(identifier[-26:]) >> 80) / 1000, UTC)
