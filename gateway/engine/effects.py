"""What a driver carries out: a submit, a read. Each ends in a fact, whatever happens on the way."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from http import HTTPStatus

import httpx
import structlog
from msgspec import Struct

from gateway.artifacts.archiver import RESULT_MAX, Keeper
from gateway.clock import Clock
from gateway.domain.adapter.content_encoding import BodyDecoder, UndecodableBody
from gateway.domain.adapter.contract import HttpCall, HttpReply, Polling
from gateway.domain.adapter.failure import FailureKind
from gateway.domain.adapter.messages import clean, failed
from gateway.domain.adapter.request import UpstreamRequest
from gateway.domain.adapter.task import Artifact, Completed, Failed, Pending, TaskRef, TaskSnapshot
from gateway.domain.adapter.task_reading import PollRefused, read_poll, read_submit
from gateway.domain.adapter.upstream_answer import UpstreamAnswer, answer_of
from gateway.domain.errors import StoreUnavailable, UnreadableReply
from gateway.domain.generation.archiving import Keep
from gateway.domain.generation.cost_limit import within_limit
from gateway.domain.generation.lifecycle import Effect, Ended, Fact, Poll, Read, Unread
from gateway.domain.generation.model import Attempt, AttemptState, Generation, Kept, Route
from gateway.domain.generation.next_attempt import has_another_route
from gateway.domain.generation.outputs import accepted, missing_slots
from gateway.domain.generation.reconciliation import TASKS_MAX
from gateway.domain.generation.task_polling import Hints
from gateway.domain.health.circuit import CircuitState
from gateway.engine.store_retry import patiently
from gateway.failpoints import reach
from gateway.fetch.fetcher import REDIRECTS, WHOLE
from gateway.inputs.prepare import Inputs
from gateway.inputs.provider_uploads import InputRefused
from gateway.media.video_header import begins_video
from gateway.store.port import Store
from gateway.upstream.client import NoAnswer, NotSent, Upstream, retry_after_seconds
from gateway.upstream.health import Health
from gateway.upstream.provider import Provider

log = structlog.get_logger()
_FILE_HEAD = 12  # bytes that show whether a file is a video
_NO_CONTENT = frozenset({400, 404, 410})  # the answers that say: there is no file
_BROKEN = failed(FailureKind.INVALID_REQUEST, "The request could not be translated.", elsewhere=True)
# Of a provider that is not configured, whose tasks nobody can read: that says nothing about them, so that no time-out
# may have them bought again elsewhere. They wait for the deadline, or for a start with the provider's key.
UNFOLLOWED = Polling(
    first_poll_seconds=60,
    poll_seconds=300,
    poll_max_seconds=300,
    attempt_timeout_seconds=172_800,  # longer than any deadline
)
_NOTED_MAX = 1000  # unknown status words that are remembered as logged


class Effects:
    """Carries out what `advance` asks for."""

    def __init__(
        self,
        *,
        store: Store,
        providers: Mapping[str, Provider],
        upstream: Upstream,
        inputs: Inputs,
        keeper: Keeper,
        health: Health,
        clock: Clock,
        callback_url: Callable[[Provider, str], str | None],
    ) -> None:
        self._store = store
        self._providers = providers
        self._upstream = upstream
        self._inputs = inputs
        self._keeper = keeper
        self._health = health
        self._clock = clock
        self._callback_url = callback_url  # where the provider says that something happened to an attempt's tasks
        self._forms: dict[tuple[str, str], str] = {}  # (provider, model) → the form that worked last
        self._calling_back = {name for name, one in providers.items() if callback_url(one, "") is not None}
        self._noted: set[tuple[str, str]] = set()
        self._sending: set[str] = set()  # attempts from their intent to their outcome

    def hints(self, route: Route) -> Hints:
        """What the rules need to know of a route, also of one whose provider is no longer configured."""
        provider = self._providers.get(route.provider)
        if provider is None:
            return Hints(polling=UNFOLLOWED)
        form = self._forms.get((route.provider, route.model)) or provider.form or provider.adapter.forms[0]
        has_refresh = provider.adapter.refresh is not None
        polling = provider.polling(route.model)
        if route.attempt_timeout_seconds is not None:
            polling = replace(polling, attempt_timeout_seconds=route.attempt_timeout_seconds)
        every = provider.adapter.refresh_every
        calls_back = provider.name in self._calling_back
        return Hints(polling=polling, has_refresh=has_refresh, refresh_every=every, form=form, calls_back=calls_back)

    def is_sending(self, attempt_id: str) -> bool:
        """Whether the submit of an attempt may have begun to leave: only before that can it be left undone."""
        return attempt_id in self._sending

    def archived(self, kept: Kept) -> None:
        """The ledger has this file of an output now: draw its thumbnail, where it has none."""
        self._keeper.recorded(kept)

    async def carry_out(self, generation: Generation, effect: Effect) -> Fact | None:
        """Do it and tell what came of it; `None` when the store has it already."""
        if isinstance(effect, Keep):
            return await self._keeper.keep(generation, effect.index)
        attempt = generation.attempt(effect.attempt_id)
        route = generation.route(attempt)
        provider = self._providers.get(route.provider)
        if isinstance(effect, Poll):
            if provider is None:  # it was taken out of the configuration while this generation was open
                return _unread(effect, self._clock.now(), unreadable=True)
            async with self._health.reads[provider.name].place(generation.key):
                read = await self._read(attempt, effect, provider)
            if isinstance(read, Read) and isinstance(read.snapshot, Failed):
                await self._inputs.forget(generation.request.input, generation.key, provider, read.snapshot)
            return read
        if provider is None or not provider.accepts_work or route.model not in provider.models:
            return _not_sent(attempt, failed(FailureKind.UNAVAILABLE))
        fact: Fact | None = _not_sent(attempt, failed(FailureKind.UNAVAILABLE))
        try:
            # A store that cannot be read gives the place back between two tries: others may not need it.
            fact = await patiently(
                self._clock, lambda: self._in_turn(generation, attempt, route, provider), attempt=attempt.id
            )
        finally:
            if fact is not None:  # no task came of it: where it was the probe, another is
                self._health.let_go(route.provider, route.model, attempt.id)
        return fact

    async def _in_turn(self, generation: Generation, attempt: Attempt, route: Route, provider: Provider) -> Fact | None:
        async with self._health.submits[provider.name].place(generation.key):
            is_open = self._health.circuit(route.provider, route.model) is CircuitState.OPEN
            is_probe = self._health.is_probe(route.provider, route.model, attempt.id)
            if is_open and not is_probe and has_another_route(generation, attempt):
                # It opened while this one waited for its turn: what is left in the plan is worth more.
                return _not_sent(attempt, failed(FailureKind.UNAVAILABLE))
            return await self._submit(generation, attempt, route, provider)

    async def _submit(self, generation: Generation, attempt: Attempt, route: Route, provider: Provider) -> Fact | None:
        reach("reserved")
        try:
            call = await self._prepare(generation, attempt, route, provider)
        except StoreUnavailable:
            raise
        except InputRefused as refused:
            self._health.submitted(route.provider, route.model, attempt.id, refused.failure)
            return Ended(
                attempt_id=attempt.id,
                state=AttemptState.REFUSED,
                failure=refused.failure,
                retry_after_seconds=refused.retry_after_seconds,
            )
        except Exception:  # whatever an adapter raises here, nothing was sent
            log.exception("translation_failed", attempt=attempt.id, provider=provider.name)
            return _not_sent(attempt, _BROKEN)
        self._sending.add(attempt.id)
        try:
            return await self._begin_and_send(generation, attempt, route, provider, call)
        finally:
            self._sending.discard(attempt.id)

    async def _begin_and_send(
        self, generation: Generation, attempt: Attempt, route: Route, provider: Provider, call: HttpCall
    ) -> Fact | None:
        begun = await self._begin(generation, attempt)
        if begun is not None:
            return begun.fact
        reach("submitting_nothing_sent")
        started = self._clock.now()
        fact = await self._send(generation, attempt, route, provider, call)
        failure = None if fact is None else fact.failure
        self._health.submitted(route.provider, route.model, attempt.id, failure)
        log.info(
            "submit_finished",
            generation=generation.id,
            attempt=attempt.id,
            provider=provider.name,
            model=route.model,
            kind=failure.kind if failure is not None else None,
            upstream_code=failure.upstream_code if failure is not None else None,
            **_logged(None if fact is None else fact.upstream),
            duration_seconds=round((self._clock.now() - started).total_seconds(), 3),
        )
        if failure is not None:
            await self._inputs.forget(generation.request.input, generation.key, provider, failure)
        return fact

    async def _prepare(self, generation: Generation, attempt: Attempt, route: Route, provider: Provider) -> HttpCall:
        """The call, with the inputs in the form that the provider takes; may be repeated."""
        request = generation.request
        ready = await self._inputs.ready(generation, attempt, provider)
        return provider.adapter.to_upstream(
            UpstreamRequest(
                attempt_id=attempt.id,
                model=route.model,
                row=route.row,
                prompt=request.prompt,
                input=ready,
                settings=route.settings,
                count=len(attempt.slots),
                options=request.provider_options.get(provider.name, {}),
                form=attempt.form,
                callback_url=self._callback_url(provider, attempt.id),
            )
        )

    async def _begin(self, generation: Generation, attempt: Attempt) -> "_Stopped | None":
        """Make the intent durable; `None` is the permission to send."""
        version = await patiently(
            self._clock,
            lambda: self._store.begin_submit(attempt.id, generation.fence, self._clock.now()),
            attempt=attempt.id,
        )
        if version is None:
            return _Stopped(None)
        # Clock, fence and status once more: since the commit this process may have been stopped for long, or the
        # client have cancelled.
        now = await patiently(self._clock, lambda: self._store.get(generation.id), attempt=attempt.id)
        overtaken = now is None or now.fence != generation.fence or now.status.terminal
        if now is None or overtaken or self._clock.now() >= generation.deadline_at:
            return _Stopped(_not_sent(attempt, failed(FailureKind.TIMED_OUT)))
        if missing_slots(now, attempt) != attempt.slots or not within_limit(now):
            return _Stopped(_not_sent(attempt, None))  # what is still missing is reserved anew
        return None

    async def _send(
        self, generation: Generation, attempt: Attempt, route: Route, provider: Provider, call: HttpCall
    ) -> Ended | None:
        try:
            signed = provider.adapter.authorize(call, provider.credential, self._clock.now())
        except Exception:  # still nothing was sent
            log.exception("translation_failed", attempt=attempt.id, provider=provider.name)
            return _not_sent(attempt, _BROKEN)
        reach("sent_no_reply")
        try:
            reply = await self._upstream.send(
                signed,
                base_url=provider.base_url,
                timeout_seconds=provider.polling(route.model).submit_timeout_seconds,
                headers=provider.headers,
                fresh=True,
            )
        except NotSent as error:
            log.warning("submit_not_sent", attempt=attempt.id, provider=provider.name, error=str(error))
            return _not_sent(attempt, failed(FailureKind.UNAVAILABLE))
        except NoAnswer as error:
            log.warning("submit_unanswered", attempt=attempt.id, provider=provider.name, error=str(error))
            return _unknown(attempt, UpstreamAnswer(message=clean(str(error)) or None))
        except Exception:  # what nobody has thought of proves nothing
            log.exception("submit_broken", attempt=attempt.id, provider=provider.name)
            return _unknown(attempt, None)
        answer = _answer_of(reply)
        try:
            outcome = read_submit(provider.adapter, call, reply)
            if isinstance(outcome, Failed):
                return self._refused(attempt, provider, call, reply=reply, failure=outcome, answer=answer)
        except Exception:  # a reply that breaks an adapter is a reply that nobody understood
            log.exception("reply_not_understood", attempt=attempt.id, provider=provider.name, status=reply.status)
            return _unknown(attempt, answer)
        log.info(
            "submission_receipt",
            generation=generation.id,
            attempt=attempt.id,
            provider=provider.name,
            tasks=[ref.id for ref in outcome[:TASKS_MAX]],
            beyond=len(outcome[TASKS_MAX:]),
            **_logged(answer),
        )
        if attempt.form:
            self._forms[route.provider, route.model] = attempt.form
        reach("reply_read_not_committed")
        await self._accept(generation, attempt.id, outcome[:TASKS_MAX], answer)
        reach("accepted")
        return None

    def _refused(
        self,
        attempt: Attempt,
        provider: Provider,
        call: HttpCall,
        *,
        reply: HttpReply,
        failure: Failed,
        answer: UpstreamAnswer,
    ) -> Ended:
        if failure.kind is FailureKind.AMBIGUOUS:
            return Ended(attempt_id=attempt.id, state=AttemptState.UNKNOWN, failure=failure, upstream=answer)
        wait = retry_after_seconds(reply, self._clock.now)
        if wait is None and failure.kind is FailureKind.RATE_LIMITED:
            wait = provider.adapter.rate_limit_seconds
        elif wait is None and failure.kind is FailureKind.UNAVAILABLE:
            wait = provider.adapter.unavailable_seconds
        amend = provider.adapter.amend
        return Ended(
            attempt_id=attempt.id,
            state=AttemptState.REFUSED,
            failure=failure,
            retry_after_seconds=wait,
            amend_form=amend(call, reply) if amend is not None and provider.form is None else None,
            upstream=answer,
        )

    async def _accept(
        self, generation: Generation, attempt_id: str, refs: tuple[TaskRef, ...], answer: UpstreamAnswer
    ) -> None:
        """Store the task references, however long the store takes: this is what was paid for."""
        tasks = accepted(generation, attempt_id, refs, self._clock.now()).attempt.tasks
        version = await patiently(
            self._clock, lambda: self._store.accept(attempt_id, tasks, self._clock.now(), answer), attempt=attempt_id
        )
        if version is None:  # the generation was deleted
            log.error("task_not_adopted", attempt=attempt_id, tasks=[ref.id for ref in refs])

    async def _read(self, attempt: Attempt, poll: Poll, provider: Provider) -> Fact:
        adapter = provider.adapter
        ref = attempt.tasks[poll.index].ref
        asked_at = self._clock.now()
        # The last reading before the content call is the ordinary one, which every version of a provider knows.
        by_refresh = poll.how == "refresh" or (poll.how == "content" and adapter.content is None)
        again = adapter.refresh if by_refresh else None
        try:
            call = adapter.authorize((again or adapter.poll)(ref), provider.credential, self._clock.now())
            reply = await self._upstream.send(
                call,
                base_url=provider.base_url,
                timeout_seconds=provider.read_timeout_seconds,
                headers=provider.headers,
            )
            if reply.status == HTTPStatus.TOO_MANY_REQUESTS:
                self._health.reads[provider.name].was_refused()
            snapshot = read_poll(adapter, reply, provider.base_url)
            if isinstance(snapshot, PollRefused):
                lost = snapshot.not_found
                log.info("poll_refused", attempt=attempt.id, provider=provider.name, status=reply.status, lost=lost)
                wait = retry_after_seconds(reply, self._clock.now)
                return _unread(poll, asked_at, not_found=lost, retry_after_seconds=wait)
        except (NotSent, NoAnswer, UnreadableReply) as error:
            log.info("poll_failed", attempt=attempt.id, provider=provider.name, error=str(error))
            return _unread(poll, asked_at)
        except Exception:  # a reply that breaks an adapter says nothing about the task
            log.exception("poll_not_understood", attempt=attempt.id, provider=provider.name)
            return _unread(poll, asked_at)
        self._health.reads[provider.name].went_well()
        if isinstance(snapshot, Pending):
            if snapshot.unknown_status:
                self._note(provider.name, snapshot.raw_status)
            if snapshot.result_missing and poll.how == "content":
                return await self._last_chance(attempt, poll, provider, ref, asked_at)
        return _seen(poll, asked_at, snapshot)

    async def _last_chance(
        self, attempt: Attempt, poll: Poll, provider: Provider, ref: TaskRef, asked_at: datetime
    ) -> Fact:
        """The grace for "done" without a file is over: the provider's own content call, where it has one."""
        missing = _seen(poll, asked_at, failed(FailureKind.RESULT_MISSING))
        if provider.adapter.content is None:
            return missing
        try:
            call = provider.adapter.content(ref)
            response = await self._upstream.stream(
                provider.adapter.authorize(call, provider.credential, self._clock.now()),
                base_url=provider.base_url,
                timeout_seconds=provider.read_timeout_seconds,
                headers=provider.headers,
            )
            try:
                # A redirect leads to the file, or to what turns out not to be one when it is fetched.
                is_file = response.status_code in REDIRECTS or (
                    response.status_code in {*WHOLE, HTTPStatus.PARTIAL_CONTENT} and await _begins_a_file(response)
                )
            finally:
                await response.aclose()
        except (NotSent, NoAnswer, httpx.TransportError) as error:
            log.info("content_failed", attempt=attempt.id, provider=provider.name, error=str(error))
            return _unread(poll, asked_at)
        except Exception:  # an adapter that breaks says nothing about the file
            log.exception("content_not_understood", attempt=attempt.id, provider=provider.name)
            return _unread(poll, asked_at)
        if response.status_code in _NO_CONTENT:
            return missing
        if not is_file:
            return _unread(poll, asked_at)  # nothing is said about the file
        there = Artifact(
            url=provider.base_url + call.path,
            content_type=response.headers.get("content-type"),
            needs_credential=True,
        )
        return _seen(poll, asked_at, Completed((there,)))

    def _note(self, provider: str, word: str) -> None:
        """Log a status that no table has, once."""
        if (provider, word) not in self._noted and len(self._noted) < _NOTED_MAX:
            self._noted.add((provider, word))
            log.warning("unknown_status", provider=provider, raw_status=word[:100])


