"""What the API does with generations: create, read, list, cancel, delete."""

import asyncio
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager
from datetime import timedelta
from hashlib import sha256
from typing import Literal, Protocol

import msgspec
from msgspec import Struct

from gateway.clock import Clock, wait
from gateway.domain.adapter.task import Status
from gateway.domain.errors import (
    Conflict,
    IdempotencyKeyInUse,
    NotFound,
)
from gateway.domain.generation.lifecycle import cancel
from gateway.domain.generation.model import Generation, GenerationRequest, Output, Plan
from gateway.domain.routing.image_limits import ImageFacts
from gateway.failpoints import reach
from gateway.generations.notifier import Signals
from gateway.generations.planner import Planner, Quote, named_files
from gateway.generations.poll_advice import PollHints
from gateway.ids import new_id
from gateway.inputs.blobs import Blobs
from gateway.store.port import Idempotency, Page, Query, Store, StoredFile
from gateway.telemetry import GenerationCancelled, GenerationCreated, GenerationDeleted, Observer

_encode = msgspec.json.Encoder(order="deterministic").encode


class Drivers(Protocol):
    """What this service needs of an engine."""

    def admit(self) -> AbstractContextManager[None]:
        """Hold a place for one more generation; an error for the client when there is none."""
        ...

    def begin(self, generation: Generation) -> None:
        """Drive a generation that was just created."""
        ...

    def wake(self, generation_id: str) -> None:
        """It was changed: its driver is to look again."""
        ...


class InlineFile(Struct, frozen=True):
    """An image whose bytes came with the request."""

    content: bytes
    facts: ImageFacts


class Created(Struct, frozen=True):
    """A generation, and whether an earlier request made it, which this one repeats."""

    generation: Generation
    replayed: bool


