"""Lets much work that becomes due at once run in small portions, so that the event loop stays free for others."""

import asyncio
from collections import deque

PORTION = 4  # pieces of work in one round of the event loop: each takes up to a millisecond


class Turns:
    """A queue. Each round of the event loop lets `PORTION` of the waiting pieces go on, the oldest first.

    Without it, all replies that arrive while the loop is busy are handled before anything else is read. The more of
    them there are, the longer the loop is busy, and a health check has to wait for hundreds of polls.
    """

    def __init__(self, portion: int = PORTION) -> None:
        self._portion = portion
        self._left = portion  # of this round
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._is_scheduled = False

    async def next(self) -> None:
        """Wait until this piece of work may go on: at once while the portion of this round is not used up."""
        if not self._is_scheduled:
            self._is_scheduled = True
            asyncio.get_running_loop().call_soon(self._new_round)
        if self._left > 0 and not self._waiting:
            self._left -= 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        await turn

    def _new_round(self) -> None:
        left = self._portion
        while self._waiting and left > 0:
            turn = self._waiting.popleft()
            if not turn.done():  # its task was cancelled
                turn.set_result(None)
                left -= 1
        self._left = left
        self._is_scheduled = left < self._portion or bool(self._waiting)
        if self._is_scheduled:
            asyncio.get_running_loop().call_soon(self._new_round)
