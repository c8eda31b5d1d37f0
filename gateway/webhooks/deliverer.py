"""Sends webhook deliveries that are due, until their receiver has accepted them or the retry schedule has ended.

A delivery is sent at least once. It may come twice: a try is noted after it was made, and if the process dies in
between, the next process makes it again. Danger: one slow receiver, or one API key with many deliveries, must not delay
the deliveries of the others, so every key and every receiver gets its share of the places.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta
from heapq import heapify, heappop, heappush, heapreplace
from secrets import token_hex
from typing import Protocol

import msgspec
import structlog
from msgspec import Struct
from msgspec.structs import replace

from gateway.clock import Clock, wait
from gateway.domain.adapter.contract import HttpReply
from gateway.domain.errors import StoreUnavailable
from gateway.domain.redaction import NO_SECRETS, Redactor
from gateway.domain.trace_context import TraceContext
from gateway.domain.webhooks import DeliveryTry, FormatName, format_of, live, receiver
from gateway.failpoints import reach
from gateway.fetch.fetcher import AddressRefused, FetchFailed, FetchRefused, Posted
from gateway.store.port import Store
from gateway.store.webhooks import Claim
from gateway.telemetry import DeliveryTried, Observer
from gateway.upstream.client import retry_after_seconds
from gateway.webhooks.formats import Format
from gateway.webhooks.outcomes import Outcomes
from gateway.webhooks.signing import SigningKeys, signed

log = structlog.get_logger()
SENDING_MAX = 256  # deliveries that are sent at the same time
RECEIVER_MAX = 16  # of them to one receiver, so that a slow one cannot occupy all places
SPARE_SECONDS = 10.0  # a claim lasts this long beyond the time-out: by then its try is noted or its process is dead
LARGE = 32 * 1024  # bytes of a body: a client may make a larger one so slow to search that other work would wait
TROUBLE_SECONDS = 5.0  # wait after an error of the store
_encode = msgspec.json.Encoder().encode


class Poster(Protocol):
    """The part of the guarded fetcher that is used here."""

    async def post(
        self, url: str, *, client: str, content: bytes, headers: Mapping[str, str], timeout_seconds: float
    ) -> Posted:
        """The answer to a POST for `client`, an API key. Raises `FetchRefused` or `FetchFailed`."""
        ...


class _Sent(Struct, frozen=True):
    """A try that was made, with what the schedule needs beside it."""

    made: DeliveryTry
    final: bool = False  # no later try can succeed
    retry_after_seconds: float | None = None
    trace: TraceContext | None = None  # the client's span that created the generation
    span_id: str | None = None  # of this try, as its receiver sees it


class Deliverer:
    """Sends due deliveries between `run` and `stop`."""

    def __init__(
        self,
        *,
        store: Store,
        poster: Poster,
        keys: SigningKeys,
        formats: Mapping[FormatName, Format],
        clock: Clock,
        wall_clock: Clock,
        timeout_seconds: float,
        observer: Observer,
        redactor: Redactor = NO_SECRETS,
    ) -> None:
        """`formats` has every format that `format_of` names. `timeout_seconds` limits a whole POST.

        Signatures use `wall_clock`, the time of this machine, because receivers refuse a timestamp that is far from
        their own time. `clock` may be ahead of it: it is never earlier than the newest moment in the ledger.
        """
        self._store = store
        self._poster = poster
        self._keys = keys
        self._formats = formats
        self._clock = clock
        self._wall_clock = wall_clock
        self.timeout_seconds = timeout_seconds
        self._observer = observer
        self._redactor = redactor
        self.outcomes = Outcomes()
        self._wake = asyncio.Event()
        store.webhooks.on_due(self._wake.set)
        self._sending: dict[asyncio.Task[None], tuple[str, str]] = {}  # by task: API key and receiver
        self._stopping = False

    async def run(self) -> None:
        """Send due deliveries until `stop` is called, then wait for those that are being sent."""
        try:
            while not self._stopping:
                try:
                    await self._sleep(await self._begin())
                except StoreUnavailable as error:
                    log.warning("deliveries_postponed", error=str(error))
                    await self._sleep(TROUBLE_SECONDS)
                except Exception:  # a defect with one delivery must not end all sending
                    log.exception("deliveries_failed")
                    await self._sleep(TROUBLE_SECONDS)
            if self._sending:
                await asyncio.wait(self._sending)
        finally:
            for task in self._sending:
                task.cancel()
            await asyncio.gather(*self._sending, return_exceptions=True)

    def stop(self) -> None:
        """Start no further delivery."""
        self._stopping = True
        self._wake.set()

    async def _sleep(self, seconds: float | None) -> None:
        """Wait until a delivery may be due: at most `seconds`, or until the store or a finished send wakes this."""
        if self._stopping:
            return
        if seconds is not None:
            await wait(self._clock, self._wake, seconds)
        else:
            await self._wake.wait()
            self._wake.clear()

    async def _begin(self) -> float | None:
        """Start as many due deliveries as there are places. Returns the seconds until the next one is due, or None."""
        now = self._clock.now()
        if free := await self._places(now):
            until = now + timedelta(seconds=self.timeout_seconds + SPARE_SECONDS)
            for claim in await self._store.webhooks.claim(free, now, until):
                task = asyncio.create_task(self._send(claim))
                self._sending[task] = claim.delivery.key, receiver(claim.delivery.url)
                task.add_done_callback(self._ended)
            self._wake.set()  # more may be due than was claimed: look again
        later = await self._store.webhooks.next_due(now)
        return None if later is None else (later - now).total_seconds()

    async def _places(self, now: datetime) -> Counter[tuple[str, str]]:
        """How many due deliveries to claim, by key and receiver.

        Each free place goes to the API key with the fewest deliveries under way, and there to the receiver with the
        fewest. Among equals the one that has been due for longest comes first.
        """
        places: Counter[tuple[str, str]] = Counter()
        left = SENDING_MAX - len(self._sending)
        if left == 0:
            return places
        taken = Counter(self._sending.values())
        of_key = Counter(key for key, _ in self._sending.values())
        of_receiver = Counter(name for _, name in self._sending.values())
        keys = [(of_key[key], since, key) for key, since in await self._store.webhooks.keys() if since <= now]
        heapify(keys)
        # `busy + share` receivers of a key are read. Even if all its busy ones and all full ones are among them, one is
        # left for each place of its share. A key with more receivers is read again at the next look.
        full = sum(count >= RECEIVER_MAX for count in of_receiver.values())
        share = full + 1 + left // max(len(keys), 1)
        busy = Counter(key for key, _ in taken)
        due: dict[str, list[tuple[int, datetime, str]]] = {}
        while keys and left:
            count, since, key = heappop(keys)
            if key not in due:
                receivers = await self._store.webhooks.receivers(key, now, busy[key] + share)
                due[key] = [(taken[key, name], at, name) for name, at in receivers]
                heapify(due[key])
            while due[key] and of_receiver[due[key][0][2]] >= RECEIVER_MAX:
                heappop(due[key])
            if due[key]:
                there, at, name = due[key][0]
                heapreplace(due[key], (there + 1, at, name))
                heappush(keys, (count + 1, since, key))
                places[key, name] += 1
                of_receiver[name] += 1
                left -= 1
        return places

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._sending[task]
        self._wake.set()

    async def _send(self, claim: Claim) -> None:
        delivery, at = claim.delivery, self._clock.now()
        try:
            sent = await self._tried(claim, at)
            if sent is None:
                return
            reach("event_sent")
            after = await self._store.webhooks.note(
                claim, sent.made, final=sent.final, retry_after_seconds=sent.retry_after_seconds
            )
        except StoreUnavailable as error:  # the claim expires, and the delivery is sent again
            log.warning("delivery_not_recorded", delivery=delivery.id, error=str(error))
            return
        except Exception:  # likewise: a defect with one delivery must not end the others
            log.exception("delivery_not_recorded", delivery=delivery.id)
            return
        self.outcomes.tried(delivery.id)
        self._observer.observe(
            DeliveryTried(
                delivery=delivery.id,
                generation=delivery.generation_id,
                type=delivery.type,
                receiver=receiver(delivery.url),
                status=sent.made.status,
                error=sent.made.error,
                state=None if after is None else after.state,
                duration_seconds=sent.made.duration_seconds,
                trace=sent.trace,
                sent_span_id=sent.span_id,
            )
        )

    async def _tried(self, claim: Claim, at: datetime) -> _Sent | None:
        """Send a delivery once; None if its generation was deleted, so that there is nothing to send."""
        try:
            return await self._post(claim, at)
        except StoreUnavailable:
            raise
        except Exception:  # a defect that may come back at each try. It counts as a try, so that the schedule ends
            log.exception("delivery_failed", delivery=claim.delivery.id)
            spent = (self._clock.now() - at).total_seconds()
            return _Sent(DeliveryTry(at=at, duration_seconds=spent, error="the gateway failed"))

    async def _post(self, claim: Claim, at: datetime) -> _Sent | None:
        delivery = claim.delivery
        generation = None if delivery.generation_id is None else await self._store.get(delivery.generation_id)
        if generation is None and delivery.generation_id is not None:
            return None
        words = self._formats[format_of(delivery, generation)]
        body = (await self._without_secrets(_encode(words.body(delivery, generation)))).decode()
        secrets = live(claim.secrets, at) if delivery.endpoint_id else self._keys.of(delivery.key)
        now = self._wall_clock.now()
        headers = {**words.headers(delivery, body, secrets, now), **signed(delivery.event_id, body, secrets, now)}
        trace = None if generation is None else generation.trace
        this_try = None if trace is None else replace(trace, span_id=token_hex(8))
        if this_try is not None:
            headers |= this_try.headers()
        status: int | None = None
        error = retry_after = None
        try:
            answer = await self._poster.post(
                delivery.url,
                client=delivery.key,
                content=body.encode(),
                headers=headers,
                timeout_seconds=self.timeout_seconds,
            )
            status = answer.status
            retry_after = retry_after_seconds(HttpReply(status=status, headers=answer.headers), self._clock.now)
        except (FetchFailed, FetchRefused) as failed:
            error = failed
        made = DeliveryTry(
            at=at,
            duration_seconds=(self._clock.now() - at).total_seconds(),
            status=status,
            error=None if error is None else str(error),
        )
        # A refused URL stays refused. A host name that led to a refused address may lead to another one tomorrow.
        final = isinstance(error, FetchRefused) and not isinstance(error, AddressRefused)
        return _Sent(made, final, retry_after, trace, None if this_try is None else this_try.span_id)

    async def _without_secrets(self, body: bytes) -> bytes:
        return self._redactor.body(body) if len(body) <= LARGE else await asyncio.to_thread(self._redactor.body, body)
