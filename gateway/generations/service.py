"""Creates, reads, lists, cancels and deletes generations."""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from datetime import timedelta
from weakref import WeakValueDictionary

import structlog
from msgspec import Struct
from msgspec.structs import replace

from gateway import log_context
from gateway.clock import Clock, wait
from gateway.domain.adapter.request import Kind
from gateway.domain.adapter.task import Status
from gateway.domain.clients import CreateLimits
from gateway.domain.errors import Conflict, GatewayError, IdempotencyKeyInUse, NotFound, StoreUnavailable
from gateway.domain.generation.lifecycle import cancel
from gateway.domain.generation.model import Generation, GenerationRequest, Output, Plan
from gateway.domain.money.budgets import Budget, BudgetsOf, states
from gateway.domain.trace_context import TraceContext
from gateway.failpoints import reach
from gateway.generations.catalog import Catalog
from gateway.generations.drivers import Drivers, FirstAttempts
from gateway.generations.kind import of_kind
from gateway.generations.notifier import Notifier
from gateway.generations.planner import Planner, Quote, named_files
from gateway.generations.poll_advice import PollAdvisor
from gateway.generations.repeats import Because, InlineFile, because_of, digest_of, digests_before
from gateway.ids import new_id
from gateway.inputs.blobs import Blobs
from gateway.inputs.library import FileLibrary
from gateway.sharing.room import Place
from gateway.store.clients import AdoptedBy
from gateway.store.port import UNSEEN, Event, Idempotency, Page, Query, Sender, Store, StoredFile
from gateway.telemetry import (
    CreateRefused,
    GenerationCancelled,
    GenerationCreated,
    GenerationDeleted,
    GenerationRepeated,
    Observer,
)

log = structlog.get_logger()
INLINE_LIFE = timedelta(hours=1)  # of an image that came within a create; longer while an open generation uses it


class Created(Struct, frozen=True):
    """The generation that answers a create."""

    generation: Generation
    because: Because | None  # an earlier request made it, which this one repeats; None: this one has made it

    @property
    def replayed(self) -> bool:
        """Whether an earlier request made it."""
        return self.because is not None


