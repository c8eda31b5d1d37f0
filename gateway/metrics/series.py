"""The metrics that count events: their names, labels and buckets.

Names follow https://prometheus.io/docs/practices/naming: base units, `_total` for what only grows. A generation takes
minutes, so there are two scales of buckets: one for answers, one for generations.
"""

from collections.abc import Iterable, Sequence
from typing import Generic, TypeVar

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics

PREFIX = "video_gateway"
ANSWERS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)  # seconds
GENERATIONS = (1.0, 5.0, 10.0, 20.0, 30.0, 45.0, 60.0, 90.0, 120.0, 180.0, 300.0, 450.0, 600.0, 900.0, 1200.0, 1800.0)
LONGEST = (3600.0, 7200.0, 21_600.0, 86_400.0)  # a deadline is at most a day
DELIVERY_LAG = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 300.0, 1800.0, 7200.0, 18_000.0, 36_000.0, 86_400.0)
DISK = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
LAG = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
BATCH = (1, 2, 4, 8, 16, 32, 64)

disable_created_metrics()  # type: ignore[no-untyped-call]  # they would double the series, and nobody reads them
T = TypeVar("T", Counter, Histogram)


class Children(dict[tuple[str, ...], T], Generic[T]):
    """The series of one metric by the values of its labels. A look-up costs a tenth of the library's own."""

    def __init__(self, metric: T) -> None:
        super().__init__()
        self._metric: T = metric

    def __missing__(self, values: tuple[str, ...]) -> T:
        child: T = self._metric.labels(*values) if values else self._metric
        self[values] = child
        return child


class Series:
    """Every metric that counts events."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str, labels: Sequence[str] = ()) -> Children[Counter]:
            return Children(Counter(f"{PREFIX}_{name}", text, labels, registry=registry))

        def histogram(
            name: str, text: str, buckets: Sequence[float], labels: Sequence[str] = ()
        ) -> Children[Histogram]:
            return Children(Histogram(f"{PREFIX}_{name}", text, labels, registry=registry, buckets=buckets))

        route = ("provider", "model")
        # --- HTTP ---
        self.requests = counter(
            "http_requests_total",
            "Requests by the template of their path. `code` is the code of the error; status 499: the client left.",
            ("method", "path", "status", "code"),
        )
        self.request_seconds = histogram(
            "http_request_duration_seconds",
            "From the head of a request to the end of its answer, also while a client waits or a file is sent.",
            ANSWERS,
            ("method", "path"),
        )
        self.response_bytes = counter(
            "http_response_bytes_total", "Bytes of the bodies of answers, files included.", ("path",)
        )
        # --- generations ---
        self.creates = counter(
            "creates_total",
            "Creates that could be read. `outcome` is created, repeated, or the code of the error.",
            ("model", "outcome"),
        )
        self.ended = counter(
            "generations_ended_total",
            "Generations that ended. `kind` is that of the failure.",
            ("model", "provider", "status", "kind"),
        )
        self.ended_seconds = histogram(
            "generation_duration_seconds",
            "From the create to the end of a generation.",
            [*GENERATIONS, *LONGEST],
            ("provider", "status"),
        )
        self.accept_seconds = histogram(
            "generation_accept_seconds",
            "From the create until a provider accepted a submit, other providers before it included.",
            [*GENERATIONS, *LONGEST],
            ("provider",),
        )
        # --- attempts ---
        self.submits = counter(
            "submits_total",
            "Submits by outcome: accepted, or the kind of failure. `ambiguous` may have been paid for.",
            (*route, "outcome"),
        )
        self.submit_seconds = histogram(
            "submit_duration_seconds", "How long a submit waited for its answer.", ANSWERS, ("provider",)
        )
        self.attempts = counter(
            "attempts_ended_total",
            "Attempts that ended, by state and kind of failure. An abandoned one may end once more.",
            (*route, "state", "kind"),
        )
        self.completed_seconds = histogram(
            "attempt_completed_seconds",
            "From the reservation of an attempt to its result.",
            [*GENERATIONS, *LONGEST],
            route,
        )
        self.fallbacks = counter(
            "fallbacks_total",
            "Attempts on another route than before, by that route and the failure of the earlier attempt.",
            (*route, "kind"),
        )
        self.retries = counter(
            "retries_total",
            "Attempts on the same route as before, by the failure of the earlier attempt.",
            (*route, "kind"),
        )
        self.cost = counter(
            "cost_usd_total",
            "By configured prices: what ended attempts cost, or with billed=maybe may have cost.",
            (*route, "billed"),
        )
        # --- tasks and results ---
        self.polls = counter(
            "polls_total",
            "Polls of tasks, and calls for their file. `lost`: the provider does not know the task.",
            ("provider", "call", "outcome"),
        )
        self.poll_seconds = histogram(
            "poll_duration_seconds", "How long a poll waited for its answer.", ANSWERS, ("provider",)
        )
        self.unknown_words = counter(
            "unknown_statuses_total", "Words for a status that no table has, each counted once.", ("provider",)
        )
        self.archived = counter(
            "archived_files_total", "Tries to copy a result. `failed` is tried again.", ("provider", "outcome")
        )
        self.archived_bytes = counter("archived_bytes_total", "Bytes of results that were copied.", ("provider",))
        self.archive_seconds = histogram(
            "archive_duration_seconds", "How long one try to copy a result took.", ANSWERS, ("provider",)
        )
        self.thumbnails_dropped = counter(
            "thumbnails_dropped_total", "Results without a thumbnail, because too many newer ones waited."
        )
        self.circuits_opened = counter(
            "circuits_opened_total", "How often a circuit opened, by the kind of failure.", ("provider", "kind")
        )
        # --- webhooks ---
        self.deliveries = counter(
            "delivery_tries_total",
            "Webhooks sent: succeeded, pending (tried again later), dead (given up), or deleted meanwhile.",
            ("outcome",),
        )
        self.delivery_seconds = histogram(
            "delivery_duration_seconds", "How long a receiver took to answer a webhook.", ANSWERS
        )
        self.told_seconds = histogram(
            "delivery_lag_seconds", "From the end of a generation to the receiver's confirmation.", DELIVERY_LAG
        )
        # --- the machine ---
        self.store_batches = counter("store_transactions_total", "Transactions of the ledger.", ("outcome",))
        self.store_jobs = histogram("store_batch_writes", "Writes that share a transaction of the ledger.", BATCH)
        self.store_commit = histogram(
            "store_commit_seconds", "From the first statement of a transaction to the end of its commit.", DISK
        )
        self.store_wait = histogram(
            "store_write_seconds", "How long the oldest write of each transaction waited for its result.", DISK
        )
        self.loop_lag = histogram(
            "event_loop_lag_seconds", "How late the event loop calls a timer; measured four times a second.", LAG
        )

    def begin(self, routes: Iterable[tuple[str, str]]) -> None:
        """Start at 0 what alerts look at: the increase of a count that begins with 1 cannot be seen."""
        for route in routes:
            self.submits[*route, "accepted"].inc(0)
            self.attempts[*route, "unknown", "ambiguous"].inc(0)
            _ = self.unknown_words[route[0],]
        for outcome in ("succeeded", "pending", "dead"):
            self.deliveries[outcome,].inc(0)
        for outcome in ("committed", "failed"):
            self.store_batches[outcome,].inc(0)
