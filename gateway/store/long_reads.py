"""How clients share the places of long reads, in any database: a few at a time, in turns, with limits."""

import asyncio

from gateway.domain.errors import Overloaded, SearchTooLong
from gateway.sharing.limiter import FairQueue

PLACES = 2  # reads at the same time
WAITING_MAX = 32  # reads of one client that may wait
WAITING_IN_ALL = 512  # reads of all clients that may wait
WAIT_SECONDS = 10.0  # how long a read waits for a place
READ_SECONDS = 2.0  # after this time a read is stopped; with the indexes in memory none takes a tenth of it


class ReadPlaces:
    """Places for reads. A client has at most one: the others of its reads wait, and so leave places to other clients.

    It serves one event loop.
    """

    def __init__(self) -> None:
        self._queue = FairQueue(PLACES, share=1)
        self._idle: asyncio.Future[None] | None = None  # what `pause` waits for

    @property
    def waiting(self) -> int:
        """How many reads wait for a place."""
        return self._queue.waiting

    async def take(self, client: str) -> None:
        """Wait for a place, which `leave` gives back.

        Raises `Overloaded` if too many reads wait, or if this one has waited for `WAIT_SECONDS`.
        """
        if self._queue.waiting_of(client) >= WAITING_MAX or self.waiting >= WAITING_IN_ALL:
            raise Overloaded(
                "Too many of your searches are waiting; send fewer at the same time.", retry_after=WAIT_SECONDS / 2
            )
        slot = self._queue.request(client)
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await slot
        except TimeoutError:
            self._queue.withdraw(client, slot)
            raise Overloaded(
                f"The search has waited for {WAIT_SECONDS:g} seconds while others ran.", retry_after=WAIT_SECONDS
            ) from None
        except asyncio.CancelledError:
            self._queue.withdraw(client, slot)
            raise

    def leave(self, client: str) -> None:
        """Give a place to the next read."""
        self._queue.leave(client)
        if self._idle is not None and not self._queue.active:
            self._idle.set_result(None)
            self._idle = None

    async def pause(self) -> None:
        """Let no read begin, and wait until those under way have ended. Reads that come now wait for `resume`."""
        self._queue.resize(0)
        if self._queue.active:
            self._idle = asyncio.get_running_loop().create_future()
            await self._idle

    def resume(self) -> None:
        """End a pause."""
        self._queue.resize(PLACES)


def too_long() -> SearchTooLong:
    """The error of a read that was stopped."""
    return SearchTooLong(
        f"The search was stopped after {READ_SECONDS:g} seconds. Narrow it, for example with `created_after`, or send"
        " it again later.",
        retry_after=1,
    )
