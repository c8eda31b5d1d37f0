"""How ids are written: a ULID orders as the moments do."""

from datetime import datetime

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
RANDOM_BYTES = 10


def ulid(now: datetime, random: bytes) -> str:
    """48 bits of milliseconds and `RANDOM_BYTES` of the caller's, in 26 characters."""
    value = int(now.timestamp() * 1000) << 80 | int.from_bytes(random)
    return "".join(_ALPHABET[value >> shift & 31] for shift in range(125, -1, -5))
