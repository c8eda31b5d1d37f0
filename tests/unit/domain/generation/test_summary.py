"""What the public may know about a generation: statuses, files, costs, errors and warnings."""

from typing import Any

import pytest
from msgspec import UNSET
from msgspec.structs import replace

from gateway.domain.adapter.failure import FailureKind
from gateway.domain.adapter.messages import failed
from gateway.domain.adapter.request import Settings
from gateway.domain.adapter.task import Artifact, Status, TaskRef
from gateway.domain.adapter.upstream_answer import UpstreamAnswer
from gateway.domain.generation.model import Adaptation, Attempt, AttemptState, Generation, Output, Route, Task
from gateway.domain.generation.summary import (
    AttemptStatus,
    Deviation,
    FileSource,
    Usage,
    attempt_status,
    deviations,
    summarize,
)
from gateway.domain.health.circuit import CircuitState
from gateway.domain.health.route_health import RouteHealth
from tests.unit.builders import T0, after, archived_file, generation

from ....cases import every

FILE = Artifact(url="https://files.example/a.mp4", thumbnail_url="https://files.example/a.jpg", width=640)
PRIVATE_FILE = replace(FILE, needs_credential=True)


def attempt(state: AttemptState, *, number: int = 1, **values: Any) -> Attempt:
    fields: dict[str, Any] = {"route": 0, "slots": (0,), "reserved_at": T0, **values}
    return Attempt(id=f"att_{number}", number=number, state=state, **fields)


def task(status: Status, *, slot: int = 0, **values: Any) -> Task:
    return Task(ref=TaskRef(id=f"t{slot}"), slot=slot, status=status, **values)


def with_output(*attempts: Attempt, **values: Any) -> Generation:
    return replace(generation(), outputs=(Output(index=0, **values),), attempts=attempts)


def priced(generation_: Generation, *prices: float | None) -> Generation:
    routes = zip(generation_.plan.routes, prices, strict=True)
    plan = replace(generation_.plan, routes=tuple(replace(route, cost_usd=price) for route, price in routes))
    return replace(generation_, plan=plan)


# Attempts


@pytest.mark.parametrize(
    ("state", "status"),
    [
        (AttemptState.RESERVED, "queued"),
        (AttemptState.SUBMITTING, "queued"),
        (AttemptState.ACCEPTED, "queued"),
        (AttemptState.NOT_SENT, "failed"),
        (AttemptState.REFUSED, "failed"),
        (AttemptState.UNKNOWN, "unknown"),
        (AttemptState.COMPLETED, "completed"),
        (AttemptState.FAILED, "failed"),
        (AttemptState.ABANDONED, "abandoned"),
    ],
)
def test_each_state_of_an_attempt_has_a_public_status(state: AttemptState, status: str) -> None:
    assert attempt_status(attempt(state, failure=failed(FailureKind.UNAVAILABLE))) == status


@pytest.mark.parametrize("state", AttemptState)
def test_only_an_abandoned_or_unsent_attempt_without_a_failure_is_cancelled(state: AttemptState) -> None:
    is_cancelled = attempt_status(attempt(state)) is AttemptStatus.CANCELLED
    assert is_cancelled is (state in {AttemptState.ABANDONED, AttemptState.NOT_SENT})


@pytest.mark.parametrize("status", Status)
def test_an_accepted_attempt_is_in_progress_once_a_task_has_left_the_queue(status: Status) -> None:
    accepted = attempt(AttemptState.ACCEPTED, tasks=(task(Status.QUEUED), task(status, slot=1)))
    assert attempt_status(accepted) == ("queued" if status is Status.QUEUED else "in_progress")


def test_an_attempt_started_when_it_was_sent_else_when_it_was_reserved() -> None:
    sent = attempt(AttemptState.ACCEPTED, sent_at=after(3))
    unsent = attempt(AttemptState.RESERVED, number=2)
    starts = [item.started_at for item in summarize(with_output(sent, unsent)).attempts]
    assert starts == [after(3), T0]


# Outputs