class Generations:
    """The generations of one API key at a time. A generation of another key is treated as if it did not exist."""

    def __init__(
        self,
        *,
        store: Store,
        planner: Planner,
        blobs: Blobs,
        files: FileLibrary,
        drivers: Drivers,
        first_attempts: FirstAttempts,
        notifier: Notifier,
        clock: Clock,
        poll_advisor: PollAdvisor,
        observer: Observer,
        on_delete: Callable[[], None],
        budgets_of: BudgetsOf,
        limits_of: Callable[[str], CreateLimits | None],
        adopted_by: AdoptedBy,
    ) -> None:
        """`budgets_of`, `limits_of` and `adopted_by` take an owner id.

        `on_delete` is called after a generation was deleted, so that its files are removed soon.
        """
        self._store = store
        self._planner = planner
        self._blobs = blobs
        self._files = files
        self._drivers = drivers
        self._first_attempts = first_attempts
        self._notifier = notifier
        self._clock = clock
        self._poll_advisor = poll_advisor
        self._observer = observer
        self._on_delete = on_delete
        self._budgets_of = budgets_of
        self._limits_of = limits_of
        self._adopted_by = adopted_by
        # How many creates are under way, by API key and digest, and by API key and idempotency key.
        self._under_way: dict[tuple[str, str | bytes], int] = {}
        self._turns: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()

    async def create(
        self,
        request: GenerationRequest,
        *,
        key: str,
        catalog: Catalog,
        files: Mapping[str, InlineFile] | None = None,
        idempotency_key: str | None = None,
        also_key: str | None = None,
        retry: bool = False,
        waits: bool = False,
        sender: Sender = UNSEEN,
        trace: TraceContext | None = None,
    ) -> Created:
        """Create a generation. It is durable when this returns, and its driver starts at once.

        `catalog` is that of the configuration by which the request was read.

        A request with the idempotency key of an earlier one gets the generation of that one; `also_key` is a second
        key. So does a request without a key that the client's library marks as a retry (`retry`), if an equal one came
        shortly before. A call without a key that `waits` for the result gets the generation of an equal one that has
        ended without a result; `end_call` has to be awaited after it.
        `sender` is what is seen of the client, and `trace` is the client's span, which webhooks pass on.
        Raises `IdempotencyKeyInUse` while the earlier request is under way, and what planning and the store raise.
        """
        digest, came = digest_of(request), self._clock.now()
        waits = waits and idempotency_key is None
        others: tuple[bytes, ...] = ()
        if idempotency_key is not None or retry or waits:
            others = await digests_before(request, files or {}, self._adopted_by(key), came)
        idempotency = Idempotency(
            digest=digest,
            others=others,
            key=idempotency_key,
            also=also_key,
            retry=retry,
            waits=waits,
            sender=replace(sender, age=lambda: self._clock.now() - came),
        )
        marks: list[tuple[str, str | bytes]] = [(key, digest)]
        if idempotency_key is not None:
            marks.append((key, idempotency_key))
        if (idempotency_key is not None or retry) and marks[-1] in self._under_way:
            raise IdempotencyKeyInUse("The request that this one repeats is still being handled.", retry_after=1)
        for mark in marks:
            self._under_way[mark] = self._under_way.get(mark, 0) + 1
        try:
            created = await self._create(request, key, catalog, files or {}, idempotency, trace=trace)
        except GatewayError as error:
            self._observer.observe(CreateRefused(model=request.model, code=error.code))
            raise
        else:
            log_context.add(generation=created.generation.id)
            if created.replayed:
                self._observer.observe(GenerationRepeated(generation=created.generation.id, model=request.model))
            return created
        finally:
            for mark in marks:
                left = self._under_way.pop(mark) - 1
                if left:
                    self._under_way[mark] = left

    async def end_call(self, generation: Generation, request: GenerationRequest, *, answered: bool) -> None:
        """Note that a call which waited without a key has ended. If it was not `answered`, an equal one is its repeat.

        The answer does not wait until the store works again: such a repeat may buy once more.
        """
        try:
            await self._store.end_call(generation, digest_of(request), self._clock.now(), answered=answered)
        except StoreUnavailable as error:
            log.warning("call_end_not_stored", generation=generation.id, answered=answered, error=str(error))

    def turn(self, key: str, name: str) -> AbstractAsyncContextManager[None]:
        """Let the creates of one API key under one name wait for each other, so that a later one finds the earlier."""
        lock = self._turns.get((key, name))
        if lock is None:
            lock = self._turns[key, name] = asyncio.Lock()
        return lock

    async def _create(
        self,
        request: GenerationRequest,
        key: str,
        catalog: Catalog,
        files: Mapping[str, InlineFile],
        idempotency: Idempotency,
        *,
        trace: TraceContext | None,
    ) -> Created:
        now = self._clock.now()
        is_repeat = idempotency.key is not None or idempotency.retry  # unless it is the first request after all
        if is_repeat or idempotency.waits:  # an earlier answer counts, even if its model is gone
            earlier = await self._store.recall(key, idempotency, now)
            if earlier is not None:
                return Created(earlier, because_of(idempotency, Because.NO_RESULT))
        with self._drivers.admit(key):
            generation_id = new_id("gen_", now)
            images = {name: file.facts for name, file in files.items()}
            budgets = self._budgets_of(key)
            model, routes = await self._planner.routes(
                request, catalog, key=key, images=images, seed=generation_id, budgets=budgets
            )
            await self._files.check_inline(key, (len(file.content) for file in files.values()))
            digests = await asyncio.gather(*(self._blobs.put(file.content, key) for file in files.values()))
            expires_at = now + INLINE_LIFE
            stored = [
                StoredFile(
                    id=name, key=key, sha256=digest, facts=files[name].facts, created_at=now, expires_at=expires_at
                )
                for name, digest in zip(files, digests, strict=True)
            ]
            generation = Generation(
                id=generation_id,
                owner=key,
                kind=request.kind,
                request=request,
                plan=Plan(routes=routes, policy=model.policy),
                status=Status.QUEUED,
                created_at=now,
                deadline_at=now + timedelta(seconds=request.deadline_seconds),
                outputs=tuple(Output(index=index) for index in range(request.count)),
                fence=1,
                trace=trace,
            )
            return await self._store_and_begin(generation, stored, files, idempotency, budgets)

    async def _store_and_begin(
        self,
        planned: Generation,
        stored: Sequence[StoredFile],
        files: Mapping[str, InlineFile],
        idempotency: Idempotency,
        budgets: Sequence[Budget],
    ) -> Created:
        generation, created = self._first_attempts.reserve(planned), None
        try:
            created = await self._store.create(
                generation,
                stored,
                idempotency,
                named_files(generation.request, files),
                self._files.limits,
                client_limits=self._limits_of(generation.owner),
                budgets=budgets,
                open_max=self._drivers.open_max,
            )
        finally:
            if created is not generation:  # also when nothing is sure: who drives it then reads its attempts
                self._first_attempts.discard(generation)
        if created is not generation:
            return Created(created, because_of(idempotency, Because.OVERTAKEN))
        reach("create_committed")
        model, routes = generation.request.model, len(generation.plan.routes)
        self._observer.observe(GenerationCreated(generation=generation.id, model=model, routes=routes))
        self._first_attempts.stored(generation)
        self._drivers.begin(generation)
        return Created(generation, None)

    async def quote(
        self, request: GenerationRequest, *, key: str, catalog: Catalog, files: Mapping[str, InlineFile]
    ) -> Quote:
        """The routes and prices of a request, without storing or starting anything."""
        now, budgets = self._clock.now(), self._budgets_of(key)
        images = {name: file.facts for name, file in files.items()}
        seed = new_id("gen_", now)
        quote = await self._planner.quote(request, catalog, key=key, images=images, seed=seed, budgets=budgets)
        if not budgets:
            return quote
        return replace(quote, budgets=tuple(states(budgets, await self._store.money.spent(key, now), now)))

    async def read(
        self,
        generation_id: str,
        key: str | None,
        wait_seconds: float = 0,
        known_versions: Collection[int] = (),
        *,
        kind: Kind | None = None,
    ) -> Generation:
        """One generation. With `wait_seconds`, return when its status changes, or when that time is over.

        It returns earlier when another client needs the place of this call.
        With `known_versions`, return as soon as the stored version is not among them. `key` is the API key that must
        own the generation; `None` if the caller has been authorized in another way, for example by a signed token.
        Raises `NotFound`, also for a generation of another `kind`, and `Overloaded` if too many calls are waiting.
        """
        generation = await self._get(generation_id, key, kind)
        if wait_seconds <= 0 or generation.status.terminal:
            return generation
        before = generation.status
        until = self._clock.now() + timedelta(seconds=wait_seconds)
        with (
            self._notifier.long_polls.place(key or generation_id) as place,
            self._notifier.listen(generation_id, place) as changed,
        ):
            while True:  # listen before the read, so that no change between the two is missed
                generation = await self._get(generation_id, key)
                seconds_left = (until - self._clock.now()).total_seconds()
                is_changed = (
                    generation.version not in known_versions if known_versions else generation.status is not before
                )
                if is_changed or seconds_left <= 0 or self._notifier.closed or changed.is_sent_away:
                    return generation
                await wait(self._clock, changed, seconds_left)

    def place(self, key: str) -> AbstractContextManager[Place]:
        """A place among the calls that wait. Raises `Overloaded` if this client gets no place.

        A call that creates and then waits takes its place first: refused afterwards, it would have bought what it
        cannot answer. For the same reason no other client gets the place before the call begins to wait.
        """
        return self._notifier.long_polls.place(key)

    @property
    def stopping(self) -> bool:
        """Whether the gateway is stopping, so that no call may wait any longer."""
        return self._notifier.closed

    async def until_ended(self, generation_id: str, key: str, wait_seconds: float, place: Place) -> Generation:
        """The generation when it has ended; as it is after `wait_seconds`, when the gateway stops, or `place` is lost.

        Raises `NotFound` if the generation was deleted meanwhile.
        """
        until = self._clock.now() + timedelta(seconds=wait_seconds)
        with self._notifier.listen(generation_id, place) as changed:
            while True:  # listen before the read, so that no change between the two is missed
                generation = await self._get(generation_id, key)
                seconds_left = (until - self._clock.now()).total_seconds()
                is_over = seconds_left <= 0 or self._notifier.closed or place.is_lost
                if generation.status.terminal or is_over:
                    return generation
                await wait(self._clock, changed, seconds_left)

    async def _get(self, generation_id: str, key: str | None, kind: Kind | None = None) -> Generation:
        generation = await self._store.get(generation_id, key)
        if generation is None:
            raise NotFound(f"The generation {generation_id[:100]!r} does not exist.", param="id")
        return generation if kind is None else of_kind(generation, kind)

    async def page(self, query: Query) -> Page:
        """A page of the generations of one API key, or for operators of all keys."""
        return await self._store.page(query)

    async def any_one(self, generation_id: str) -> Generation:
        """A generation of any API key, for operators. Raises `NotFound`."""
        return await self._get(generation_id, None)

    async def events(self, generation_id: str, *, after: int = 0, limit: int) -> list[Event]:
        """The stored events of a generation after a number, the oldest first, for operators."""
        return await self._store.events(generation_id, after, limit)

    async def cancel(self, generation_id: str, key: str | None, *, kind: Kind | None = None) -> Generation:
        """Cancel an open generation. Cancelling it again changes nothing. Without a `key` it may be of any owner.

        Raises `NotFound`, also for a generation of another `kind`, and `Conflict` if it has ended in another way.
        """
        while True:
            generation = await self._get(generation_id, key, kind)
            if generation.status is Status.CANCELLED:
                return generation
            if generation.status.terminal:
                raise Conflict(f"The generation is {generation.status} already; only an open one can be cancelled.")
            now = self._clock.now()
            if await self._store.write(generation, cancel(generation, now), now) is not None:
                self._observer.observe(
                    GenerationCancelled(
                        generation=generation_id,
                        model=generation.request.model,
                        provider=generation.provider,
                        age_seconds=(now - generation.created_at).total_seconds(),
                        trace=generation.trace,
                    )
                )
                self._notifier.changed(generation_id)
                self._drivers.wake(generation_id)
                return await self._get(generation_id, key)
            await asyncio.sleep(0)  # its driver has changed it meanwhile: read again

    async def delete(self, generation_id: str, key: str, *, kind: Kind | None = None) -> None:
        """Delete an ended generation.

        Raises `NotFound`, also for a generation of another `kind`, and `Conflict` while it is open or a submit of it is
        under way.
        """
        if kind is not None:
            await self._get(generation_id, key, kind)
        if not await self._store.delete(generation_id, key, self._clock.now()):
            raise self._why_not_deleted(await self._get(generation_id, key))
        self._observer.observe(GenerationDeleted(generation=generation_id))
        self._drivers.wake(generation_id)  # it may still be polling an abandoned task
        self._on_delete()

    def _why_not_deleted(self, generation: Generation) -> Conflict:
        """The refusal of a delete, with what the client can do about it."""
        if not generation.status.terminal:
            return Conflict(f"The generation is {generation.status}; cancel it first, or wait until it has ended.")
        wait_seconds = self._poll_advisor.submit_seconds(generation)
        return Conflict(
            f"The generation is {generation.status}, but a submit of it is still under way, and its answer may name a"
            f" task that was paid for; delete it again in {wait_seconds:.0f} s.",
            retry_after=wait_seconds,
        )
