"""Sends one attempt to its provider. Every submit is a purchase, and every lost answer may be a lost video.

The steps, in this order: wait for a free slot, prepare the inputs and the call, make the intent durable, check once
more that the submit is still wanted, send it, read the answer, store the task ids. A failure before the call is sent
costs nothing: the attempt ends as `not_sent`, or as `refused`, and another attempt may follow. A failure after that
proves nothing: the attempt ends as `unknown`, because a task may exist.
"""

from collections.abc import Callable, Mapping
from hashlib import sha256

import structlog
from msgspec import Struct
from msgspec.structs import replace

from gateway.clock import Clock, sleep
from gateway.domain.adapter.contract import HttpCall, HttpReply
from gateway.domain.adapter.failure import FailureKind
from gateway.domain.adapter.messages import clean, failed
from gateway.domain.adapter.options import options_of
from gateway.domain.adapter.redacted_reading import without_secrets
from gateway.domain.adapter.request import UpstreamRequest
from gateway.domain.adapter.task import Failed, TaskRef
from gateway.domain.adapter.task_reading import read_submit
from gateway.domain.adapter.upstream_answer import UpstreamAnswer, answer_of
from gateway.domain.backoff import spread
from gateway.domain.errors import StoreUnavailable
from gateway.domain.generation.facts_and_effects import SubmitAccepted, SubmitEnded
from gateway.domain.generation.lifecycle import accept
from gateway.domain.generation.model import Attempt, AttemptState, Generation, Route
from gateway.domain.generation.next_attempt import has_another_route
from gateway.domain.generation.reconciliation import TASKS_MAX
from gateway.domain.health.circuit import CircuitState
from gateway.domain.redaction import Redactor
from gateway.engine.liveness import ALONE, Liveness
from gateway.engine.route_profiles import RouteProfiles
from gateway.engine.store_retry import until_store_works
from gateway.engine.submit_permission import NoPlaceError, NotWantedError, SubmitPermissions, not_sent
from gateway.failpoints import reach
from gateway.inputs.prepare import InputPreparer
from gateway.inputs.provider_uploads import InputRefused
from gateway.log_observer import answer_fields
from gateway.store.port import Store, SubmitPlace
from gateway.telemetry import Observer, SubmitFinished
from gateway.upstream.client import NoAnswer, NotSent, Upstream, retry_after_seconds
from gateway.upstream.health import Health
from gateway.upstream.provider import Provider

log = structlog.get_logger()
Outcome = SubmitEnded | SubmitAccepted | None  # None: it is stored, and the generation has to be read again
ASK_AGAIN_SECONDS = 0.2  # while other processes have every place for submits to a provider
CLIENT_NAME = 12  # characters of the name of a client that a provider may see


class Submission(Struct, frozen=True):
    """An attempt on its way to its provider, as its generation was when the driver started it."""

    generation: Generation
    attempt: Attempt
    route: Route


