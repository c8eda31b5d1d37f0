"""Ids that order as their moments do: a prefix and a ULID."""

import os
from datetime import datetime

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def new_id(prefix: str, now: datetime) -> str:
    """Such as `gen_01JDKQ…`: 48 bits of milliseconds, 80 random bits, 26 characters behind the prefix."""
    value = int(now.timestamp() * 1000) << 80 | int.from_bytes(os.urandom(10))
    return prefix + "".join(_ALPHABET[value >> shift & 31] for shift in range(125, -1, -5))
