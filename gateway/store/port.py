"""The protocol of the ledger, and the values that its methods take and return.

A method that writes returns after the change is on the disk. A generation belongs to one API key; a method that takes a
`key` acts on generations of that key only. Files, uploads, webhooks, archived files, purchases, clients and task claims
have protocols of their own beside this one.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Literal, Protocol

from msgspec import Struct

from gateway.domain.adapter.failure import FailureKind
from gateway.domain.adapter.request import InputKind, Kind
from gateway.domain.adapter.upstream_answer import UpstreamAnswer
from gateway.domain.clients import CreateLimits
from gateway.domain.generation.model import AttemptState, Generation, Task
from gateway.domain.generation.transitions import (
    ATTEMPT_MOVES,
    STATUS_MOVES,
    AddAttempt,
    IllegalMove,
    SaveAttempt,
    SaveStatus,
    Write,
)
from gateway.domain.health.route_health import Completion
from gateway.domain.money.budgets import Budget
from gateway.store.artifacts import ArchivedFiles
from gateway.store.clients import ClientRows
from gateway.store.files import FileLimits, Library
from gateway.store.files import StoredFile as StoredFile  # noqa: PLC0414  # a part of what a create stores
from gateway.store.holds import Holds
from gateway.store.lineage import LedgerLineage
from gateway.store.money import Money
from gateway.store.purchases import Purchases
from gateway.store.replicas import Replicas
from gateway.store.request_rates import RequestRates
from gateway.store.retention import Retention
from gateway.store.signals import Signals
from gateway.store.start import Start
from gateway.store.task_claims import TaskClaims
from gateway.store.uploads import Uploads
from gateway.store.usage import Usage
from gateway.store.webhooks import WebhookRows

KEY_LIFE = timedelta(hours=24)  # how long an idempotency key is stored; longer while its generation is open
# How long after a request the retry of a client library counts as the same request. By default the OpenAI library waits
# 10 minutes for an answer and retries twice, so the second retry comes more than 20 minutes after the first request.
RETRY_LIFE = timedelta(minutes=30)


class Idempotency(Struct, frozen=True, kw_only=True):
    """What identifies a request, so that its repeat is recognised."""

    digest: bytes  # of the request: equal for equal requests
    key: str | None = None  # the client's idempotency key
    also: str | None = None  # a second key of the same request, which counts in the same way
    others: tuple[bytes, ...] = ()  # digests that equal requests had before their owner was adopted
    retry: bool = False  # the client library marked the request as a retry; ignored if there is a key

    @property
    def keys(self) -> tuple[str, ...]:
        """Every key of the request."""
        return tuple(key for key in (self.key, self.also) if key is not None)


class SubmitPlace(Struct, frozen=True):
    """Where a submit needs a place, and how many there are. A process that has the ledger for itself counts its own."""

    provider: str
    places: int  # as configured


class Permission(StrEnum):
    """What the ledger says to a submit that is about to be sent. All but `GRANTED` forbid it."""

    GRANTED = "granted"
    HELD = "held"  # nothing was changed: an operator holds the provider
    FULL = "full"  # nothing was changed: as many submits are in flight as the provider takes; it may be asked for again
    OVERTAKEN = "overtaken"  # nothing was changed: the attempt is not reserved, or its driver is not the current one
    # The attempt is `submitting`, but the marker beside the ledger cannot be written. Nothing may be sent, and the
    # caller ends the attempt as `not_sent`. Until the marker works, further submits raise `StoreUnavailable`.
    UNMARKED = "unmarked"

    def without_marker(self) -> "Permission":
        """The same answer if the marker could not be written."""
        return Permission.UNMARKED if self is Permission.GRANTED else self


FILTERS_MAX = 16  # in one query


class Query(Struct, frozen=True, kw_only=True):
    """Which page of generations is wanted; the order of ids is the order of creation.

    `created_after` and `created_before` exclude the moment itself. They count in milliseconds and compare
    the moment in the id. `metadata` and `inputs` need a key and a kind.
    """

    key: str | None  # the owner whose generations are wanted; None: those of all owners, for operators
    kind: Kind | None  # None: of both kinds
    limit: int
    order: Literal["asc", "desc"] = "desc"
    after: str | None = None
    before: str | None = None
    status: str | None = None
    model: str | None = None
    provider: str | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    metadata: Mapping[str, str] = {}
    inputs: tuple[InputKind, ...] = ()  # the kinds of input that count; empty: all
    failures: tuple[FailureKind, ...] = ()  # the kinds of failure that count; empty: also without a failure
    fell_back: bool = False  # True: only those with attempts on more than one route
    maybe_billed: bool = False  # True: only those with an attempt that may have been billed
    offset: int = 0  # how many to pass over, after the cursor if there is one


_CURSOR = re.compile(r"gen_[0-9A-HJKMNP-TV-Z]{26}")


def is_cursor(text: str) -> bool:
    """Whether the text has the form of a generation's id. The generation may have been deleted since the last page."""
    return _CURSOR.fullmatch(text) is not None


