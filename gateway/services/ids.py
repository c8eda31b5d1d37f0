"""Ids that order as their moments do: a prefix and a ULID."""

import os
from datetime import datetime

from gateway.domain.ids import RANDOM_BYTES, ulid


def new_id(prefix: str, now: datetime) -> str:
    """Such as `gen_01JDKQ…`: 48 bits of milliseconds, 80 random bits, 26 characters behind the prefix."""
    return prefix + ulid(now, os.urandom(RANDOM_BYTES))
