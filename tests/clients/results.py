"""The recorded results of the client packages, and the tables that `docs/clients.md` makes of them."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from .clients import CLIENTS, Result
from .differences import DIFFERENCES, NOT_SPOKEN, reason_of
from .replay import CAPTURES, load

RECORDED = Path(__file__).parent / "results.json"
PAGE = Path(__file__).parents[2] / "docs" / "clients.md"
BEGIN, END = "<!-- made by `make clients` -->\n", "<!-- end of what `make clients` made -->\n"
# Captures of clients that cannot be installed here: a replay of their requests is what the page reports.
REPLAYED = ("ai-sdk-klingai", "kling-python", "klingai-api-python")


def recorded() -> list[Result]:
    """The results of the last `make clients`."""
    return msgspec.json.decode(RECORDED.read_bytes(), type=list[Result])


def record(results: Iterable[Result]) -> None:
    """Store the results of the clients that were run, keep those of the others, and write the tables again."""
    new = list(results)
    ran = {result.client for result in new}
    old = [result for result in recorded() if result.client not in ran]
    results = [result for client in CLIENTS for result in (*old, *new) if result.client == client.name]
    RECORDED.write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=1) + b"\n")
    before, _, rest = PAGE.read_text().partition(BEGIN)
    PAGE.write_text(before + BEGIN + tables(results) + END + rest.partition(END)[2])


def tables(results: list[Result]) -> str:
    """The tables of the page, in Markdown."""
    return "\n".join(_lines(results)) + "\n"


def _lines(results: list[Result]) -> Iterator[str]:
    yield from ("| client | calls | that work |", "|---|---|---|")
    for client in CLIENTS:
        own = [result.ok for result in results if result.client == client.name]
        yield f"| {_cell(client.name)} | {len(own)} | {sum(own)} |"
    for client in CLIENTS:
        yield from ("", f"### {client.name}", "", f"Changed: {client.pointed_by}, the key, the names of models.", "")
        yield from ("| call | result |", "|---|---|")
        for result in results:
            if result.client == client.name:
                yield f"| {_cell(result.call)} | {_outcome(result)} |"
    yield from ("", "### Clients whose requests are replayed", "")
    yield from (
        "These packages cannot be installed from the usual registries, or need what a test cannot have. A test",
    )
    yield from ("sends the requests that were recorded from them, and compares the answers.", "")
    yield from ("| client | call | result |", "|---|---|---|")
    for name in REPLAYED:
        capture = load(name)
        for call in dict.fromkeys(exchange.call for exchange in capture.exchanges):
            yield f"| {_cell(capture.client)} | {_cell(call)} | {_cell(_replayed(name, call))} |"
    yield from ("", "### Clients of protocols that are not spoken", "", "| client | reason |", "|---|---|")
    for name, reason in NOT_SPOKEN.items():
        yield f"| {_cell(load(name).client)} | {_cell(reason)} |"
    yield ""


def _replayed(name: str, call: str) -> str:
    """What a replay of a call gives, as `test_replays.py` proves it."""
    reasons = [reason for line, reason in DIFFERENCES.get(name, {}).items() if line.startswith(f"{call}: ")]
    return f"differs: {' '.join(dict.fromkeys(reasons))}" if reasons else "works"


def _outcome(result: Result) -> str:
    return "works" if result.ok else _cell(f"differs: {reason_of(result) or result.why}")


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")


def captures() -> list[str]:
    """The names of all captures."""
    return sorted(path.stem for path in CAPTURES.glob("*.json"))