@pytest.mark.parametrize(
    ("artifact", "archived", "source"),
    [
        (FILE, True, FileSource.ARCHIVE),
        (PRIVATE_FILE, True, FileSource.ARCHIVE),
        (PRIVATE_FILE, False, FileSource.PASS_THROUGH),
        (FILE, False, FileSource.PROVIDER),
        (None, False, None),
    ],
)
def test_where_a_client_gets_a_file(artifact: Artifact | None, archived: bool, source: FileSource | None) -> None:
    ended = with_output(status=Status.COMPLETED, artifact=artifact, kept=archived_file() if archived else None)
    assert summarize(ended).outputs[0].source is source


def test_a_url_that_needs_the_provider_s_key_is_not_public() -> None:
    urls = [
        summarize(with_output(status=Status.COMPLETED, artifact=file)).outputs[0].provider_url
        for file in (FILE, PRIVATE_FILE)
    ]
    assert urls == [FILE.url, None]


def test_an_open_output_shows_no_file() -> None:
    """Its file is being archived and may still prove not to be a video."""
    output = summarize(with_output(status=Status.IN_PROGRESS, artifact=FILE, expires_at=after(60))).outputs[0]
    assert (output.status, output.source, output.provider_url, output.expires_at) == ("in_progress", None, None, None)


def test_an_output_is_described_by_its_archived_file_first() -> None:
    measured = replace(archived_file(), width=1280)
    both = with_output(status=Status.COMPLETED, artifact=FILE, kept=measured, expires_at=after(60))
    output = summarize(both).outputs[0]
    assert (output.width, output.content_type, output.expires_at) == (1280, "video/mp4", measured.kept_until)
    link = summarize(with_output(status=Status.COMPLETED, artifact=FILE, expires_at=after(60))).outputs[0]
    assert (link.width, link.expires_at) == (640, after(60))


@pytest.mark.parametrize(
    ("state", "task_status", "status"),
    [
        (AttemptState.ACCEPTED, Status.QUEUED, Status.QUEUED),
        (AttemptState.ACCEPTED, Status.IN_PROGRESS, Status.IN_PROGRESS),
        (AttemptState.ABANDONED, Status.IN_PROGRESS, Status.IN_PROGRESS),
        (AttemptState.ACCEPTED, Status.FAILED, Status.QUEUED),
        (AttemptState.FAILED, Status.IN_PROGRESS, Status.QUEUED),
    ],
)
def test_an_open_output_has_the_status_of_its_polled_task(
    state: AttemptState, task_status: Status, status: Status
) -> None:
    running = with_output(attempt(state, tasks=(task(task_status),)))
    assert summarize(running).outputs[0].status is status


def test_the_task_of_another_output_does_not_count() -> None:
    running = with_output(attempt(AttemptState.ACCEPTED, tasks=(task(Status.IN_PROGRESS, slot=1),)))
    assert summarize(running).outputs[0].status is Status.QUEUED


# The whole


def test_progress_is_a_whole_percentage() -> None:
    assert summarize(replace(generation(), progress=0.346)).progress_percent == 35


def test_the_next_try_is_known_more_exactly_with_the_health_of_the_routes() -> None:
    refused = attempt(
        AttemptState.REFUSED, failure=failed(FailureKind.RATE_LIMITED), ended_at=after(1), retry_after_seconds=20
    )
    waiting = with_output(refused)
    assert summarize(waiting).next_try_at == after(21)
    broken = RouteHealth(circuit=CircuitState.OPEN, retry_at=after(90))
    later = summarize(waiting, lambda _provider, _model: broken).next_try_at
    assert later is not None
    assert after(90) <= later < after(92)