class _Stopped(Struct, frozen=True):
    """Do not send; the fact to report, if any."""

    fact: Fact | None


def _seen(poll: Poll, asked_at: datetime, snapshot: TaskSnapshot) -> Read:
    return Read(attempt_id=poll.attempt_id, index=poll.index, asked_at=asked_at, snapshot=snapshot)


def _unread(
    poll: Poll,
    asked_at: datetime,
    *,
    not_found: bool = False,
    unreadable: bool = False,
    retry_after_seconds: float | None = None,
) -> Unread:
    return Unread(
        attempt_id=poll.attempt_id,
        index=poll.index,
        asked_at=asked_at,
        not_found=not_found,
        unreadable=unreadable,
        retry_after_seconds=retry_after_seconds,
    )


def _not_sent(attempt: Attempt, failure: Failed | None) -> Ended:
    return Ended(attempt_id=attempt.id, state=AttemptState.NOT_SENT, failure=failure)


def _unknown(attempt: Attempt, answer: UpstreamAnswer | None) -> Ended:
    failure = failed(FailureKind.AMBIGUOUS)
    return Ended(attempt_id=attempt.id, state=AttemptState.UNKNOWN, failure=failure, upstream=answer)


def _answer_of(reply: HttpReply) -> UpstreamAnswer:
    """What is kept of the answer; what cannot be read of it must never change what the answer means."""
    try:
        return answer_of(reply)
    except Exception:
        log.exception("answer_not_read", status=reply.status)
        return UpstreamAnswer(status=reply.status)


def _logged(answer: UpstreamAnswer | None) -> dict[str, object]:
    """The fields of a log line about an answer."""
    if answer is None:
        return {}
    charge = answer.charge
    return {
        "status": answer.status,
        "upstream_request_id": answer.request_id,
        "message": answer.message,
        **({"charge": charge.amount, "charge_unit": charge.unit} if charge is not None else {}),
    }


async def _begins_a_file(response: httpx.Response) -> bool:
    """Whether the body is a media file by its type or by its first bytes: a page of a proxy comes with 200 too."""
    content_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type.startswith("video/"):
        return True
    decoder = BodyDecoder(response.headers.get("content-encoding", ""), RESULT_MAX)
    begun = b""
    try:
        async for chunk in response.aiter_raw():
            for piece in decoder.pieces(chunk):
                begun += piece
                if len(begun) >= _FILE_HEAD:
                    return begins_video(begun)
        begun += decoder.finish()
    except UndecodableBody:
        return False
    return begins_video(begun)
