"""What the gateway asks of a store. Every method is durable when it returns; a generation belongs to one API key."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Literal, Protocol

from msgspec import Struct

from gateway.domain.adapter.upstream_answer import UpstreamAnswer
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
from gateway.store.artifacts import Results
from gateway.store.files import Library
from gateway.store.files import StoredFile as StoredFile  # noqa: PLC0414  # a part of what a create stores
from gateway.store.purchases import Purchases
from gateway.store.task_claims import Callbacks
from gateway.store.uploads import Uploads
from gateway.store.webhooks import Webhooks

KEY_LIFE = timedelta(hours=24)  # of an idempotency key, and for as long as its generation is open
# How long after a request the retry of a client library counts as the same request. These libraries wait 10 minutes for
# an answer by default, and retry twice: the second retry comes more than 20 minutes after the request it repeats.
RETRY_LIFE = timedelta(minutes=30)


class Idempotency(Struct, frozen=True, kw_only=True):
    """What a repeat of a request is known by."""

    digest: bytes  # of what was asked: equal for equal requests
    key: str | None = None  # the client's idempotency key
    retry: bool = False  # it says of itself that it repeats a request; counts only without a key


class Query(Struct, frozen=True, kw_only=True):
    """A page of a key's own generations, newest first unless `order` is `asc`; ids order as creation times do."""

    key: str
    kind: Literal["video", "image"]
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


_CURSOR = re.compile(r"gen_[0-9A-HJKMNP-TV-Z]{26}")


def is_cursor(text: str) -> bool:
    """Whether this can be the id of a generation, though it may be gone by now: who deletes while paging goes on."""
    return _CURSOR.fullmatch(text) is not None


class AttemptCursor(Struct, frozen=True):
    """A place among all attempts: they order as their generations were created."""

    generation_id: str
    attempt_id: str


_ATTEMPT = re.compile(r"att_([0-9A-HJKMNP-TV-Z]{26})_[1-9][0-9]{0,5}")


def attempt_cursor(attempt_id: str) -> AttemptCursor | None:
    """The place of an attempt, which its id tells also when it is gone; `None` for what is no such id."""
    found = _ATTEMPT.fullmatch(attempt_id)
    return None if found is None else AttemptCursor(f"gen_{found[1]}", attempt_id)


class Page(Struct, frozen=True):
    """Generations in the order asked for, and whether more follow."""

    data: tuple[Generation, ...]
    has_more: bool


class Event(Struct, frozen=True, kw_only=True):
    """A transition, as it was appended."""

    seq: int
    generation_id: str
    type: str
    data: Mapping[str, object]
    at: datetime


