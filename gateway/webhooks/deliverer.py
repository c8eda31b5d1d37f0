"""Webhooks on their way: what is due is sent, signed, until its receiver has it or the schedule is over."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from heapq import heapify, heappop, heappush, heapreplace
from typing import Protocol

import msgspec
import structlog
from msgspec import Struct
from standardwebhooks import Webhook

from gateway.clock import Clock, wait
from gateway.domain.adapter.contract import HttpReply
from gateway.domain.errors import StoreUnavailable
from gateway.domain.generation.model import Generation
from gateway.domain.webhooks import Delivery, Try, live, receiver
from gateway.failpoints import reach
from gateway.fetch.fetcher import AddressRefused, FetchFailed, FetchRefused, Posted
from gateway.store.port import Store
from gateway.store.webhooks import Claim
from gateway.telemetry import DeliveryTried, Observer
from gateway.upstream.client import retry_after_seconds
from gateway.webhooks.endpoints import SigningKeys

log = structlog.get_logger()
SENDING_MAX = 256  # at once
RECEIVER_MAX = 16  # at once to one receiver: a slow one takes no more than its share
SPARE_SECONDS = 10.0  # of a claim, besides the time-out: whoever holds it has noted its try by then, or is gone
TROUBLE_SECONDS = 5.0  # before the next look at a store that failed
_encode = msgspec.json.Encoder().encode


class Poster(Protocol):
    """What this needs of the guarded fetcher."""

    async def post(self, url: str, *, content: bytes, headers: Mapping[str, str], timeout_seconds: float) -> Posted:
        """The answer to a POST. Raises `FetchRefused` or `FetchFailed`."""
        ...


class _Sent(Struct, frozen=True):
    made: Try
    final: bool = False  # no later try can do better
    retry_after_seconds: float | None = None


class Deliverer:
    """Sends what is due, at least once each: a try that was not noted is made again."""

    def __init__(
        self,
        *,
        store: Store,
        poster: Poster,
        keys: SigningKeys,
        view: Callable[[Generation], object],
        clock: Clock,
        wall_clock: Clock,
        timeout_seconds: float,
        observer: Observer,
    ) -> None:
        """`view` makes of a generation what a client reads; `timeout_seconds` is for all of a POST.

        `wall_clock` is not moved on to the ledger's time: receivers compare a delivery's timestamp with their own.
        """
        self._store = store
        self._poster = poster
        self._keys = keys
        self._view = view
        self._clock = clock
        self._wall_clock = wall_clock
        self._timeout_seconds = timeout_seconds
        self._observer = observer
        self._wake = asyncio.Event()  # something may be due sooner than it seemed
        store.webhooks.subscribe(self._wake.set)
        self._sending: dict[asyncio.Task[None], tuple[str, str]] = {}  # each with its key and receiver
        self._stopping = False

    async def run(self) -> None:
        """Send at once what is due and from then on what becomes so, until `stop`; then end what is under way."""
        try:
            while not self._stopping:
                try:
                    await self._sleep(await self._begin())
                except StoreUnavailable as error:
                    log.warning("deliveries_put_off", error=str(error))
                    await self._sleep(TROUBLE_SECONDS)
                except Exception:  # the next look may do better
                    log.exception("deliveries_failed")
                    await self._sleep(TROUBLE_SECONDS)
            if self._sending:
                await asyncio.wait(self._sending)
        finally:
            for task in self._sending:
                task.cancel()
            await asyncio.gather(*self._sending, return_exceptions=True)

    def stop(self) -> None:
        """Begin nothing more."""
        self._stopping = True
        self._wake.set()

    async def _sleep(self, seconds: float | None) -> None:
        """Until something may be due; `None`: nothing is, before anything happens."""
        if self._stopping:
            return
        if seconds is not None:
            await wait(self._clock, self._wake, seconds)
        else:
            await self._wake.wait()
            self._wake.clear()

    async def _begin(self) -> float | None:
        """Begin to send what is due and has room; the seconds until more is due."""
        now = self._clock.now()
        if free := await self._places(now):
            until = now + timedelta(seconds=self._timeout_seconds + SPARE_SECONDS)
            for claim in await self._store.webhooks.claim(free, now, until):
                task = asyncio.create_task(self._send(claim))
                self._sending[task] = claim.delivery.key, receiver(claim.delivery.url)
                task.add_done_callback(self._ended)
            self._wake.set()  # behind what was claimed there may be more that is due
        later = await self._store.webhooks.next_due(now)
        return None if later is None else (later - now).total_seconds()

    async def _places(self, now: datetime) -> Counter[tuple[str, str]]:
        """The free places for what is due, each to the key with the least under way, at its idlest receiver."""
        places: Counter[tuple[str, str]] = Counter()
        left = SENDING_MAX - len(self._sending)
        if left == 0:
            return places
        taken = Counter(self._sending.values())
        of_key = Counter(key for key, _ in self._sending.values())
        of_receiver = Counter(name for _, name in self._sending.values())
        turns = [(of_key[key], since, key) for key, since in await self._store.webhooks.keys() if since <= now]
        heapify(turns)
        # One that is neither busy nor full is among so many of a key, where there is any; the next look finds the rest.
        full = sum(count >= RECEIVER_MAX for count in of_receiver.values())
        share = full + 1 + left // max(len(turns), 1)
        busy = Counter(key for key, _ in taken)
        due: dict[str, list[tuple[int, datetime, str]]] = {}
        while turns and left:
            count, since, key = heappop(turns)
            if key not in due:
                found = await self._store.webhooks.receivers(key, now, busy[key] + share)
                due[key] = [(taken[key, name], at, name) for name, at in found]
                heapify(due[key])
            while due[key] and of_receiver[due[key][0][2]] >= RECEIVER_MAX:
                heappop(due[key])
            if due[key]:
                there, at, name = due[key][0]
                heapreplace(due[key], (there + 1, at, name))
                heappush(turns, (count + 1, since, key))
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
        except StoreUnavailable as error:  # its claim runs out, and it is sent again
            log.warning("delivery_not_noted", delivery=delivery.id, error=str(error))
            return
        except Exception:  # likewise; one that is broken must not end the others
            log.exception("delivery_not_noted", delivery=delivery.id)
            return
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
            )
        )

    async def _tried(self, claim: Claim, at: datetime) -> _Sent | None:
        """Send it once; `None` when there is nothing to tell of any more."""
        try:
            return await self._post(claim, at)
        except StoreUnavailable:
            raise
        except Exception:  # it may be so for ever: the schedule is to end it
            log.exception("delivery_failed", delivery=claim.delivery.id)
            spent = (self._clock.now() - at).total_seconds()
            return _Sent(Try(at=at, duration_seconds=spent, error="the gateway failed"))

    async def _post(self, claim: Claim, at: datetime) -> _Sent | None:
        delivery = claim.delivery
        data = await self._data(delivery)
        if data is None:
            return None
        body = _encode({"type": delivery.type, "timestamp": _iso(delivery.created_at), "data": data}).decode()
        secrets = live(claim.secrets, at) if delivery.endpoint_id else self._keys.of(delivery.key)
        headers = signed(delivery.event_id, body, secrets, self._wall_clock.now())
        status: int | None = None
        error = retry_after = None
        try:
            answer = await self._poster.post(
                delivery.url, content=body.encode(), headers=headers, timeout_seconds=self._timeout_seconds
            )
            status = answer.status
            retry_after = retry_after_seconds(HttpReply(status=status, headers=answer.headers), self._clock.now)
        except (FetchFailed, FetchRefused) as failed:
            error = failed
        made = Try(
            at=at,
            duration_seconds=(self._clock.now() - at).total_seconds(),
            status=status,
            error=None if error is None else str(error),
        )
        # A name that leads to a refused address may lead elsewhere tomorrow.
        return _Sent(made, isinstance(error, FetchRefused) and not isinstance(error, AddressRefused), retry_after)

    async def _data(self, delivery: Delivery) -> object | None:
        """What the event is about, as it is now; `None` when it is deleted."""
        if delivery.generation_id is None:
            return {"id": delivery.endpoint_id, "object": "webhook_endpoint"}
        generation = await self._store.get(delivery.generation_id)
        return None if generation is None else self._view(generation)


def signed(event_id: str, body: str, secrets: tuple[str, ...], now: datetime) -> dict[str, str]:
    """The headers of Standard Webhooks, with a signature by each secret."""
    return {
        "content-type": "application/json",
        "webhook-id": event_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": " ".join(Webhook(secret).sign(event_id, now, body) for secret in secrets),
    }


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
