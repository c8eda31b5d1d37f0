"""Ids that sort by their time: a prefix and a ULID."""

import os
from datetime import datetime


def new_id(prefix: str, now: datetime) -> str:
    """Such as `gen_01JDKQ…`: 48 bits of milliseconds, 80 random bits, 26 characters behind the prefix."""
    return prefix + ulid(now, os.urandom(RANDOM_BYTES))


_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
RANDOM_BYTES = 10


def ulid(now: datetime, random: bytes) -> str:
    """48 bits of milliseconds and `RANDOM_BYTES` of the caller's, in 26 characters."""
    value = int(now.timestamp() * 1000) << 80 | int.from_bytes(random)
    return "".join(_ALPHABET[value >> shift & 31] for shift in range(125, -1, -5))