class Submitter:
    """Carries out submits. One instance serves all drivers of the process."""

    def __init__(
        self,
        *,
        store: Store,
        providers: Mapping[str, Provider],
        upstream: Upstream,
        inputs: InputPreparer,
        health: Health,
        profiles: RouteProfiles,
        clock: Clock,
        observer: Observer,
        callback_url: Callable[[Provider, str], str | None],
        liveness: Liveness = ALONE,
    ) -> None:
        """`callback_url` gives the URL at which a provider may report that an attempt's tasks have changed.

        `liveness` says whether another process may have taken the generations of this one over.
        """
        self._store = store
        self._providers = providers
        self._upstream = upstream
        self._inputs = inputs
        self._health = health
        self._profiles = profiles
        self._clock = clock
        self._observer = observer
        self._callback_url = callback_url
        self._liveness = liveness
        self._permissions = SubmitPermissions(store, clock, note_hold=health.note_hold)
        self._sending: set[str] = set()  # attempts from the beginning of their intent to the end of their submit
        self._stopping: set[str] = set()  # some of them, which are not tried again if the provider has no place

    def is_sending(self, attempt_id: str) -> bool:
        """Whether the submit may have begun to leave. From then on it must be brought to its end."""
        return attempt_id in self._sending

    def stop_waiting(self, attempt_id: str) -> None:
        """End a submit that `is_sending` if it turns out that it has not begun and would wait for a place."""
        self._stopping.add(attempt_id)

    async def submit(self, submission: Submission) -> Outcome:
        """Submit a reserved attempt. Returns why it brought no task; otherwise its outcome is stored already."""
        attempt, route = submission.attempt, submission.route
        ended: Outcome = not_sent(attempt, failed(FailureKind.UNAVAILABLE))
        if self._provider_of(route) is None:
            return ended
        try:
            # While the store cannot be read, the slot is free between two tries: a submit without an image can use it.
            ended = await until_store_works(self._clock, lambda: self._in_free_slot(submission), attempt=attempt.id)
        finally:
            self._stopping.discard(attempt.id)
            if isinstance(ended, SubmitEnded):
                # Also when it was cancelled: if it was the probe of a circuit, another takes over.
                self._health.release_probe(route.provider, route.model, attempt.id)
        return ended

    def _provider_of(self, route: Route) -> Provider | None:
        """The account for a submit on this route, as it is configured now; `None` if it takes no such work."""
        provider = self._providers.get(route.provider)
        if provider is None or not provider.accepts_work or route.model not in provider.models:
            return None
        return provider

    async def _in_free_slot(self, submission: Submission) -> Outcome:
        """Wait until the provider's limit of simultaneous submits allows one more, then submit."""
        route = submission.route
        async with self._health.submits[route.provider].slot(submission.generation.owner):
            while True:
                try:
                    return await self._in_slot(submission)
                except NoPlaceError:  # the attempt stays reserved; as in the wait for a slot, it may be cancelled
                    if submission.attempt.id in self._stopping:
                        return None
                    seed = f"{submission.attempt.id}:{self._clock.now().timestamp()}"
                    await sleep(self._clock, ASK_AGAIN_SECONDS * (0.75 + spread(seed) / 2))

    async def _in_slot(self, submission: Submission) -> Outcome:
        """Submit, in a slot of this process. Raises `NoPlaceError` if the provider has no place for this process."""
        generation, attempt, route = submission.generation, submission.attempt, submission.route
        provider = self._provider_of(route)  # only now: it may have got another key while this attempt waited
        if provider is None:
            return not_sent(attempt, failed(FailureKind.UNAVAILABLE))
        is_open = self._health.circuit(route.provider, route.model) is CircuitState.OPEN
        is_probe = self._health.is_probe(route.provider, route.model, attempt.id)
        if is_open and not is_probe and has_another_route(generation, attempt, self._health.of):
            # The circuit opened while this attempt waited for its slot. The next route is more likely to work.
            return not_sent(attempt, failed(FailureKind.UNAVAILABLE))
        reach("reserved")
        try:
            call = await self._prepare(submission, provider)
        except StoreUnavailable:
            raise
        except InputRefused as refused:
            self._health.on_submit(route.provider, route.model, attempt.id, refused.failure, account=provider)
            return SubmitEnded(
                attempt_id=attempt.id,
                state=AttemptState.REFUSED,
                failure=refused.failure,
                retry_after_seconds=refused.retry_after_seconds,
            )
        except Exception as error:  # noqa: BLE001  # an adapter may raise anything, and nothing was sent
            return _broken_before_sending(attempt, provider, error)
        await self._liveness.sure()
        self._sending.add(attempt.id)
        try:
            return await self._begin_and_send(submission, provider, call)
        finally:
            self._sending.discard(attempt.id)

    async def _prepare(self, submission: Submission, provider: Provider) -> HttpCall:
        """The call, with every input in the form that the provider takes. Preparing it again costs nothing."""
        generation, attempt, route = submission.generation, submission.attempt, submission.route
        request = generation.request
        ready_input = await self._inputs.ready(generation, attempt, provider)
        return provider.adapter.to_upstream(
            UpstreamRequest(
                attempt_id=attempt.id,
                model=route.model,
                capability_name=route.capability_name,
                prompt=request.prompt,
                input=ready_input,
                settings=route.settings,
                kind=request.kind,
                count=len(attempt.slots),
                options=options_of(request.provider_options, provider.adapter.name, provider.name),
                client=sha256(generation.owner.encode()).hexdigest()[:CLIENT_NAME],
                variant=attempt.variant,
                callback_url=self._callback_url(provider, attempt.id),
            )
        )

    async def _begin_and_send(self, submission: Submission, provider: Provider, call: HttpCall) -> Outcome:
        generation, attempt, route = submission.generation, submission.attempt, submission.route
        try:
            generation = await self._permissions.begin(
                generation, attempt, SubmitPlace(provider.name, provider.concurrency)
            )
        except NotWantedError as stopped:
            return stopped.ended
        submission = Submission(generation, generation.attempt(attempt.id), route)
        reach("submitting_nothing_sent")
        started = self._clock.now()
        outcome = await self._send(submission, provider, call)
        ended = outcome if isinstance(outcome, SubmitEnded) else None
        failure = None if ended is None else ended.failure
        self._health.on_submit(route.provider, route.model, attempt.id, failure, account=provider)
        self._observer.observe(
            SubmitFinished(
                generation=generation.id,
                attempt=attempt.id,
                provider=provider.name,
                model=route.model,
                failure=failure,
                answer=None if ended is None else ended.upstream,
                duration_seconds=(self._clock.now() - started).total_seconds(),
                age_seconds=(self._clock.now() - generation.created_at).total_seconds(),
            )
        )
        if failure is not None:
            await self._inputs.forget(generation.request.input, generation.owner, provider, failure)
        return outcome

    async def _send(self, submission: Submission, provider: Provider, call: HttpCall) -> Outcome:
        """Send the call and store what the answer says. `None`: the provider accepted it."""
        attempt = submission.attempt
        try:
            signed = provider.adapter.authorize(call, provider.credential, self._clock.now())
        except Exception as error:  # noqa: BLE001  # still nothing was sent
            return _broken_before_sending(attempt, provider, error)
        if not self._may_send():  # this process was suspended, or the database did not answer for too long
            return not_sent(attempt, None)
        reach("sent_no_reply")
        try:
            reply = await self._upstream.send(
                signed,
                base_url=provider.base_url,
                timeout_seconds=provider.polling(submission.route.model).submit_timeout_seconds,
                headers=provider.headers,
                fresh=True,
                may_send=None if self._liveness is ALONE else self._may_send,
            )
        except NotSent as error:
            log.warning("submit_not_sent", attempt=attempt.id, provider=provider.name, error=str(error))
            return not_sent(attempt, failed(FailureKind.UNAVAILABLE) if self._may_send() else None)
        except NoAnswer as error:
            log.warning("submit_unanswered", attempt=attempt.id, provider=provider.name, error=str(error))
            answer = UpstreamAnswer(message=clean(str(error)) or None)
            return _unknown(attempt, without_secrets(answer, provider.redactor))
        except Exception:  # an error that is not classified does not prove that nothing was sent
            log.exception("submit_broken", attempt=attempt.id, provider=provider.name)
            return _unknown(attempt, None)
        return await self._read_answer(submission, provider, call, reply)

    def _may_send(self) -> bool:
        """Whether no other process has taken the generations of this one over."""
        return self._liveness.is_sure

    async def _read_answer(
        self, submission: Submission, provider: Provider, call: HttpCall, reply: HttpReply
    ) -> Outcome:
        """Distinguish a refusal, an unclear answer and accepted tasks. The ids of tasks are stored here."""
        generation, attempt, route = submission.generation, submission.attempt, submission.route
        answer = _answer_of(reply, provider.redactor)
        try:
            outcome = without_secrets(read_submit(provider.adapter, call, reply), provider.redactor)
        except Exception:  # the adapter broke on the reply, which may name a task that was paid for
            log.exception("reply_not_understood", attempt=attempt.id, provider=provider.name, status=reply.status)
            return _unknown(attempt, answer)
        if isinstance(outcome, Failed):
            return self._refused(attempt, provider, call, reply, outcome, answer)
        log.info(
            "submission_receipt",
            generation=generation.id,
            attempt=attempt.id,
            provider=provider.name,
            tasks=[ref.id for ref in outcome[:TASKS_MAX]],
            beyond=len(outcome[TASKS_MAX:]),
            **answer_fields(answer),
        )
        self._profiles.remember_variant(route, attempt.variant)
        reach("reply_read_not_committed")
        accepted = await until_store_works(
            self._clock, lambda: self._accept(generation, attempt.id, outcome[:TASKS_MAX], answer), attempt=attempt.id
        )
        reach("accepted")
        return accepted

    def _refused(  # noqa: PLR0917  # all of them describe one refusal
        self,
        attempt: Attempt,
        provider: Provider,
        call: HttpCall,
        reply: HttpReply,
        failure: Failed,
        answer: UpstreamAnswer,
    ) -> SubmitEnded:
        """The fact for an answer that names no task: a clear refusal, or one that leaves open whether a task exists."""
        if failure.kind is FailureKind.AMBIGUOUS:
            return SubmitEnded(attempt_id=attempt.id, state=AttemptState.UNKNOWN, failure=failure, upstream=answer)
        wait_seconds = retry_after_seconds(reply, self._clock.now)
        if wait_seconds is None and failure.kind is FailureKind.RATE_LIMITED:
            wait_seconds = provider.adapter.rate_limit_seconds
        elif wait_seconds is None and failure.kind is FailureKind.UNAVAILABLE:
            wait_seconds = provider.adapter.unavailable_seconds
        return SubmitEnded(
            attempt_id=attempt.id,
            state=AttemptState.REFUSED,
            failure=failure,
            retry_after_seconds=wait_seconds,
            next_variant=_next_variant(attempt, provider, call, reply),
            upstream=answer,
        )

    async def _accept(
        self, begun: Generation, attempt_id: str, refs: tuple[TaskRef, ...], answer: UpstreamAnswer
    ) -> SubmitAccepted | None:
        """Store the task references: they are what was paid for. None if the generation was changed meanwhile."""
        now = self._clock.now()
        generation, writes = accept(begun, attempt_id, refs, now, answer)
        is_expected = begun.attempt(attempt_id).state is AttemptState.SUBMITTING
        version = await self._store.accept_expected(begun, writes, now) if is_expected else None
        if version is not None:
            return SubmitAccepted(began_with=begun.version - 1, generation=replace(generation, version=version))
        tasks = generation.attempt(attempt_id).tasks
        if await self._store.accept(attempt_id, tasks, now, answer) is None:  # the generation was deleted
            log.error("task_not_adopted", attempt=attempt_id, tasks=[ref.id for ref in refs])
        return None


