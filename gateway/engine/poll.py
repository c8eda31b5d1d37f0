"""Reads one task at its provider. A reading may be repeated freely: it costs nothing.

A reading that fails says nothing about its task: neither that it failed, which would pay for another one, nor that it
is done. Only what the provider says about the task counts.
"""

from datetime import datetime
from http import HTTPStatus
from typing import Literal

import httpx

from gateway.clock import Clock
from gateway.domain.adapter.failure import FailureKind
from gateway.domain.adapter.messages import failed
from gateway.domain.adapter.redacted_reading import without_secrets
from gateway.domain.adapter.request import Kind
from gateway.domain.adapter.task import Completed, Failed, Pending, TaskRef, TaskSnapshot
from gateway.domain.adapter.task_reading import PollRefused, read_poll
from gateway.domain.errors import UnreadableReply
from gateway.domain.generation.facts_and_effects import Poll, TaskRead, TaskUnread
from gateway.domain.generation.model import Generation
from gateway.engine.content_check import ContentUnclear, find_file
from gateway.inputs.prepare import InputPreparer
from gateway.telemetry import Observer, PollFinished, ReadOutcome, UnknownStatusRead
from gateway.upstream.client import POLL_REPLY_MAX, NoAnswer, NotSent, Upstream, retry_after_seconds
from gateway.upstream.health import Health
from gateway.upstream.provider import Provider


class Poller:
    """Carries out polls. One instance serves all drivers of the process."""

    def __init__(
        self, *, upstream: Upstream, inputs: InputPreparer, health: Health, clock: Clock, observer: Observer
    ) -> None:
        self._upstream = upstream
        self._inputs = inputs
        self._health = health
        self._clock = clock
        self._observer = observer

    async def poll(self, generation: Generation, poll: Poll, provider: Provider | None) -> TaskRead | TaskUnread:
        """Read the task. Without its provider in the configuration nobody can read it (`TaskUnread.unreadable`)."""
        if provider is None:
            return _unread(poll, self._clock.now(), unreadable=True)
        ref = generation.attempt(poll.attempt_id).tasks[poll.index].ref
        async with self._health.reads[provider.name].slot(generation.owner):
            fact = await self._read(poll, provider, ref, generation.kind)
        if isinstance(fact, TaskRead) and isinstance(fact.snapshot, Failed):
            await self._inputs.forget(generation.request.input, generation.owner, provider, fact.snapshot)
        return fact

    async def _read(self, poll: Poll, provider: Provider, ref: TaskRef, kind: Kind) -> TaskRead | TaskUnread:
        began_at = self._clock.now()
        adapter = provider.adapter
        # Where the adapter has no content call, the last reading is a refresh. Before a content call it is an ordinary
        # poll, which every version of a provider has.
        by_refresh = poll.how == "refresh" or (poll.how == "content" and adapter.content is None)
        make_call = (adapter.refresh if by_refresh else None) or adapter.poll
        try:
            reply = await self._upstream.send(
                adapter.authorize(make_call(ref), provider.credential, self._clock.now()),
                base_url=provider.base_url,
                timeout_seconds=provider.read_timeout_seconds,
                headers=provider.headers,
                reply_max=POLL_REPLY_MAX,
            )
            if reply.status == HTTPStatus.TOO_MANY_REQUESTS:
                self._health.reads[provider.name].record_429()
            snapshot = without_secrets(read_poll(adapter, reply, provider.base_url, kind), provider.redactor)
        except (NotSent, NoAnswer, UnreadableReply) as error:
            self._report(poll, provider, began_at, ReadOutcome.FAILED, error=error)
            return _unread(poll, began_at)
        except Exception as error:  # noqa: BLE001  # an adapter that breaks says nothing about the task
            self._report(poll, provider, began_at, ReadOutcome.BROKEN, error=error)
            return _unread(poll, began_at, adapter_failed=True)
        if isinstance(snapshot, PollRefused):
            is_lost = snapshot.not_found
            self._report(poll, provider, began_at, ReadOutcome.REFUSED, status=reply.status, lost=is_lost)
            wait_seconds = retry_after_seconds(reply, self._clock.now)
            return _unread(poll, began_at, not_found=is_lost, retry_after_seconds=wait_seconds)
        self._health.reads[provider.name].record_success()
        self._report(poll, provider, began_at, ReadOutcome.READ)
        if isinstance(snapshot, Pending):
            if snapshot.unknown_status:
                self._report_unknown_status(provider.name, snapshot.raw_status)
            if snapshot.result_missing and poll.how == "content":
                return await self._last_chance(poll, provider, ref, began_at, kind)
        return _read(poll, began_at, snapshot)

    async def _last_chance(
        self, poll: Poll, provider: Provider, ref: TaskRef, began_at: datetime, kind: Kind
    ) -> TaskRead | TaskUnread:
        """The task was "done" without a file for the whole grace. Look for the file with the content call, if any."""
        missing = _read(poll, began_at, failed(FailureKind.RESULT_MISSING))
        if provider.adapter.content is None:
            return missing
        try:
            artifact = await find_file(self._upstream, provider, ref, self._clock.now(), kind)
        except ContentUnclear as error:
            self._report(poll, provider, began_at, ReadOutcome.REFUSED, call="content", status=error.status)
            return _unread(poll, began_at)
        except (NotSent, NoAnswer, httpx.TransportError) as error:
            self._report(poll, provider, began_at, ReadOutcome.FAILED, call="content", error=error)
            return _unread(poll, began_at)
        except Exception as error:  # noqa: BLE001  # an adapter that breaks says nothing about the file
            self._report(poll, provider, began_at, ReadOutcome.BROKEN, call="content", error=error)
            return _unread(poll, began_at, adapter_failed=True)
        self._report(poll, provider, began_at, ReadOutcome.READ, call="content")
        return missing if artifact is None else _read(poll, began_at, Completed((artifact,)))

    def _report(
        self,
        poll: Poll,
        provider: Provider,
        began_at: datetime,
        outcome: ReadOutcome,
        *,
        call: Literal["poll", "content"] = "poll",
        status: int | None = None,
        lost: bool = False,
        error: Exception | None = None,
    ) -> None:
        self._observer.observe(
            PollFinished(
                attempt=poll.attempt_id,
                provider=provider.name,
                call=call,
                outcome=outcome,
                duration_seconds=(self._clock.now() - began_at).total_seconds(),
                status=status,
                lost=lost,
                error=error,
            )
        )

    def _report_unknown_status(self, provider: str, word: str) -> None:
        """Report a status word that no table has, once, so that somebody adds it."""
        if self._health.note_unknown_word(provider, word):
            self._observer.observe(UnknownStatusRead(provider=provider, raw_status=word))


def _read(poll: Poll, began_at: datetime, snapshot: TaskSnapshot) -> TaskRead:
    return TaskRead(attempt_id=poll.attempt_id, index=poll.index, asked_at=began_at, snapshot=snapshot)


def _unread(
    poll: Poll,
    began_at: datetime,
    *,
    not_found: bool = False,
    unreadable: bool = False,
    adapter_failed: bool = False,
    retry_after_seconds: float | None = None,
) -> TaskUnread:
    return TaskUnread(
        attempt_id=poll.attempt_id,
        index=poll.index,
        asked_at=began_at,
        not_found=not_found,
        unreadable=unreadable,
        adapter_failed=adapter_failed,
        retry_after_seconds=retry_after_seconds,
    )
