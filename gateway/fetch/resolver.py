"""The system's resolver, on threads of its own: a name that nobody answers for delays names, and nothing else."""

import asyncio
import socket
import threading
from concurrent.futures import Future
from queue import SimpleQueue

RESOLVERS = 16  # threads; a name whose servers say nothing holds one for a while


class Resolvers:
    """Up to so many names at once; unlike the threads of an executor, these do not keep the process from its exit."""

    def __init__(self) -> None:
        self._asked: SimpleQueue[tuple[str, int, Future[list[str]]] | None] = SimpleQueue()
        self._threads = 0

    async def resolve(self, host: str, port: int) -> list[str]:
        """The addresses of a name; `OSError` where there are none. Who no longer waits is not asked for."""
        answer: Future[list[str]] = Future()
        self._asked.put((host, port, answer))
        if self._threads < RESOLVERS:
            self._threads += 1
            threading.Thread(target=self._work, name=f"resolver-{self._threads}", daemon=True).start()
        return await asyncio.wrap_future(answer)

    def close(self) -> None:
        """Let the threads end, each after the name it is at."""
        for _ in range(self._threads):
            self._asked.put(None)

    def _work(self) -> None:
        while (one := self._asked.get()) is not None:
            host, port, answer = one
            if not answer.set_running_or_notify_cancel():
                continue
            try:
                answer.set_result(_getaddrinfo(host, port))
            except Exception as error:  # noqa: BLE001  # whoever asked is to know
                answer.set_exception(error)


def _getaddrinfo(host: str, port: int) -> list[str]:
    return [str(address[0]) for *_, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
