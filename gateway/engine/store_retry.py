"""Repeats a call of the store until the store works: a driver must not lose what it knows because a disk is full."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from gateway.clock import Clock, sleep
from gateway.domain.errors import StoreUnavailable

log = structlog.get_logger()
STORE_RETRY_SECONDS = 1.0
T = TypeVar("T")


async def until_store_works(clock: Clock, call: Callable[[], Awaitable[T]], **log_fields: str) -> T:
    """The result of `call`, which is repeated every second while it raises `StoreUnavailable`.

    `log_fields` name the generation or the attempt in the log line of each failure.
    """
    while True:
        try:
            return await call()
        except StoreUnavailable as error:
            log.warning("store_unavailable", error=error.reason or error.detail, **log_fields)
            await sleep(clock, STORE_RETRY_SECONDS)