class Generations:
    """Every call belongs to one API key; what another key owns does not exist."""

    def __init__(
        self,
        *,
        store: Store,
        planner: Planner,
        blobs: Blobs,
        drivers: Drivers,
        signals: Signals,
        clock: Clock,
        hints: PollHints,
        observer: Observer,
        on_delete: Callable[[], None],
    ) -> None:
        """`on_delete` is called when a generation is gone and its files are to follow."""
        self._store = store
        self._planner = planner
        self._blobs = blobs
        self._drivers = drivers
        self._signals = signals
        self._clock = clock
        self._hints = hints
        self._observer = observer
        self._on_delete = on_delete
        self._handling: dict[tuple[str, str | bytes], int] = {}  # requests under way, by digest and by key

    async def create(
        self,
        request: GenerationRequest,
        *,
        key: str,
        files: Mapping[str, InlineFile] | None = None,
        idempotency_key: str | None = None,
        retry: bool = False,
        kind: Literal["video", "image"] = "video",
    ) -> Created:
        """Accept a generation: durable when this returns, started soon after.

        `retry`: the client says that it sends this again; without a key an equal request of just before is meant.
        """
        digest = sha256((b"" if kind == "video" else kind.encode()) + _encode(request)).digest()
        idempotency = Idempotency(digest=digest, key=idempotency_key, retry=retry)
        handled: list[tuple[str, str | bytes]] = [(key, digest)]
        if idempotency_key is not None:
            handled.append((key, idempotency_key))
        if (idempotency_key is not None or retry) and handled[-1] in self._handling:
            raise IdempotencyKeyInUse("The request that this one repeats is still being handled.", retry_after=1)
        for one in handled:
            self._handling[one] = self._handling.get(one, 0) + 1
        try:
            return await self._create(request, key, files or {}, idempotency, kind)
        finally:
            for one in handled:
                left = self._handling.pop(one) - 1
                if left:
                    self._handling[one] = left

    async def _create(
        self,
        request: GenerationRequest,
        key: str,
        files: Mapping[str, InlineFile],
        idempotency: Idempotency,
        kind: Literal["video", "image"],
    ) -> Created:
        now = self._clock.now()
        if idempotency.key is not None or idempotency.retry:  # what was answered once is answered so again
            known = await self._store.recall(key, idempotency, now)
            if known is not None:
                return Created(known, replayed=True)
        with self._drivers.admit():
            generation_id = new_id("gen_", now)
            images = {name: file.facts for name, file in files.items()}
            model, routes = await self._planner.routes(request, key=key, images=images, seed=generation_id)
            stored = [
                StoredFile(id=name, key=key, sha256=digest, facts=files[name].facts, created_at=now)
                for name, digest in [(name, await self._blobs.put(file.content)) for name, file in files.items()]
            ]
            generation = Generation(
                id=generation_id,
                key=key,
                kind=kind,
                request=request,
                plan=Plan(routes=routes, policy=model.policy),
                status=Status.QUEUED,
                created_at=now,
                deadline_at=now + timedelta(seconds=request.deadline_seconds),
                outputs=tuple(Output(index=index) for index in range(request.count)),
                fence=1,
            )
            answer = await self._store.create(generation, stored, idempotency, named_files(request, files))
            if answer is generation:
                reach("create_committed")
                created = GenerationCreated(generation=generation.id, model=request.model, routes=len(routes))
                self._observer.observe(created)
                self._drivers.begin(generation)
            return Created(answer, answer is not generation)

    async def quote(self, request: GenerationRequest, *, key: str, files: Mapping[str, InlineFile]) -> Quote:
        """What would be done with the request; nothing is stored or started."""
        images = {name: file.facts for name, file in files.items()}
        return await self._planner.quote(request, key=key, images=images, seed=new_id("gen_", self._clock.now()))

    async def read(
        self, generation_id: str, key: str | None, wait_seconds: float = 0, known: Collection[int] = ()
    ) -> Generation:
        """One generation; with `wait_seconds`, as soon as its status is another than now, or when they are over.

        Who names the versions that it knows waits for any other version instead.
        Without a key whoever asks has been found to know it.
        """
        generation = await self._get(generation_id, key)
        if wait_seconds <= 0 or generation.status.terminal:
            return generation
        before = generation.status
        until = self._clock.now() + timedelta(seconds=wait_seconds)
        with self._signals.listen(generation_id) as changed:
            while True:  # listen first, then look: no change between the two is missed
                generation = await self._get(generation_id, key)
                left = (until - self._clock.now()).total_seconds()
                is_news = generation.version not in known if known else generation.status is not before
                if is_news or left <= 0 or self._signals.closed:
                    return generation
                await wait(self._clock, changed, left)

    async def _get(self, generation_id: str, key: str | None) -> Generation:
        generation = await self._store.get(generation_id, key)
        if generation is None:
            raise NotFound(f"There is no generation {generation_id[:100]!r}.", param="id")
        return generation

    async def page(self, query: Query) -> Page:
        """A page of the key's own generations."""
        return await self._store.page(query)

    async def cancel(self, generation_id: str, key: str) -> Generation:
        """Cancel an open generation; one that is cancelled already stays so, one that has ended is a `Conflict`."""
        while True:
            generation = await self._get(generation_id, key)
            if generation.status is Status.CANCELLED:
                return generation
            if generation.status.terminal:
                raise Conflict(f"The generation is {generation.status} already; only an open one can be cancelled.")
            now = self._clock.now()
            if await self._store.write(generation, cancel(generation, now), now) is not None:
                self._observer.observe(GenerationCancelled(generation=generation_id))
                self._signals.changed(generation_id)
                self._drivers.wake(generation_id)
                return await self._get(generation_id, key)
            await asyncio.sleep(0)  # its driver was faster: look at what it wrote

    async def delete(self, generation_id: str, key: str) -> None:
        """Remove an ended generation; an open one is a `Conflict`."""
        if not await self._store.delete(generation_id, key, self._clock.now()):
            raise self._why_not_deleted(await self._get(generation_id, key))
        self._observer.observe(GenerationDeleted(generation=generation_id))
        self._drivers.wake(generation_id)  # it may still be reading a task that was given up
        self._on_delete()

    def _why_not_deleted(self, generation: Generation) -> Conflict:
        """The refusal of a delete, with what the client can do about it."""
        if not generation.status.terminal:
            return Conflict(f"The generation is {generation.status}; cancel it first, or wait until it has ended.")
        wait_seconds = self._hints.submit_seconds(generation)
        return Conflict(
            f"The generation is {generation.status}, but a submit of it is still under way, and its answer may name a"
            f" task that was paid for; delete it again in {wait_seconds:.0f} s.",
            retry_after=wait_seconds,
        )