class AttemptCursor(Struct, frozen=True):
    """A place in the list of all attempts, whose order is that of their generations' creation."""

    generation_id: str
    attempt_id: str


_ATTEMPT = re.compile(r"att_([0-9A-HJKMNP-TV-Z]{26})_[1-9][0-9]{0,5}")


def attempt_cursor(attempt_id: str) -> AttemptCursor | None:
    """The place of an attempt in the list, also of a deleted one; None if the text is not the id of an attempt."""
    match = _ATTEMPT.fullmatch(attempt_id)
    return None if match is None else AttemptCursor(f"gen_{match[1]}", attempt_id)


class Page(Struct, frozen=True):
    """Generations in the order of the query, and whether more follow."""

    data: tuple[Generation, ...]
    has_more: bool


class Event(Struct, frozen=True, kw_only=True):
    """One entry of the event log of a generation."""

    seq: int  # grows over all generations, and no number is given twice
    generation_id: str
    type: str
    data: Mapping[str, object]
    at: datetime


def check_moves(writes: Sequence[Write]) -> None:
    """Raise `IllegalMove` if a write moves an attempt or a generation to a state that the tables do not allow.

    A move to `submitting` is never allowed here: only `Store.begin_submit` makes it.
    """
    for write in writes:
        match write:
            case AddAttempt(attempt=attempt):
                legal = attempt.state is AttemptState.RESERVED
            case SaveAttempt(attempt=attempt, was=was) if attempt.state is not was:
                legal = attempt.state in ATTEMPT_MOVES[was] and attempt.state is not AttemptState.SUBMITTING
            case SaveStatus(was=before, status=status) if status not in STATUS_MOVES[before]:
                raise IllegalMove(f"the ledger refuses {before} → {status}")
            case _:
                continue
        if not legal:
            raise IllegalMove(f"{attempt.id}: the ledger refuses {attempt.state}")


