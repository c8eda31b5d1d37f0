"""Resolves host names with the system's resolver, on threads of its own: slow name servers delay only other names."""

import asyncio
import socket
import threading
from concurrent.futures import Future
from queue import SimpleQueue

RESOLVERS = 16  # threads; a name whose servers do not answer occupies one for a while


class Resolvers:
    """Resolves up to `RESOLVERS` names at the same time.

    These are daemon threads. The threads of an executor would delay the exit of the process.
    """

    def __init__(self) -> None:
        self._queue: SimpleQueue[tuple[str, int, Future[list[str]]] | None] = SimpleQueue()
        self._threads = 0

    async def resolve(self, host: str, port: int) -> list[str]:
        """The addresses of a name. Raises `OSError` when it has no address. A cancelled call is not resolved."""
        answer: Future[list[str]] = Future()
        self._queue.put((host, port, answer))
        if self._threads < RESOLVERS:
            self._threads += 1
            threading.Thread(target=self._work, name=f"resolver-{self._threads}", daemon=True).start()
        return await asyncio.wrap_future(answer)

    def close(self) -> None:
        """Let each thread end after the name that it is resolving."""
        for _ in range(self._threads):
            self._queue.put(None)

    def _work(self) -> None:
        while (call := self._queue.get()) is not None:
            host, port, answer = call
            if not answer.set_running_or_notify_cancel():
                continue
            try:
                answer.set_result(_getaddrinfo(host, port))
            except Exception as error:  # noqa: BLE001  # it is raised where `resolve` was called
                answer.set_exception(error)


def _getaddrinfo(host: str, port: int) -> list[str]:
    return [str(address[0]) for *_, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
