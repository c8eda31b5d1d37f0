"""How `list`, `get`, `providers` and `deliveries` show what they have read, in lines for 80 columns."""

import textwrap
from collections.abc import Iterator
from datetime import UTC, datetime

from msgspec import Struct

from gateway.commands.client import Attempt, Output, Problem

WIDTH = 80
_CLOSED = "closed"


class SpentEntry(Struct, frozen=True):
    """What a generation cost."""

    cost_usd: float | None = None
    maybe_usd: float | None = None


class EventEntry(Struct, frozen=True):
    """An entry of the event log."""

    type: str
    at: int


class AttemptEntry(Attempt, frozen=True):
    """A submit with its cost."""

    cost_usd: float | None = None


class WarningEntry(Struct, frozen=True):
    """A warning of a generation."""

    param: str
    message: str | None = None


class GenerationEntry(Struct, frozen=True):
    """A generation as far as it is shown; what only operators read may be missing."""

    id: str
    status: str
    model: str
    created_at: int
    provider: str | None = None
    provider_model: str | None = None
    client: str | None = None
    error: Problem | None = None
    usage: SpentEntry = SpentEntry()
    attempts: tuple[AttemptEntry, ...] = ()
    data: tuple[Output, ...] = ()
    warnings: tuple[WarningEntry, ...] = ()
    deadline_at: int | None = None
    completed_at: int | None = None
    next_try_at: int | None = None
    events: tuple[EventEntry, ...] = ()
    deliveries: tuple[str, ...] = ()


class CircuitEntry(Struct, frozen=True):
    """A circuit of an account or of a model."""

    state: str
    since: int | None = None
    reason: str | None = None
    next_probe_at: int | None = None


class TimesEntry(Struct, frozen=True):
    """How long a model took recently."""

    samples: int
    median: float
    p90: float


class ModelEntry(Struct, frozen=True):
    """A model of a provider."""

    name: str
    circuit: CircuitEntry
    completion_seconds: TimesEntry | None = None


class CallsEntry(Struct, frozen=True):
    """Calls at the same time."""

    limit: int
    in_use: int
    waiting: int


class HoldEntry(Struct, frozen=True):
    """Why a provider is held."""

    since: int
    by: str | None = None
    note: str | None = None


class ProviderEntry(Struct, frozen=True):
    """An account."""

    id: str
    enabled: bool
    followed: bool
    circuit: CircuitEntry
    held: HoldEntry | None = None
    models: tuple[ModelEntry, ...] = ()
    submits: CallsEntry | None = None
    polls: CallsEntry | None = None
    unknown_status_words: tuple[str, ...] = ()


class TryEntry(Struct, frozen=True):
    """One POST to a receiver."""

    at: int
    status: int | None = None
    error: str | None = None


class DeliveryEntry(Struct, frozen=True):
    """A delivery of a webhook."""

    id: str
    type: str
    state: str
    created_at: int
    url: str
    endpoint: str | None = None
    generation: str | None = None
    client: str | None = None
    next_try_at: int | None = None
    tries: tuple[TryEntry, ...] = ()


def generation_lines(entry: GenerationEntry) -> Iterator[str]:
    """A generation in a list: its id first, then what it is."""
    yield f"{entry.id}  {entry.status:11}  {time_of(entry.created_at)}"
    route = f" by {entry.provider}/{entry.provider_model}" if entry.provider else ""
    attempts = f"{len(entry.attempts)} attempts" if len(entry.attempts) > 1 else ""
    client = f"client {entry.client}" if entry.client else ""
    yield from _indented("; ".join(filter(None, [entry.model + route, client, attempts, _money(entry.usage)])))
    if entry.error is not None:
        yield from _indented(f"{entry.error.code}: {entry.error.message}")


