"""Says for each call of a client script whether it worked, as lines of JSON on standard output.

The scripts run in an environment of their own, so this file imports nothing of the gateway.
"""

import json
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

URL = os.environ["CLIENT_URL"]
KEY = os.environ["CLIENT_KEY"]
HOOK = os.environ["CLIENT_HOOK"]
IMAGE = Path(os.environ["CLIENT_IMAGE"])
PATIENCE = 20.0  # seconds for work of the sandbox, which takes less than one


@contextmanager
def call(name: str) -> Iterator[None]:
    """Run one call; it works if the block ends without an exception."""
    try:
        yield
    except Exception as error:  # noqa: BLE001  # whatever the package raises is the finding
        print(json.dumps({"call": name, "ok": False, "why": why(error)}), flush=True)
    else:
        print(json.dumps({"call": name, "ok": True, "why": ""}), flush=True)


def why(error: BaseException) -> str:
    """The message of an error without what differs from run to run."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    text = re.sub(r"http://127\.0\.0\.1:\d+", "", text)
    text = re.sub(r"req_\w+", "req_…", text)
    text = re.sub(r"\b1\d{9}\b", "…", text)  # Unix seconds
    return re.sub(r"\b(gen|video|xai|or|task|file|we)_[0-9A-Za-z]{16,}", r"\1_…", text)[:400]


def until(reads: Callable[[], Any], ended: Callable[[Any], bool]) -> Any:
    """Read again and again until the work has ended."""
    deadline = time.monotonic() + PATIENCE
    while not ended(result := reads()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not ended after {PATIENCE} seconds: {result}")
        time.sleep(0.1)
    return result


def webhooks() -> list[dict[str, Any]]:
    """The webhooks that arrived: `{"headers": …, "body": text}`."""
    return [json.loads(line) for line in Path(os.environ["CLIENT_HOOK_FILE"]).read_text().splitlines()]