def _next_variant(attempt: Attempt, provider: Provider, call: HttpCall, reply: HttpReply) -> str | None:
    """The variant in which a refused submit may be sent instead; `None` if there is no other or one is configured."""
    next_variant = provider.adapter.next_variant
    if next_variant is None or provider.variant is not None:
        return None
    try:
        return next_variant(call, reply)
    except Exception:  # the refusal is clear all the same: no task exists, and the next route may be tried
        log.exception("next_variant_failed", attempt=attempt.id, provider=provider.name)
        return None


def _broken_before_sending(attempt: Attempt, provider: Provider, error: Exception) -> SubmitEnded:
    """The adapter raised while the call was being made. It costs nothing, and the next route may be tried."""
    log.error("translation_failed", attempt=attempt.id, provider=provider.name, exc_info=error)
    return not_sent(attempt, failed(FailureKind.ADAPTER_FAILED))


def _unknown(attempt: Attempt, answer: UpstreamAnswer | None) -> SubmitEnded:
    """The provider may have accepted the submit: a task may exist, and it may be charged."""
    failure = failed(FailureKind.AMBIGUOUS)
    return SubmitEnded(attempt_id=attempt.id, state=AttemptState.UNKNOWN, failure=failure, upstream=answer)


def _answer_of(reply: HttpReply, redactor: Redactor) -> UpstreamAnswer:
    """What is stored about the answer for support. A fault in reading it must not change what the answer means."""
    try:
        return without_secrets(answer_of(reply), redactor)
    except Exception:  # these details are for support; the meaning of the answer is read elsewhere
        log.exception("answer_not_read", status=reply.status)
        return UpstreamAnswer(status=reply.status)
