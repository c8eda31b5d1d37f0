"""Webhooks on their way: what is due is sent, signed, until its receiver has it or the schedule is over."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Protocol

import msgspec
import structlog
from msgspec import Struct
from standardwebhooks import Webhook

from gateway.domain.adapter import HttpReply
from gateway.domain.errors import StoreUnavailable
from gateway.domain.generation import Generation
from gateway.domain.webhook import Delivery, Try, live, receiver
from gateway.failpoints import reach
from gateway.services.clock import Clock, wait
from gateway.services.fetch import FetchFailed, FetchRefused, Posted
from gateway.services.upstream import retry_after_seconds
from gateway.services.webhooks import SigningKeys
from gateway.store.base import Store
from gateway.store.webhooks import Claim

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
        timeout_seconds: float,
    ) -> None:
        """`view` makes of a generation what a client reads; `timeout_seconds` is for all of a POST."""
        self._store = store
        self._poster = poster
        self._keys = keys
        self._view = view
        self._clock = clock
        self._timeout_seconds = timeout_seconds
        self._wake = store.webhooks.added
        self._sending: dict[asyncio.Task[None], str] = {}  # each with its receiver
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
        taken = Counter(self._sending.values())
        left = SENDING_MAX - len(self._sending)
        free: dict[str, int] = {}
        later: list[datetime] = []
        # Who has the least under way comes first: where there is not room for all, none is left out for long.
        for name, next_at in sorted(await self._store.webhooks.receivers(), key=lambda one: (taken[one[0]], one[1])):
            if next_at > now:
                later.append(next_at)
            elif (room := min(RECEIVER_MAX - taken[name], left)) > 0:
                free[name] = room
                left -= room
        if free:
            until = now + timedelta(seconds=self._timeout_seconds + SPARE_SECONDS)
            for claim in await self._store.webhooks.claim(free, now, until):
                task = asyncio.create_task(self._send(claim))
                self._sending[task] = receiver(claim.delivery.url)
                task.add_done_callback(self._ended)
            self._wake.set()  # behind what was claimed there may be more that is due later
        return (min(later) - now).total_seconds() if later else None

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._sending[task]
        self._wake.set()

    async def _send(self, claim: Claim) -> None:
        delivery, at = claim.delivery, self._clock.now()
        try:
            sent = await self._post(claim, at)
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
            log.exception("delivery_failed", delivery=delivery.id)
            return
        log.info(
            "webhook_sent",
            delivery=delivery.id,
            generation=delivery.generation_id,
            type=delivery.type,
            receiver=receiver(delivery.url),
            status=sent.made.status,
            error=sent.made.error,
            state=None if after is None else after.state,
            duration_seconds=round(sent.made.duration_seconds, 3),
        )

    async def _post(self, claim: Claim, at: datetime) -> _Sent | None:
        """Send it once; `None` when there is nothing to tell of any more."""
        delivery = claim.delivery
        try:
            data = await self._data(delivery)
        except StoreUnavailable:
            raise
        except Exception:  # it would be so for ever: the schedule is to end it
            log.exception("delivery_not_rendered", delivery=delivery.id)
            return _Sent(Try(at=at, duration_seconds=0.0, error="the gateway could not make its body"))
        if data is None:
            return None
        body = _encode({"type": delivery.type, "timestamp": _iso(delivery.created_at), "data": data}).decode()
        secrets = live(claim.secrets, at) if delivery.endpoint_id else self._keys.of(delivery.key)
        headers = signed(delivery.event_id, body, secrets, at)
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
        return _Sent(made, isinstance(error, FetchRefused), retry_after)

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