class Store(Protocol):
    """The ledger. Every method may raise `StoreUnavailable`; a write that raised it is never stored in part."""

    archived_files: ArchivedFiles
    task_claims: TaskClaims
    library: Library
    uploads: Uploads
    purchases: Purchases
    holds: Holds
    usage: Usage
    retention: Retention
    money: Money
    webhooks: WebhookRows
    lineage: LedgerLineage
    clients: ClientRows
    signals: Signals
    replicas: Replicas | None  # None: only one process at a time works on the ledger
    request_rates: RequestRates | None  # the same
    at_start: Start

    async def create(
        self,
        generation: Generation,
        files: Sequence[StoredFile] = (),
        idempotency: Idempotency | None = None,
        named: Sequence[str] = (),
        limits: FileLimits | None = None,
        *,
        client_limits: CreateLimits | None = None,
        budgets: Sequence[Budget] = (),
        open_max: int | None = None,
    ) -> Generation:
        """Insert a generation with the files that came with it, or return the one that `recall` would return.

        `named` are ids of files that it uses and that exist already. Raises `InvalidImage` if one of them was deleted
        or has expired, `FileLimitReached` if the owner would then have more in files than `limits` allow, and what
        `recall` raises. A new generation that is over one of the `client_limits` raises `OpenGenerationsReached` or
        `OutputsPerDayReached`. The same transaction reserves the most that the generation can cost, and raises
        `BudgetExceeded` if one of the `budgets` has less than that left. Where several processes work on the ledger,
        `Overloaded` is raised if they have `open_max` open generations together, or too many of this owner. Nothing is
        written then.
        """
        ...

    async def recall(self, key: str, idempotency: Idempotency, now: datetime) -> Generation | None:
        """The generation that an earlier, equal request of the API key `key` made; None if this is the first one.

        A request with an idempotency key repeats the one with the same key; a marked retry without a key repeats the
        newest equal request of the last `RETRY_LIFE`. Raises `IdempotencyKeyReused` if the key came with another
        digest, and `GenerationDeleted` if the generation was deleted.
        """
        ...

    async def equal_ones(self, key: str, digest: bytes, now: datetime) -> list[Generation]:
        """The generations that equal requests of an API key made within the last `RETRY_LIFE`, the oldest first."""
        ...

    async def get(self, generation_id: str, key: str | None = None) -> Generation | None:
        """One generation, or None if it does not exist; with `key`, only a generation that this API key owns."""
        ...

    async def revision(self, generation_id: str) -> tuple[int, int] | None:
        """The fence and the version of a generation, or None if it does not exist."""
        ...

    def keep_time(self, now: datetime) -> None:
        """Note the current time for the next start, also while nothing else is written. A failure is ignored."""
        ...

    async def page(self, query: Query) -> Page:
        """One page of a list; it is empty if a cursor does not have the form of an id.

        With several filters that seldom match together, a page may have fewer generations than the limit although more
        follow. Raises `SearchTooLong` if it would be empty for that reason, or takes too long, and `Overloaded`.
        """
        ...

    async def delete(self, generation_id: str, key: str, now: datetime) -> bool:
        """Delete an ended generation with everything that belongs to it.

        False if it does not exist, is open, or has a submit under way, whose cost is not known yet. Inline files that
        no other generation uses are deleted too. The same transaction stores what the attempts may have cost as
        `purchases`. A repeat of the deleted request is still recognised.
        """
        ...

    async def open_ids(self, now: datetime) -> list[str]:
        """The ids of the generations that need a driver, oldest first.

        Such a generation is open, or has a submit or a task that has not ended, or an abandoned task that is still
        polled, or a file without a copy here.
        """
        ...

    async def unfollowed(self, providers: Sequence[str]) -> list[tuple[str, str]]:
        """The open generations with a task at a provider that is not among these: pairs of provider and id."""
        ...

    async def completions(self, newest: int) -> list[Completion]:
        """The completed attempts of the `newest` generations, in the order in which they ended."""
        ...

    async def unknown_attempts(
        self, limit: int, after: AttemptCursor | None = None, *, open_only: bool = False
    ) -> list[tuple[Generation, str]]:
        """The attempts in the state `unknown`, oldest first: each generation with the id of the attempt.

        With `open_only`, only the attempts of open generations.
        """
        ...

    async def events(self, generation_id: str, after: int = 0, limit: int | None = None) -> list[Event]:
        """The events of a generation with a `seq` greater than `after`, in their order; at most `limit`."""
        ...

    async def files(self, ids: Sequence[str], key: str) -> dict[str, StoredFile]:
        """The files of these ids that exist and belong to the key, by id."""
        ...

    async def named_blobs(self, digests: Sequence[str]) -> set[str]:
        """Those of the SHA-256 digests that a file of any key still uses."""
        ...

    async def forget(self, now: datetime, limit: int) -> int:
        """Delete idempotency keys and digests that are past their life, at most `limit` of each; returns how many.

        The key of an open generation stays.
        """
        ...

    async def take_over(self, ids: Sequence[str], lease_until: datetime) -> list[Generation]:
        """Raise the fence of those generations that need a driver, so that writes with an older fence are refused.

        They are returned as they are stored after that, in any order. One that does not exist or needs no driver is
        left out.
        """
        ...

    async def begin_submit(
        self, attempt_id: str, fence: int, now: datetime, place: SubmitPlace | None = None
    ) -> Permission:
        """Move an attempt from `reserved` to `submitting`. `GRANTED` is the only permission to send a submit.

        `place` says how many submits may be in flight at its provider, from all processes on the ledger together.

        It is given once in the life of an attempt, and only with the current fence. Every other answer means that the
        submit must not be sent.
        """
        ...

    async def accept(
        self, attempt_id: str, tasks: Sequence[Task], now: datetime, upstream: UpstreamAnswer | None = None
    ) -> int | None:
        """Store the tasks that the reply to a submit names: `submitting` or `unknown` → `accepted`.

        It needs no fence, because the id of a task that was paid for must never be lost. Tasks that were reported by
        callbacks come after them. An attempt that is accepted already, because a callback was faster, gets the tasks
        that it does not have yet. Returns the version of the generation; None if the attempt does not exist or
        was never sent.
        """
        ...

    async def accept_expected(self, before: Generation, writes: Sequence[Write], now: datetime) -> int | None:
        """Do what `accept` does, in the usual case: the stored generation is `before`, and nobody has reported a task.

        The first of `writes` moves one attempt from `submitting` to `accepted`. Returns the new version; None means
        that nothing was written, because the case is another one.
        """
        ...

    async def write(self, generation: Generation, writes: Sequence[Write], now: datetime) -> int | None:
        """Carry out the writes in one transaction, if fence and version are still those of `generation`.

        A write that ends the generation adds its webhook deliveries. Returns the new version. None means that nothing
        of this was written, because the stored generation has changed: read it again. One such change is made here: if
        a write says that a submit ended without a task, and callbacks have reported one, the attempt gets that task
        instead. Raises `IllegalMove`, with nothing written, if the ledger does not allow a write.
        """
        ...

    async def held_after_restore(self) -> int:
        """How many open generations wait for an operator, because the ledger was restored."""
        ...

    async def restored_page(self, limit: int, after: str | None = None) -> list[Generation]:
        """At most `limit` of these generations with an id after `after`, the oldest first."""
        ...

    @property
    def waiting_writes(self) -> int:
        """How many writes wait for the next transaction."""
        ...

    def log_bytes(self) -> int:
        """Bytes that were committed and are not in the database file yet. This may wait for the disk."""
        ...

    async def ping(self) -> None:
        """Raise `StoreUnavailable` if the ledger does not work.

        One that is a file is tried with a write that changes nothing. One on a server is read, as a write would make
        the other processes wait; whether it takes writes is shown by the heartbeats of this process.
        """
        ...

    async def close(self) -> None:
        """Finish the writes that wait, then close the database."""
        ...
