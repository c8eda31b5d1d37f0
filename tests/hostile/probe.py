"""Asks `/health/live` over and over, as a load balancer does, each time over a new connection.

A process of its own, because the attackers keep theirs busy: `python probe.py HOST PORT`. It ends when its standard
input ends. It prints an empty line after the first answer, and a JSON list at the end: the seconds of each answer,
negative if it was not a 200.
"""

import json
import select
import socket
import sys
import time

PAUSE_SECONDS = 0.02
SILENCE_SECONDS = 10.0
LIVE = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


def ask(host: str, port: int) -> float:
    """Seconds until the whole answer was there; negative if it was not a 200."""
    began = time.monotonic()
    answer = b""
    try:
        with socket.create_connection((host, port), timeout=SILENCE_SECONDS) as connection:
            connection.sendall(LIVE)
            while chunk := connection.recv(65536):
                answer += chunk
    except OSError:
        answer = b""
    seconds = time.monotonic() - began
    return seconds if answer.startswith(b"HTTP/1.1 200 ") else -seconds


def main() -> None:
    """Ask until the standard input ends."""
    answers = [ask(sys.argv[1], int(sys.argv[2]))]
    print(flush=True)  # noqa: T201  # for the parent, which waits for it
    while not select.select([sys.stdin], [], [], PAUSE_SECONDS)[0]:
        answers.append(ask(sys.argv[1], int(sys.argv[2])))
    json.dump(answers, sys.stdout)


if __name__ == "__main__":
    main()