def check_moves(writes: Sequence[Write]) -> None:
    """`IllegalMove` for a move that no table has, and for one to `submitting`: only `begin_submit` makes that."""
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
    """The ledger. Raises `StoreUnavailable` when it cannot take writes; nothing is then half-written."""

    results: Results
    callbacks: Callbacks
    library: Library
    uploads: Uploads
    purchases: Purchases
    webhooks: Webhooks

    async def create(
        self,
        generation: Generation,
        files: Sequence[StoredFile] = (),
        idempotency: Idempotency | None = None,
        named: Sequence[str] = (),
    ) -> Generation:
        """Insert a generation with the files that came with it; what `recall` finds is returned instead.

        `named` are the files it uses that are there already: `InvalidImage` when one of them no longer is.
        """
        ...

    async def recall(self, key: str, idempotency: Idempotency, now: datetime) -> Generation | None:
        """The generation that a repeated request has made already: the one of its key, or the newest a retry can mean.

        `IdempotencyKeyReused` when the key came with another digest, `GenerationDeleted` when it is there no more.
        """
        ...

    async def get(self, generation_id: str, key: str | None = None) -> Generation | None:
        """One generation; with `key`, only when it owns it."""
        ...

    def newest_moment(self) -> datetime | None:
        """The newest moment that the ledger has seen; `None` while it is empty. A clock must not go on before it."""
        ...

    def keep_time(self, now: datetime) -> None:
        """Note the present moment beside the ledger, at once: the next start compares the system clock with it."""
        ...

    def secret(self, name: str) -> bytes:
        """32 random bytes of this name, the same at every start."""
        ...

    async def page(self, query: Query) -> Page:
        """A page of a list; a cursor that is no id gives an empty one."""
        ...

    async def delete(self, generation_id: str, key: str, now: datetime) -> bool:
        """Remove an ended generation with all that belongs to it; False when there is no such or it is open.

        What its attempts may have cost is kept, in the same transaction, as `purchases`.

        What came inline and no other generation uses goes along; repeats of its request are still known.
        """
        ...

    async def open_ids(self, now: datetime) -> list[str]:
        """Every generation that wants a driver, oldest first.

        It is not at its end, or a submit or task of it is not, or one that was given up is still to be read.
        """
        ...

    async def unfollowed(self, providers: Sequence[str]) -> list[tuple[str, str]]:
        """Each open generation that has a task at another provider than these: that provider, and its id."""
        ...

    async def completions(self, newest: int) -> list[Completion]:
        """The attempts among the newest generations that brought their results, in the order of their ends."""
        ...

    async def unknown_attempts(
        self, limit: int, after: AttemptCursor | None = None, *, open_only: bool = False
    ) -> list[tuple[Generation, str]]:
        """The attempts that are `unknown`, oldest first, each id with its generation.

        With `open_only` those of generations that are not at their end.
        """
        ...

    async def events(self, generation_id: str, after: int = 0) -> list[Event]:
        """The transitions of a generation, in order, behind `after`."""
        ...

    async def files(self, ids: Sequence[str], key: str) -> dict[str, StoredFile]:
        """Those of the files that exist and belong to the key."""
        ...

    async def named_blobs(self, digests: Sequence[str]) -> set[str]:
        """Those of the SHA-256 that a file of any key has."""
        ...

    async def forget(self, now: datetime, limit: int) -> int:
        """Remove what repeats are known by and is past its life, at most `limit` rows of a kind; how many there were.

        A key whose generation is open stays.
        """
        ...

    async def take_over(self, generation_id: str, lease_until: datetime) -> Generation | None:
        """Raise the fence of a generation that wants a driver: every older holder's writes are refused from now on."""
        ...

    async def begin_submit(self, attempt_id: str, fence: int, now: datetime) -> int | None:
        """`reserved` → `submitting`, once in an attempt's life and by the holder of the fence alone.

        The only way to a submit. Returns the generation's new version; `None`: do not send.
        """
        ...

    async def accept(
        self, attempt_id: str, tasks: Sequence[Task], now: datetime, upstream: UpstreamAnswer | None = None
    ) -> int | None:
        """`submitting` or `unknown` → `accepted`, from any holder: knowledge of a paid task is never refused.

        Tasks that callbacks alone have named come after them. An attempt that a callback has accepted before gets those
        that it does not have yet. Returns the generation's version, `None` when there is no such attempt or it was
        never sent.
        """
        ...

    async def write(self, generation: Generation, writes: Sequence[Write], now: datetime) -> int | None:
        """Carry out the writes in one transaction, if fence and version are still those of `generation`.

        The end of the generation adds the deliveries that tell of it. Returns the new version; `None` when somebody
        else changed it: nothing was written, read it again. That is so, too, where a submit was to end without a task
        and callbacks had told of one: the attempt is accepted, and has it.
        `IllegalMove`, with nothing written either, when a write is not one that the ledger allows.
        """
        ...

    async def ping(self) -> None:
        """Raise `StoreUnavailable` when a write would fail."""
        ...

    async def close(self) -> None:
        """Finish the writes that wait, then let go of the database."""
        ...