@pytest.mark.parametrize(
    ("state", "values", "started", "words"),
    [
        (AttemptState.RESERVED, {}, False, "No provider had started"),
        (AttemptState.NOT_SENT, {}, False, "No provider had started"),
        (AttemptState.REFUSED, {}, False, "No provider had started"),
        (AttemptState.SUBMITTING, {}, True, "may have started"),
        (AttemptState.ACCEPTED, {}, True, "had accepted"),
        (AttemptState.UNKNOWN, {}, True, "may have started"),
        (AttemptState.ABANDONED, {}, True, "may have started"),
        (AttemptState.ABANDONED, {"accepted_at": T0}, True, "had accepted"),
        (AttemptState.FAILED, {"accepted_at": T0}, True, "had accepted"),
    ],
)
def test_whether_a_provider_had_started_before_a_cancel(
    state: AttemptState, values: dict[str, Any], started: bool, words: str
) -> None:
    cancelled = replace(with_output(attempt(state, **values)), status=Status.CANCELLED)
    cancellation = summarize(cancelled).cancellation
    assert cancellation is not None
    assert cancellation.provider_started is started
    assert words in cancellation.message
    assert ("may bill" in cancellation.message) is started


def test_only_a_cancelled_generation_has_a_cancellation() -> None:
    others = [status for status in Status if status is not Status.CANCELLED]
    assert {summarize(replace(generation(), status=status)).cancellation for status in others} == {None}


# Costs


def test_usage_adds_up_what_was_billed_and_what_may_have_been() -> None:
    done = attempt(AttemptState.COMPLETED, tasks=(task(Status.COMPLETED),))
    unclear = attempt(AttemptState.UNKNOWN, number=2)
    refused = attempt(AttemptState.REFUSED, number=3, failure=failed(FailureKind.RATE_LIMITED))
    usage = summarize(priced(with_output(done, unclear, refused), 0.1)).usage
    assert usage == Usage(cost_usd=0.2, maybe_usd=0.1, estimated=True)


def test_usage_of_a_priced_plan_without_a_purchase_is_zero() -> None:
    assert summarize(priced(generation(), 0.1)).usage == Usage(cost_usd=0.0, maybe_usd=0.0)


@pytest.mark.parametrize("prices", [(None, None), (None, 0.1)])
def test_usage_is_not_known_where_a_used_route_has_no_price(prices: tuple[float | None, ...]) -> None:
    bought = replace(
        generation("acme/one", "beta/two"),
        attempts=(attempt(AttemptState.COMPLETED, tasks=(task(Status.COMPLETED),)),),
    )
    assert summarize(priced(bought, *prices)).usage == Usage(cost_usd=None, maybe_usd=None)


# Errors


@every("kind", FailureKind)
def test_the_code_of_an_error_is_the_kind_of_the_failure(kind: FailureKind) -> None:
    error = summarize(replace(generation(), status=Status.FAILED, failure=failed(kind, "no"))).error
    assert error is not None
    assert error.code == ("submission_unknown" if kind is FailureKind.AMBIGUOUS else kind.value)


def test_an_expired_generation_says_what_it_met_unless_it_only_ran_out_of_time() -> None:
    messages = [
        error.message
        for kind in (FailureKind.TIMED_OUT, FailureKind.RATE_LIMITED)
        if (error := summarize(replace(generation(), status=Status.EXPIRED, failure=failed(kind, "Busy."))).error)
    ]
    start = "The deadline passed before a result was there."
    assert messages == [start, f"{start} {failed(FailureKind.RATE_LIMITED, 'Busy.').message}"]


def test_an_error_mentions_an_earlier_submit_without_a_clear_answer() -> None:
    answer = UpstreamAnswer(status=502, request_id="r1", message="bad gateway")
    unclear = with_output(attempt(AttemptState.UNKNOWN, upstream=answer))
    for kind, earlier in ((FailureKind.TASK_FAILED, True), (FailureKind.AMBIGUOUS, False)):
        error = summarize(replace(unclear, status=Status.FAILED, failure=failed(kind))).error
        assert error is not None
        assert ("An earlier submit got no clear answer" in error.message) is earlier
        assert error.message.endswith(" acme answered the submit with HTTP 502, request id r1: bad gateway")


def test_an_answer_that_broke_off_is_described_too() -> None:
    unclear = with_output(attempt(AttemptState.UNKNOWN, upstream=UpstreamAnswer(message="cut")))
    error = summarize(replace(unclear, status=Status.FAILED, failure=failed(FailureKind.AMBIGUOUS))).error
    assert error is not None
    assert error.message.endswith(" acme answered the submit with no complete reply: cut")


