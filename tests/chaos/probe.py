"""Reads a gateway's readiness, over a new connection each time, until nobody answers: `… probe HOST PORT`.

A process of its own, as the balancer in front of a gateway is one: what loads the clients here does not slow it down.
"""

import sys
import time
from http.client import HTTPConnection, RemoteDisconnected

TIMEOUT_SECONDS = 2.0
PAUSE_SECONDS = 0.01


def read(host: str, port: int) -> int:
    """The status of one call; 0 without an answer."""
    connection = HTTPConnection(host, port, timeout=TIMEOUT_SECONDS)
    try:
        connection.request("GET", "/health/ready", headers={"connection": "close"})
        return connection.getresponse().status
    except (ConnectionError, TimeoutError, RemoteDisconnected):
        return 0
    finally:
        connection.close()


def main(host: str, port: int) -> None:
    """A line a call."""
    status = -1
    while status:
        status = read(host, port)
        sys.stdout.write(f"{status}\n")
        sys.stdout.flush()
        time.sleep(PAUSE_SECONDS)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
