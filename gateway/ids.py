"""Ids that sort by their time: a prefix and a ULID."""

import os
from datetime import datetime

RANDOM_BYTES = 10
_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's base 32


def new_id(prefix: str, now: datetime) -> str:
    """A new id such as `gen_01JDKQ…`: the prefix, then 26 characters for 48 bits of milliseconds and 80 random bits."""
    return prefix + ulid(now, os.urandom(RANDOM_BYTES))


def ulid(now: datetime, random: bytes) -> str:
    """The ULID of a moment: 48 bits of milliseconds and `RANDOM_BYTES` random bytes, in 26 characters."""
    value = int(now.timestamp() * 1000) << 80 | int.from_bytes(random)
    return "".join(_ALPHABET[value >> shift & 31] for shift in range(125, -1, -5))