def generation_details(entry: GenerationEntry) -> Iterator[str]:
    """Everything of one generation that a person looks for."""
    yield from generation_lines(entry)
    if entry.completed_at is not None:
        yield f"  ended {time_of(entry.completed_at)}"
    elif entry.deadline_at is not None:
        again = f", next try {time_of(entry.next_try_at)}" if entry.next_try_at is not None else ""
        yield f"  deadline {time_of(entry.deadline_at)}{again}"
    for warning in entry.warnings:
        yield from _indented(f"warning `{warning.param}`: {warning.message or 'differs from the request'}")
    for attempt in entry.attempts:
        cost = f", {attempt.cost_usd:g} USD" if attempt.cost_usd is not None else ""
        yield from _indented(f"{attempt.summary().rstrip(': ')}{cost}")
    for output in entry.data:
        yield from _indented(f"output {output.index} {output.status}" + (f": {output.url}" if output.url else ""))
    for event in entry.events:
        yield f"  {time_of(event.at)} {event.type}"
    for delivery in entry.deliveries:
        yield f"  delivery {delivery}"


def provider_lines(entry: ProviderEntry) -> Iterator[str]:
    """An account: its state on one line, then what is not as usual, then how fast its models are."""
    state = "held" if entry.held else "enabled" if entry.enabled else "disabled"
    calls = [
        f"{name} {calls.in_use}/{calls.limit}" + (f" and {calls.waiting} waiting" if calls.waiting else "")
        for name, calls in (("submits", entry.submits), ("polls", entry.polls))
        if calls is not None
    ]
    yield f"{entry.id}  " + ", ".join([state, *calls, *([] if entry.followed else ["without a key"])])
    if entry.held is not None:
        by = f" by {entry.held.by}" if entry.held.by else ""
        note = f": {entry.held.note}" if entry.held.note else ""
        yield from _indented(f"held since {time_of(entry.held.since)}{by}{note}")
    if entry.circuit.state != _CLOSED:
        yield from _indented(f"the account: {_circuit(entry.circuit)}")
    for model in entry.models:
        if model.circuit.state != _CLOSED:
            yield from _indented(f"{model.name}: {_circuit(model.circuit)}")
        times = model.completion_seconds
        if times is not None:
            figures = f"{times.median:.0f} s, 90 % within {times.p90:.0f} s, of {times.samples} results"
            yield from _indented(f"{model.name}: half are done within {figures}")
    if entry.unknown_status_words:
        yield from _indented(f"unknown status words: {', '.join(entry.unknown_status_words)}")


def delivery_lines(entry: DeliveryEntry) -> Iterator[str]:
    """A delivery: its id first, then what it is about, then its newest try."""
    yield f"{entry.id}  {entry.state:9}  {time_of(entry.created_at)}"
    about = f" of {entry.generation}" if entry.generation else ""
    yield from _indented(entry.type + about)
    client = f" of client {entry.client}" if entry.client else ""
    yield from _indented(f"to {entry.url}{client}")
    if entry.tries:
        newest = entry.tries[-1]
        result = f"HTTP {newest.status}" if newest.status is not None else newest.error or "no answer"
        yield from _indented(f"try {len(entry.tries)} at {time_of(newest.at)}: {result}")
    if entry.next_try_at is not None:
        yield f"  next try {time_of(entry.next_try_at)}"


def time_of(at: int) -> str:
    """A moment for people, in UTC."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%SZ}"


def _circuit(circuit: CircuitEntry) -> str:
    words = [f"circuit {circuit.state.replace('_', ' ')}"]
    if circuit.since is not None:
        words.append(f"since {time_of(circuit.since)}")
    if circuit.reason is not None:
        words.append(f"because of {circuit.reason}")
    text = " ".join(words)
    return text if circuit.next_probe_at is None else f"{text}; next probe {time_of(circuit.next_probe_at)}"


def _money(usage: SpentEntry) -> str:
    if usage.cost_usd is None:
        return ""
    maybe = f", {usage.maybe_usd:g} of them not certain" if usage.maybe_usd else ""
    return f"{usage.cost_usd:g} USD{maybe}"


def _indented(text: str) -> list[str]:
    """The text below its first line. A word that is longer than a line, such as a URL, stays whole."""
    return textwrap.wrap(
        text, WIDTH, initial_indent="  ", subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
    )
