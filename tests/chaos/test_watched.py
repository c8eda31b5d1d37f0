"""The comparison of streams of events with the ledger."""

from typing import Any

from ..cases import every
from .watched import examine_watched

EVENTS = [
    ("gen_1", 1, "generation.queued"),
    ("gen_2", 2, "generation.queued"),
    ("gen_1", 3, "attempt.reserved"),
    ("gen_1", 4, "generation.in_progress"),
    ("gen_1", 5, "output.completed"),
    ("gen_1", 6, "generation.completed"),
    ("gen_1", 7, "output.completed"),  # a late result
]


@every(
    "generation, numbers, words",
    [
        ("gen_1", (1, 4, 5, 6), []),
        ("gen_1", (1, 4, 5, 6, 7), []),
        ("gen_1", (1, 4, 6), ["a client saw"]),
        ("gen_1", (1, 4, 5), ["the stream of gen_1 ended"]),
        ("gen_1", (1, 4, 4, 5, 6), ["a client saw"]),
        ("gen_1", (1, 5, 4, 6), ["a client saw"]),
        ("gen_1", (1, 2, 4, 5, 6), ["a client saw"]),
        ("gen_2", (2,), ["the stream of gen_2 ended"]),
        ("gen_3", (1,), ["a client saw"]),
    ],
    ids=[
        "complete",
        "late",
        "gap",
        "no end",
        "twice",
        "order",
        "of another generation",
        "ended too early",
        "not in the ledger",
    ],
)
def test_a_stream_has_every_public_event_once_and_in_order(
    generation: str, numbers: tuple[int, ...], words: list[str]
) -> None:
    line: dict[str, Any] = {"generation": generation, "events": [[number, "some.name"] for number in numbers]}

    violations = list(examine_watched([line], EVENTS))

    assert len(violations) == len(words)
    assert all(word in violation for word, violation in zip(words, violations, strict=True))
