"""Counts the bytes that the bodies of all open requests take together, in a room that clients share."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

from litestar.types import ReceiveMessage, Scope

from gateway.api.web.client import client_of
from gateway.sharing.room import Place, Room

FREE_BYTES = 16 * 1024  # of every body, not counted: small requests are read however many large ones there are
_BODY = "body"  # key in the state of a request


def bodies_room(limit: int) -> Room:
    """The room of all bodies; `limit` is in bytes."""
    return Room(limit, "Too many large bodies are being read.")


class HeldBody:
    """The body of one request. Its bytes count until the request is over, because it holds them in some form."""

    def __init__(self, scope: Scope, room: Room) -> None:
        self._scope = scope
        self._room = room
        self._place = Place("", None)
        self._size = 0
        scope["state"][_BODY] = self

    async def next_message(self, receive: Callable[[], Awaitable[ReceiveMessage]]) -> ReceiveMessage:
        """The next message of the body.

        Raises `Overloaded` if there is no room for it, or another client needs the room before the body is complete.
        """
        if self._place.size == 0:
            message = await receive()
        else:
            try:
                async with asyncio.timeout(None) as until_lost:
                    self._place.when_lost = partial(until_lost.reschedule, 0)
                    message = await receive()
            except TimeoutError as error:
                if not self._place.is_lost:
                    raise
                raise self._room.full() from error
            finally:
                self._place.when_lost = _nothing
        if message["type"] == "http.request":
            self._grow(len(message.get("body", b"")))
            # What is complete is handled: it may be paid for already, so it does not lose its place any more.
            self._place.when_lost = _nothing if message.get("more_body", False) else None
        return message

    def release(self) -> None:
        """Stop counting the bytes: nothing of the request holds them any more."""
        self._room.leave(self._place)

    def _grow(self, by: int) -> None:
        self._place.client = client_of(self._scope)  # noted before the first byte of a body is read
        counted = max(0, self._size + by - FREE_BYTES) - max(0, self._size - FREE_BYTES)
        self._size += by
        self._room.grow(self._place, counted)


def release_body(scope: Scope) -> None:
    """Stop counting the body of a request that goes on, and that has let go of the body."""
    body: HeldBody | None = scope["state"].get(_BODY)
    if body is not None:
        body.release()


def _nothing() -> None:
    """The next read of the body sees that the place is lost."""
