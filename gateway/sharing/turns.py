"""Lets much work that becomes due at once run in small portions, so that the event loop stays free for others."""

import asyncio
from collections import deque

PORTION = 4  # pieces of work in one round of the event loop: each takes up to half a millisecond

Wait = asyncio.Future[None]


class Turns:
    """A queue. Each round of the event loop lets `PORTION` of the waiting pieces go on, the oldest first.

    Without it, all work that became due while the loop was busy is done before anything else is read. The more of it
    there is, the longer the loop is busy, so that still more is due in the next round: a health check, which needs
    several rounds, then waits for hundreds of polls.
    """

    def __init__(self, portion: int = PORTION) -> None:
        self._portion = portion
        self._left = portion  # of this round
        self._waiting: deque[Wait] = deque()
        self._is_scheduled = False

    async def next(self) -> None:
        """Wait until this piece of work may go on: at once while the portion of this round is not used up."""
        if self._may_go_on():
            return
        turn: Wait = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        await turn

    def end(self, wait: Wait) -> None:
        """End a wait when its turn comes, as `next` does. One that has ended otherwise by then uses no turn."""
        if self._may_go_on():
            wait.set_result(None)
        else:
            self._waiting.append(wait)

    def _may_go_on(self) -> bool:
        """Whether a piece of work that comes now may go on in this round. If so, it is counted."""
        if not self._is_scheduled:
            self._is_scheduled = True
            asyncio.get_running_loop().call_soon(self._new_round)
        if self._left == 0 or self._waiting:
            return False
        self._left -= 1
        return True

    def _new_round(self) -> None:
        left = self._portion
        while self._waiting and left > 0:
            turn = self._waiting.popleft()
            if not turn.done():  # its task was cancelled, or something else ended the wait
                turn.set_result(None)
                left -= 1
        self._left = left
        self._is_scheduled = left < self._portion or bool(self._waiting)
        if self._is_scheduled:
            asyncio.get_running_loop().call_soon(self._new_round)
