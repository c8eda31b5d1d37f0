"""Prints a gateway's readiness, each time over a new connection, until the port is closed: `… probe HOST PORT`.

A separate process, as a load balancer is one: the load of the clients in the main process does not slow it down.
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
    """Print the status of a call on each line."""
    status = -1
    while status:
        status = read(host, port)
        sys.stdout.write(f"{status}\n")
        sys.stdout.flush()
        time.sleep(PAUSE_SECONDS)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