def test_a_generation_that_has_not_failed_has_no_error() -> None:
    assert summarize(with_output(attempt(AttemptState.UNKNOWN))).error is None


# Warnings


def route(**values: Any) -> Route:
    return Route(provider="acme", model="one", capability_name="one", **values)


def test_a_value_that_nobody_gave_and_the_model_requires_is_a_warning() -> None:
    """The parameter has its public name, `duration` and not `duration_seconds`."""
    sent = route(settings=Settings(duration_seconds=5, resolution="720p", generate_audio=False))
    warnings = list(deviations(Settings(resolution="hd"), sent))
    assert warnings == [
        Deviation(type="defaulted", param="duration", used=5, provider="acme"),
        Deviation(type="defaulted", param="generate_audio", used=False, provider="acme"),
    ]


def test_a_value_that_a_route_changed_is_a_warning_once() -> None:
    changed = route(
        settings=Settings(duration_seconds=5), adaptations=(Adaptation(param="duration", asked=4, given=5),)
    )
    assert list(deviations(Settings(), changed)) == [
        Deviation(type="adapted", param="duration", requested=4, used=5, provider="acme")
    ]


def test_a_ratio_that_is_left_out_is_explained() -> None:
    adaptation = Adaptation(param="aspect_ratio", asked="16:9", given=None)
    left_out, nearest = (
        next(deviations(Settings(aspect_ratio="16:9"), route(settings=settings, adaptations=(adaptation,))))
        for settings in (Settings(), Settings(aspect_ratio="4:3"))
    )
    assert "the aspect ratio of the image" in str(left_out.message)
    assert nearest.message is UNSET


def test_only_routes_that_accepted_work_have_warnings() -> None:
    planned = generation("acme/one", "beta/two")
    routes = tuple(replace(route, settings=Settings(seed=1)) for route in planned.plan.routes)
    attempts = (
        attempt(AttemptState.REFUSED, failure=failed(FailureKind.RATE_LIMITED)),
        attempt(AttemptState.ACCEPTED, number=2, route=1, accepted_at=T0),
    )
    used = replace(planned, plan=replace(planned.plan, routes=routes), attempts=attempts)
    assert [warning.provider for warning in summarize(used).warnings] == ["beta"]


def test_routes_that_max_cost_kept_from_a_failed_output_are_named() -> None:
    """A route that was tried, and a provider that refused before it accepted anything, are not among them."""
    tried = replace(
        generation("acme/one", "beta/two", "beta/three", "acme/four", "gamma/five"),
        outputs=(Output(index=0, status=Status.FAILED),),
        attempts=(
            attempt(AttemptState.FAILED, accepted_at=T0),
            attempt(AttemptState.REFUSED, number=2, route=1),
        ),
    )
    limited = replace(tried, request=replace(tried.request, max_cost=0.5))
    warnings = summarize(limited).warnings
    assert [(warning.type, warning.param, warning.provider) for warning in warnings] == [
        ("not_tried", "max_cost", "acme"),
        ("not_tried", "max_cost", "gamma"),
    ]
    assert "0.5 USD" in str(warnings[0].message)
    assert summarize(tried).warnings == ()
    extra = replace(limited, outputs=(Output(index=0, status=Status.FAILED, extra=True),))
    assert summarize(extra).warnings == ()


@pytest.mark.parametrize(
    ("status", "artifact", "archived", "warns"),
    [
        (Status.COMPLETED, FILE, False, True),
        (Status.COMPLETED, FILE, True, False),
        (Status.COMPLETED, None, False, False),
        (Status.IN_PROGRESS, FILE, False, False),
    ],
)
def test_a_file_that_only_the_provider_has_is_a_warning(
    status: Status, artifact: Artifact | None, archived: bool, warns: bool
) -> None:
    output = with_output(status=status, artifact=artifact, kept=archived_file() if archived else None)
    assert [warning.type for warning in summarize(output).warnings] == (["not_kept"] if warns else [])
