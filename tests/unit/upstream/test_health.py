"""What the gateway learns about its providers from their answers, and which of it is logged."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace as with_changes
from datetime import UTC, datetime, timedelta
from math import inf
from typing import Any

import pytest
import structlog
from msgspec.structs import replace

from gateway.clock import Timer
from gateway.domain.adapter.contract import Credential
from gateway.domain.adapter.failure import FailureKind
from gateway.domain.adapter.messages import failed
from gateway.domain.adapter.task import Failed
from gateway.domain.generation.model import Attempt, AttemptState, Generation
from gateway.domain.generation.transitions import AddAttempt, SaveAttempt
from gateway.domain.health.circuit import OPEN_SECONDS, PROBE_SECONDS, CircuitState
from gateway.domain.health.route_health import Completion, RouteHealth
from gateway.engine.health_feedback import report_discarded, report_ended, report_reserved
from gateway.log_observer import LogObserver
from gateway.settings.load import ProviderSettings, Secret, Settings
from gateway.upstream.health import ASK_AGAIN_SECONDS, TIMES_MAX, TIMES_SECONDS, CompletionTimes, Health
from gateway.upstream.provider import bind
from gateway.upstream.registry import load_adapters

from ..builders import generation

CLOSED, HALF_OPEN, OPEN = CircuitState.CLOSED, CircuitState.HALF_OPEN, CircuitState.OPEN
V, KL, FOX = ("keevx", "V"), ("keevx", "KL"), ("foxapi", "kling-v3-text-to-video")
DOWN = failed(FailureKind.UNAVAILABLE)


class StillClock:
    def __init__(self) -> None:
        self.moment = datetime(2026, 1, 1, tzinfo=UTC)

    def now(self) -> datetime:
        return self.moment

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        raise AssertionError("health waits for nothing")

    def pass_seconds(self, seconds: float) -> None:
        self.moment += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> StillClock:
    return StillClock()


@pytest.fixture
def health(clock: StillClock) -> Health:
    account = ProviderSettings(api_key=Secret.of("sk-upstream"), concurrency=8)
    return Health(
        bind(Settings(providers={"keevx": account, "foxapi": account}), load_adapters()), clock, LogObserver()
    )


@pytest.fixture
def events() -> Iterator[list[Mapping[str, Any]]]:
    with structlog.testing.capture_logs() as captured:
        yield captured


def break_(health: Health, route: tuple[str, str] = V, kind: FailureKind = FailureKind.OUT_OF_CREDIT) -> None:
    """One submit on the route, whose failure opens the circuit of the account."""
    health.on_submit(*route, "att_broken", failed(kind))


def test_health_is_good_at_the_start(health: Health) -> None:
    assert health.of(*V) == RouteHealth()
    assert health.reason(*V) is None
    assert health.completion_times(*V) is None
    assert (health.submits["keevx"].limit, health.reads["foxapi"].limit) == (8, 512)


def test_provider_that_is_no_longer_configured_has_good_health(health: Health) -> None:
    gone = ("relay", "kling-v1")
    health.attempt_reserved(*gone, "att_1", retry=True)
    for _ in range(9):
        health.on_submit(*gone, "att_1", DOWN)
        health.on_task_ended(*gone, "att_1", failure=DOWN, seconds=9.0)
    health.on_submit(*gone, "att_1", failed(FailureKind.RATE_LIMITED))
    health.on_task_ended(*gone, "att_1", failure=None, seconds=9.0)
    health.attempt_discarded(*gone, "att_1", retry=True)
    health.release_probe(*gone, "att_1")
    assert not health.is_probe(*gone, "att_1")
    assert health.of(*gone) == RouteHealth()
    assert (health.circuit(*gone), health.reason(*gone), health.completion_times(*gone)) == (CLOSED, None, None)


# Circuits


def test_account_that_refuses_is_open_for_all_its_models_and_no_other_account(health: Health) -> None:
    break_(health)
    assert [health.of(*route).circuit for route in (V, KL, FOX)] == [OPEN, OPEN, CLOSED]
    assert (health.reason(*KL), health.reason(*FOX)) == (FailureKind.OUT_OF_CREDIT, None)


def test_faults_of_all_models_count_for_the_account(health: Health) -> None:
    for route in (V, KL, V, KL):
        health.on_submit(*route, "att", DOWN)
    assert health.circuit(*V) is CLOSED
    health.on_submit(*V, "att", DOWN)
    assert (health.circuit(*V), health.circuit(*KL)) == (OPEN, OPEN)


@pytest.mark.parametrize("of_task", [False, True])
def test_failure_of_a_model_opens_that_model_s_circuit_alone(health: Health, of_task: bool) -> None:
    refused = failed(FailureKind.CREDENTIAL_REFUSED, of_model=True)
    if of_task:
        health.on_task_ended(*V, "att_1", failure=refused, seconds=9.0)
    else:
        health.on_submit(*V, "att_1", refused)
    assert (health.circuit(*V), health.circuit(*KL)) == (OPEN, CLOSED)
    assert health.reason(*V) is FailureKind.CREDENTIAL_REFUSED


def test_worse_of_account_and_model_counts(health: Health, clock: StillClock) -> None:
    health.on_submit(*V, "att_1", failed(FailureKind.CREDENTIAL_REFUSED, of_model=True))
    clock.pass_seconds(OPEN_SECONDS)
    assert health.circuit(*V) is HALF_OPEN
    break_(health, KL)
    assert health.circuit(*V) is OPEN
    assert health.reason(*V) is FailureKind.OUT_OF_CREDIT, "the reason of the account comes first"


def test_probe_is_the_first_attempt_that_begins(health: Health, clock: StillClock) -> None:
    break_(health)
    clock.pass_seconds(OPEN_SECONDS)
    assert (health.circuit(*V), health.circuit(*KL)) == (HALF_OPEN, HALF_OPEN)
    health.attempt_reserved(*V, "att_1", retry=False)
    assert (health.circuit(*V), health.circuit(*KL)) == (OPEN, OPEN), "one probe is for all models of the account"


def test_attempt_that_begins_on_an_open_circuit_is_not_a_probe(health: Health, clock: StillClock) -> None:
    break_(health)
    health.attempt_reserved(*V, "att_1", retry=False)
    clock.pass_seconds(OPEN_SECONDS)
    assert health.circuit(*V) is HALF_OPEN
    health.on_submit(*V, "att_1", DOWN)
    assert health.circuit(*V) is HALF_OPEN, "it was reserved before the circuit was half-open, so it is not the probe"


def test_accepted_probe_closes(health: Health, clock: StillClock) -> None:
    break_(health)
    clock.pass_seconds(OPEN_SECONDS)
    health.attempt_reserved(*V, "att_1", retry=False)
    health.on_submit(*V, "att_1", None)
    assert (health.of(*V).circuit, health.of(*KL)) == (CLOSED, RouteHealth())
    assert health.reason(*V) is None


def test_route_without_a_time_is_tried_by_one_at_a_time(health: Health, clock: StillClock) -> None:
    assert health.of(*V).seconds is None
    health.attempt_reserved(*V, "att_1", retry=False)
    assert health.of(*V).seconds == inf
    clock.pass_seconds(ASK_AGAIN_SECONDS)
    assert health.of(*V).seconds is None
    health.attempt_reserved(*V, "att_2", retry=False)
    health.on_task_ended(*V, "att_2", failure=None, seconds=40.0)
    assert health.of(*V).seconds == 40.0


def test_probe_that_is_not_sent_lets_the_next_one_try(health: Health, clock: StillClock) -> None:
    break_(health)
    clock.pass_seconds(OPEN_SECONDS)
    health.attempt_reserved(*V, "att_1", retry=False)
    assert health.circuit(*V) is OPEN
    health.release_probe(*V, "att_2")
    assert health.circuit(*V) is OPEN
    health.release_probe(*V, "att_1")
    assert health.circuit(*V) is HALF_OPEN


def test_failed_probe_doubles_the_time(health: Health, clock: StillClock) -> None:
    break_(health)
    clock.pass_seconds(OPEN_SECONDS)
    health.attempt_reserved(*V, "att_1", retry=False)
    health.on_submit(*V, "att_1", failed(FailureKind.AMBIGUOUS))
    clock.pass_seconds(2 * OPEN_SECONDS - 1)
    assert (health.circuit(*V), health.reason(*V)) == (OPEN, FailureKind.AMBIGUOUS)
    clock.pass_seconds(1)
    assert health.circuit(*V) is HALF_OPEN


@pytest.mark.parametrize("kind", [FailureKind.INVALID_REQUEST, FailureKind.RATE_LIMITED])
def test_probe_that_proved_nothing_lets_the_next_one_try(health: Health, clock: StillClock, kind: FailureKind) -> None:
    break_(health)
    clock.pass_seconds(OPEN_SECONDS)
    health.attempt_reserved(*V, "att_1", retry=False)
    health.on_submit(*V, "att_1", failed(kind))
    assert health.circuit(*KL) is HALF_OPEN


def test_probe_that_failed_for_its_model_leaves_the_account_to_the_next(health: Health, clock: StillClock) -> None:
    break_(health)
    clock.pass_seconds(OPEN_SECONDS)
    health.attempt_reserved(*V, "att_1", retry=False)
    health.on_submit(*V, "att_1", failed(FailureKind.CREDENTIAL_REFUSED, of_model=True))
    assert (health.circuit(*V), health.circuit(*KL)) == (OPEN, HALF_OPEN)


def test_probe_of_a_model_is_released_when_the_account_refuses(health: Health, clock: StillClock) -> None:
    health.on_submit(*V, "att_0", failed(FailureKind.CREDENTIAL_REFUSED, of_model=True))
    clock.pass_seconds(OPEN_SECONDS)
    health.attempt_reserved(*V, "att_1", retry=False)
    break_(health, KL)
    health.on_submit(*V, "att_1", DOWN)
    clock.pass_seconds(OPEN_SECONDS)
    health.attempt_reserved(*KL, "att_2", retry=False)
    health.on_submit(*KL, "att_2", None)
    assert (health.circuit(*V), health.circuit(*KL)) == (HALF_OPEN, CLOSED)


def test_probe_that_does_not_end_is_not_waited_for(health: Health, clock: StillClock) -> None:
    break_(health)
    clock.pass_seconds(OPEN_SECONDS)
    health.attempt_reserved(*V, "att_1", retry=False)
    clock.pass_seconds(PROBE_SECONDS)
    assert health.circuit(*V) is HALF_OPEN


def test_late_tasks_neither_close_nor_prolong(health: Health, clock: StillClock) -> None:
    break_(health)
    health.on_task_ended(*V, "att_1", failure=None, seconds=300.0)
    for number in range(9):
        health.on_task_ended(*V, f"att_{number}", failure=DOWN, seconds=300.0)
    assert health.circuit(*V) is OPEN
    clock.pass_seconds(OPEN_SECONDS)
    assert health.circuit(*V) is HALF_OPEN
    assert health.completion_times(*V) is not None, "the completion time counts although the circuit is open"


def test_tasks_that_fail_open_though_every_submit_is_accepted(health: Health, clock: StillClock) -> None:
    for number in range(5):
        assert health.circuit(*V) is CLOSED
        health.on_submit(*V, f"att_{number}", None)
        clock.pass_seconds(10)
        health.on_task_ended(*V, f"att_{number}", failure=failed(FailureKind.TASK_FAILED), seconds=10.0)
    assert health.circuit(*V) is OPEN


def open_by_tasks(health: Health, *, of_model: bool = False) -> None:
    for number in range(5):
        failure = failed(FailureKind.TASK_FAILED, of_model=of_model)
        health.on_task_ended(*V, f"att_old_{number}", failure=failure, seconds=10.0)


@pytest.mark.parametrize("of_model", [False, True])
def test_circuit_that_failed_tasks_opened_closes_with_the_probe_s_result(
    health: Health, clock: StillClock, *, of_model: bool
) -> None:
    open_by_tasks(health, of_model=of_model)
    clock.pass_seconds(OPEN_SECONDS)
    health.attempt_reserved(*V, "att_1", retry=False)
    health.on_submit(*V, "att_1", None)
    assert health.circuit(*V) is OPEN, "an accepted task may fail like those before it"
    health.on_task_ended(*V, "att_2", failure=None, seconds=OPEN_SECONDS + 9)
    assert health.circuit(*V) is OPEN, "this task was accepted before the circuit opened"
    clock.pass_seconds(60)
    health.on_task_ended(*V, "att_1", failure=None, seconds=60.0)
    assert (health.circuit(*V), health.reason(*V)) == (CLOSED, None)


def test_probe_s_task_that_fails_too_doubles_the_time(health: Health, clock: StillClock) -> None:
    open_by_tasks(health)
    clock.pass_seconds(OPEN_SECONDS)
    health.attempt_reserved(*V, "att_1", retry=False)
    health.on_submit(*V, "att_1", None)
    clock.pass_seconds(60)
    health.on_task_ended(*V, "att_1", failure=failed(FailureKind.RESULT_MISSING), seconds=60.0)
    clock.pass_seconds(2 * OPEN_SECONDS - 1)
    assert (health.circuit(*V), health.reason(*V)) == (OPEN, FailureKind.RESULT_MISSING)
    clock.pass_seconds(1)
    assert health.circuit(*V) is HALF_OPEN


def test_probe_s_task_that_failed_for_its_model_leaves_the_account_to_the_next(
    health: Health, clock: StillClock
) -> None:
    open_by_tasks(health)
    clock.pass_seconds(OPEN_SECONDS)
    health.attempt_reserved(*V, "att_1", retry=False)
    health.on_submit(*V, "att_1", None)
    health.on_task_ended(*V, "att_1", failure=failed(FailureKind.TASK_FAILED, of_model=True), seconds=9.0)
    assert health.circuit(*KL) is HALF_OPEN
    assert not health.is_probe(*V, "att_1")


def test_which_attempt_is_the_probe(health: Health, clock: StillClock) -> None:
    break_(health)
    health.attempt_reserved(*V, "att_1", retry=False)
    assert not health.is_probe(*V, "att_1"), "the time is not over"
    clock.pass_seconds(OPEN_SECONDS)
    health.attempt_reserved(*V, "att_2", retry=False)
    health.attempt_reserved(*V, "att_3", retry=False)
    assert [health.is_probe(*V, f"att_{number}") for number in (1, 2, 3)] == [False, True, False]
    assert health.is_probe(*KL, "att_2"), "the probe of the account is that of all its models"
    health.release_probe(*V, "att_2")
    assert not health.is_probe(*V, "att_2")


def test_accepted_submit_that_is_not_the_probe_leaves_the_circuit_open(health: Health, clock: StillClock) -> None:
    health.attempt_reserved(*V, "att_before", retry=False)
    break_(health)
    health.on_submit(*V, "att_before", None)
    assert health.circuit(*V) is OPEN
    clock.pass_seconds(OPEN_SECONDS)
    health.attempt_reserved(*V, "att_probe", retry=False)
    health.on_submit(*V, "att_before", None)
    assert health.circuit(*V) is OPEN
    health.on_submit(*V, "att_probe", None)
    assert health.circuit(*V) is CLOSED


# Logged


def test_broken_account_is_logged_as_an_error_and_its_recovery_once(
    health: Health, clock: StillClock, events: list[Mapping[str, Any]]
) -> None:
    break_(health, kind=FailureKind.CREDENTIAL_REFUSED)
    health.on_submit(*V, "att_2", DOWN)
    clock.pass_seconds(OPEN_SECONDS)
    health.attempt_reserved(*V, "att_3", retry=False)
    health.on_submit(*V, "att_3", DOWN)
    clock.pass_seconds(2 * OPEN_SECONDS)
    health.attempt_reserved(*V, "att_4", retry=False)
    health.on_submit(*V, "att_4", None)
    health.on_submit(*V, "att_5", None)
    named = {"provider": "keevx", "model": None}
    assert events == [
        {"event": "circuit_opened", "log_level": "error", "kind": "credential_refused", "seconds": 30.0, **named},
        {"event": "circuit_opened", "log_level": "warning", "kind": "unavailable", "seconds": 60.0, **named},
        {"event": "circuit_closed", "log_level": "info", **named},
    ]


def test_circuit_of_a_model_is_logged_with_its_name(
    health: Health, clock: StillClock, events: list[Mapping[str, Any]]
) -> None:
    open_by_tasks(health, of_model=True)
    clock.pass_seconds(OPEN_SECONDS)
    health.attempt_reserved(*V, "att_1", retry=False)
    health.on_submit(*V, "att_1", None)
    health.on_task_ended(*V, "att_1", failure=None, seconds=9.0)
    assert [(line["event"], line["log_level"], line["provider"], line["model"]) for line in events] == [
        ("circuit_opened", "warning", "keevx", "V"),
        ("circuit_closed", "info", "keevx", "V"),
    ]


def test_outcomes_that_open_no_circuit_are_not_logged(health: Health, events: list[Mapping[str, Any]]) -> None:
    for kind in (FailureKind.INVALID_REQUEST, FailureKind.RATE_LIMITED, FailureKind.UNAVAILABLE, None):
        health.on_submit(*V, "att_1", None if kind is None else failed(kind))
    assert events == []


# Retries, and the limit of concurrency


def test_repeat_waits_until_the_open_time_of_the_circuit_is_over(health: Health, clock: StillClock) -> None:
    break_(health)
    end = clock.now() + timedelta(seconds=OPEN_SECONDS)
    assert health.of(*V).retry_at == end
    clock.pass_seconds(OPEN_SECONDS)
    assert health.of(*V).retry_at is None
    health.attempt_reserved(*V, "att_1", retry=False)
    assert health.of(*V).retry_at == end + timedelta(seconds=5)


def test_repeats_beyond_the_budget_have_to_wait(health: Health, clock: StillClock) -> None:
    for number in range(20):
        assert health.of(*V).retry_at is None
        health.attempt_reserved(*V, f"att_{number}", retry=True)
    assert health.of(*KL).retry_at == clock.now() + timedelta(seconds=5), "all models share the budget of the account"
    assert health.of(*FOX).retry_at is None
    clock.pass_seconds(5)
    assert health.of(*V).retry_at is None


def test_first_submits_earn_repeats(health: Health) -> None:
    for number in range(20):
        health.attempt_reserved(*V, f"att_{number}", retry=True)
    for number in range(5):
        assert health.of(*V).retry_at is not None
        health.attempt_reserved(*V, f"first_{number}", retry=False)
    assert health.of(*V).retry_at is None


def test_repeats_that_are_accepted_go_on_without_end(health: Health) -> None:
    for number in range(100):
        assert health.of(*V).retry_at is None, number
        health.attempt_reserved(*V, f"att_{number}", retry=True)
        health.on_submit(*V, f"att_{number}", None)


@pytest.mark.parametrize("failure", [DOWN, failed(FailureKind.RATE_LIMITED), failed(FailureKind.INVALID_REQUEST)])
def test_repeat_that_is_refused_is_spent(health: Health, clock: StillClock, failure: Failed) -> None:
    for number in range(20):
        health.attempt_reserved(*V, f"att_{number}", retry=True)
        health.on_submit(*V, f"att_{number}", failure)
    clock.pass_seconds(0.1)
    assert health.of(*V).retry_at is not None


def test_accepted_submit_pays_for_a_repeat_of_this_provider_alone(health: Health) -> None:
    for number in range(20):
        health.attempt_reserved(*V, f"att_{number}", retry=True)
        health.attempt_reserved(*FOX, f"att_{number}", retry=True)
    health.on_submit(*KL, "att_1", None)
    assert health.of(*V).retry_at is None
    assert health.of(*FOX).retry_at is not None


def test_attempt_that_could_not_be_stored_has_changed_nothing(health: Health, clock: StillClock) -> None:
    for number in range(20):
        health.attempt_reserved(*V, f"att_{number}", retry=True)
    spent = health.of(*V).retry_at
    assert spent is not None
    for number in range(20):
        health.attempt_reserved(*V, f"none_{number}", retry=False)
        health.attempt_discarded(*V, f"none_{number}", retry=False)
    assert health.of(*V).retry_at == spent, "an attempt that was not sent earns nothing"
    clock.pass_seconds(50)
    for number in range(100):
        assert health.of(*V).retry_at is None, number
        health.attempt_reserved(*V, f"again_{number}", retry=True)
        health.attempt_discarded(*V, f"again_{number}", retry=True)


def test_probe_that_could_not_be_stored_lets_the_next_one_try(health: Health, clock: StillClock) -> None:
    break_(health)
    clock.pass_seconds(OPEN_SECONDS)
    health.attempt_reserved(*V, "att_1", retry=False)
    health.attempt_discarded(*V, "att_1", retry=False)
    assert health.circuit(*V) is HALF_OPEN


def test_later_of_circuit_and_repeats_counts(health: Health, clock: StillClock) -> None:
    for number in range(30):
        health.attempt_reserved(*V, f"att_{number}", retry=True)
    assert health.of(*V).retry_at == clock.now() + timedelta(seconds=10)
    break_(health)
    assert health.of(*V).retry_at == clock.now() + timedelta(seconds=OPEN_SECONDS)


def test_too_many_requests_lower_the_submits_of_this_provider_alone(health: Health) -> None:
    health.on_submit(*V, "att_1", failed(FailureKind.RATE_LIMITED))
    assert (health.submits["keevx"].limit, health.submits["foxapi"].limit) == (4, 8)
    assert health.reads["keevx"].limit == 512, "polls have a limit of their own"


async def test_accepted_submits_raise_the_limit_again(health: Health) -> None:
    health.on_submit(*V, "att_1", failed(FailureKind.RATE_LIMITED))
    limiter = health.submits["keevx"]
    async with limiter.slot("a"), limiter.slot("a"), limiter.slot("b"), limiter.slot("b"):
        for number in range(5):
            health.on_submit(*V, f"att_{number}", None)
    assert limiter.limit == 5


# Completion times


def completions(clock: StillClock, *seconds: float) -> list[Completion]:
    return [Completion(provider="keevx", model="V", ended_at=clock.now(), seconds=duration) for duration in seconds]


@pytest.mark.parametrize(
    ("seconds", "median", "p90"),
    [
        ([7.0], 7.0, 7.0),
        ([10.0, 20.0], 15.0, 19.0),
        ([30.0, 10.0, 20.0], 20.0, 28.0),
        ([float(number) for number in range(1, 102)][-100:], 51.5, 91.1),
        ([5.0, 5.0, 5.0, 5.0, 500.0], 5.0, 302.0),
    ],
)
def test_median_and_ninetieth_percentile(
    health: Health, clock: StillClock, seconds: list[float], median: float, p90: float
) -> None:
    health.learn(completions(clock, *seconds))
    assert health.completion_times(*V) == CompletionTimes(samples=len(seconds), median=median, p90=p90)
    assert health.of(*V).seconds == median
    assert health.of(*KL).seconds is None


def test_only_the_last_times_are_remembered(health: Health, clock: StillClock) -> None:
    health.learn(completions(clock, *[1000.0] * TIMES_MAX, *[10.0] * TIMES_MAX))
    assert health.completion_times(*V) == CompletionTimes(samples=TIMES_MAX, median=10.0, p90=10.0)


def test_old_times_are_forgotten(health: Health, clock: StillClock) -> None:
    health.learn(completions(clock, 1000.0))
    clock.pass_seconds(TIMES_SECONDS)
    health.on_task_ended(*V, "att_1", failure=None, seconds=10.0)
    assert health.completion_times(*V) == CompletionTimes(samples=2, median=505.0, p90=901.0)
    clock.pass_seconds(1)
    assert health.completion_times(*V) == CompletionTimes(samples=1, median=10.0, p90=10.0)
    clock.pass_seconds(TIMES_SECONDS)
    assert (health.completion_times(*V), health.of(*V)) == (None, RouteHealth())


def test_completion_times_are_computed_only_when_one_is_added_or_forgotten(health: Health, clock: StillClock) -> None:
    health.learn(completions(clock, 10.0, 20.0))
    first = health.completion_times(*V)
    assert health.completion_times(*V) is first
    health.learn(completions(clock, 30.0))
    assert health.completion_times(*V) == CompletionTimes(samples=3, median=20.0, p90=28.0)


def test_only_results_count_for_the_completion_times(health: Health) -> None:
    health.on_submit(*V, "att_1", None)
    health.on_task_ended(*V, "att_1", failure=failed(FailureKind.TASK_FAILED), seconds=3.0)
    assert health.completion_times(*V) is None


# What the steps of a generation report


def attempt(number: int, state: AttemptState, **more: Any) -> Attempt:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    base = Attempt(id=f"att_{number}", number=number, route=0, slots=(0,), state=state, reserved_at=at)
    return replace(base, **more)


def made(*attempts: Attempt) -> Generation:
    return replace(generation("keevx/V", "keevx/KL"), attempts=attempts)


def test_attempt_is_a_probe_from_its_reservation(health: Health, clock: StillClock) -> None:
    break_(health)
    clock.pass_seconds(OPEN_SECONDS)
    first = attempt(1, AttemptState.RESERVED)
    report_reserved(health, made(first), [AddAttempt(first)])
    assert health.circuit(*V) is OPEN
    health.on_submit(*V, first.id, None)
    assert health.circuit(*V) is CLOSED


def test_repeats_cost_and_first_tries_do_not(health: Health) -> None:
    reserved = made(*(attempt(number, AttemptState.NOT_SENT) for number in range(1, 40)))
    report_reserved(health, reserved, [AddAttempt(attempt) for attempt in reserved.attempts[:21]])
    assert health.of(*V).retry_at is not None
    for _ in range(10):
        report_reserved(health, reserved, [AddAttempt(reserved.attempts[0])])
    assert health.of(*V).retry_at is None


def test_report_of_attempts_that_were_not_stored_is_undone(health: Health, clock: StillClock) -> None:
    reserved = made(*(attempt(number, AttemptState.NOT_SENT) for number in range(1, 22)))
    writes = [AddAttempt(attempt) for attempt in reserved.attempts]
    for _ in range(9):
        report_reserved(health, reserved, writes)
        report_discarded(health, reserved, writes)
    assert health.of(*V).retry_at is None
    break_(health)
    clock.pass_seconds(OPEN_SECONDS)
    report_reserved(health, reserved, writes)
    assert health.circuit(*V) is OPEN
    report_discarded(health, reserved, writes)
    assert health.circuit(*V) is HALF_OPEN


def test_result_of_the_probe_closes_and_that_of_another_attempt_does_not(health: Health, clock: StillClock) -> None:
    open_by_tasks(health)
    clock.pass_seconds(OPEN_SECONDS)
    probe = attempt(1, AttemptState.RESERVED)
    report_reserved(health, made(probe), [AddAttempt(probe)])
    health.on_submit(*V, probe.id, None)
    other = replace(ended(AttemptState.COMPLETED), id="att_another")
    report_ended(health, made(other), [SaveAttempt(other, AttemptState.ACCEPTED)])
    assert health.circuit(*V) is OPEN
    after = ended(AttemptState.COMPLETED)
    report_ended(health, made(after), [SaveAttempt(after, AttemptState.ACCEPTED)])
    assert health.circuit(*V) is CLOSED


def ended(state: AttemptState, **more: Any) -> Attempt:
    accepted_at = datetime(2026, 1, 1, tzinfo=UTC)
    return attempt(1, state, accepted_at=accepted_at, ended_at=accepted_at + timedelta(seconds=42), **more)


@pytest.mark.parametrize(
    ("after", "counts"),
    [
        (ended(AttemptState.FAILED, failure=DOWN), True),
        (ended(AttemptState.ABANDONED, failure=failed(FailureKind.TIMED_OUT)), True),
        (ended(AttemptState.ABANDONED), False),  # no longer wanted, or cancelled
        (ended(AttemptState.ABANDONED, failure=DOWN), False),
        (ended(AttemptState.COMPLETED), False),
        (ended(AttemptState.COMPLETED, failure=DOWN), False),  # some of its tasks delivered a result
        (attempt(1, AttemptState.REFUSED, failure=DOWN, ended_at=datetime(2026, 1, 1, tzinfo=UTC)), False),
    ],
)
def test_end_of_tasks_counts_if_the_provider_caused_it(health: Health, after: Attempt, counts: bool) -> None:
    for _ in range(5):
        report_ended(health, made(after), [SaveAttempt(after, AttemptState.ACCEPTED)])
    assert health.circuit(*V) is (OPEN if counts else CLOSED)


def test_result_adds_its_completion_time(health: Health) -> None:
    after = ended(AttemptState.COMPLETED)
    report_ended(health, made(after), [SaveAttempt(after, AttemptState.ACCEPTED)])
    assert health.completion_times(*V) == CompletionTimes(samples=1, median=42.0, p90=42.0)


def test_end_is_reported_once_however_often_the_attempt_is_saved(health: Health) -> None:
    given_up = ended(AttemptState.ABANDONED, failure=failed(FailureKind.TIMED_OUT))
    for _ in range(9):
        report_ended(health, made(given_up), [SaveAttempt(given_up, AttemptState.ABANDONED)])
    assert health.of(*V) == RouteHealth()


def test_reading_that_ends_nothing_is_not_reported(health: Health) -> None:
    running = attempt(1, AttemptState.ACCEPTED, accepted_at=datetime(2026, 1, 1, tzinfo=UTC), failure=DOWN)
    for _ in range(9):
        report_ended(health, made(running), [SaveAttempt(running, AttemptState.ACCEPTED)])
    assert health.of(*V) == RouteHealth()


def test_a_reload_keeps_what_was_learnt_of_accounts_that_stay(health: Health, clock: StillClock) -> None:
    before = dict(health._providers)
    for provider, model in (V, FOX):
        failure = failed(FailureKind.CREDENTIAL_REFUSED)
        health.on_submit(provider, model, "att_1", failure)
        health.submits[provider].record_429()
        health.on_task_ended(provider, model, "att_2", failure=None, seconds=30)
        health.on_submit(provider, model, "att_3", failure)
    renewed = with_changes(before[FOX[0]], credential=Credential(api_key="sk-renewed"))
    after = {V[0]: with_changes(before[V[0]], concurrency=6), FOX[0]: renewed, "new": with_changes(renewed, name="new")}

    health._providers.clear()  # type: ignore[attr-defined]  # the composition root owns it
    health._providers.update(after)  # type: ignore[attr-defined]  # as above
    health.reconfigure(before, after)

    assert (health.circuit(*V), health.circuit(*FOX)) == (OPEN, CLOSED)
    assert [health.submits[name].limit for name in (V[0], FOX[0], "new")] == [4, 8, 8]
    assert (health.submits[V[0]].ceiling, health.completion_times(*FOX) is not None) == (6, True)
    health.on_submit(*FOX, "att_4", failed(FailureKind.CREDENTIAL_REFUSED), account=before[FOX[0]])
    assert health.circuit(*FOX) is CLOSED, "the key that was refused is not the one that counts now"
    health.on_submit(*FOX, "att_5", failed(FailureKind.CREDENTIAL_REFUSED), account=renewed)
    assert health.circuit(*FOX) is OPEN


def test_a_process_uses_its_share_of_an_account_and_keeps_what_it_learnt(health: Health) -> None:
    submits, reads = health.submits["keevx"], health.reads["keevx"]
    assert (submits.limit, reads.limit) == (8, 512)
    health.share_with(3)
    assert (submits.limit, reads.limit) == (3, 170), "the ledger counts submits, and nothing counts polls"
    health.on_submit(*V, "att_1", failed(FailureKind.RATE_LIMITED))
    health.share_with(2)
    assert (submits.limit, submits.ceiling, health.submits["foxapi"].limit) == (2, 4, 4)
    health.share_with(600)
    assert (submits.limit, reads.limit) == (1, 1)
    health.share_with(1)
    assert health.submits["foxapi"].limit == 8
    assert submits.limit == 4, "half of its account, as it has learnt, although its share was 1 meanwhile"
