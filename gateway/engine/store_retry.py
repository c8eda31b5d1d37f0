"""What has to wait for the store: a driver holds on to what it knows until it is durable."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from gateway.clock import Clock, sleep
from gateway.domain.errors import StoreUnavailable

log = structlog.get_logger()
STORE_RETRY_SECONDS = 1.0
T = TypeVar("T")


async def patiently(clock: Clock, call: Callable[[], Awaitable[T]], **about: str) -> T:
    """The call's result, however long the store takes to be there again; `about` tells the log of whom."""
    while True:
        try:
            return await call()
        except StoreUnavailable as error:
            log.warning("store_unavailable", error=error.reason or error.detail, **about)
            await sleep(clock, STORE_RETRY_SECONDS)
