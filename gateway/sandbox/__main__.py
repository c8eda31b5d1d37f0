"""`python -m gateway.sandbox --port 9000`."""

import argparse
from pathlib import Path

import msgspec

from gateway.sandbox.server import serve

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m gateway.sandbox", description="Keevx, Kling relay and FoxAPI.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9000)
    parser.add_argument("--journal", type=Path, help="append submits, tasks, polls and callbacks to this file")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=JSON", help="a field of the settings")
    given = parser.parse_args()
    settings = {name: msgspec.json.decode(value) for name, _, value in (item.partition("=") for item in given.set)}
    serve(given.host, given.port, journal=given.journal, **settings)
