"""Moments in wire structures. Nothing here imports a web framework, so that commands which use views start fast."""

from datetime import datetime
from typing import overload

LATEST_MOMENT = 253402300799  # Unix seconds of the end of the year 9999, the last that a datetime can hold


@overload
def unix(moment: datetime) -> int: ...
@overload
def unix(moment: datetime | None) -> int | None: ...
def unix(moment: datetime | None) -> int | None:
    """A moment in whole Unix seconds, as every wire structure has it; None without one."""
    return None if moment is None else int(moment.timestamp())
