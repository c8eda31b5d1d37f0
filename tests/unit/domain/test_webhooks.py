"""The rules of webhooks: filters, the retry schedule, the meaning of an answer, secrets and signatures."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from standardwebhooks import Webhook, WebhookVerificationError

from gateway.api.generations.webhook_url import read_webhook_url
from gateway.api.webhooks.views import Events
from gateway.domain.adapter.task import Status
from gateway.domain.errors import InvalidParameter
from gateway.domain.webhooks import (
    ALL_EVENTS,
    EVENTS,
    OPENAI_EVENTS,
    RETRY_AFTER_MAX,
    TEST,
    TRIES_KEPT,
    Delivery,
    DeliveryState,
    DeliveryTry,
    Endpoint,
    EventName,
    SigningSecret,
    again,
    event_id,
    event_type,
    live,
    receiver,
    rotated,
    tried,
    wants,
)
from gateway.ids import ulid
from gateway.webhooks.endpoints import EndpointChanges
from gateway.webhooks.signing import SigningKeys, signed

from ...cases import every

T0 = datetime(2026, 3, 2, 12, tzinfo=UTC)
DELIVERY = Delivery(
    id="dlv_1",
    key="alice",
    event_id="evt_1",
    type=EVENTS[0],
    url="https://a.example/",
    created_at=T0,
    generation_id="gen_1",
    next_at=T0,
)
ENDPOINT = Endpoint(
    id="whe_1", key="alice", url="https://a.example/", events=("*",), secrets=(SigningSecret("one"),), created_at=T0
)


def answered(status: int | None, at: datetime = T0, seconds: float = 2) -> DeliveryTry:
    return DeliveryTry(at=at, duration_seconds=seconds, status=status, error="no answer" if status is None else None)


def after(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def test_the_events_are_the_ends_of_generations() -> None:
    assert set(EVENTS) == {
        f"{kind}.generation.{status_name}"
        for kind in ("video", "image")
        for status_name in ("completed", "failed", "cancelled", "expired")
    }
    assert get_args(EventName) == EVENTS
    (names, _) = get_args(get_args(Events)[0])
    assert get_args(names) == (ALL_EVENTS, *EVENTS, *OPENAI_EVENTS)
    ends = [status for status in Status if status.terminal]
    assert {event_type(kind, status) for kind in ("video", "image") for status in ends} == set(EVENTS)


def test_a_generation_has_one_event() -> None:
    assert event_id("gen_01JDKQ00000000000000000000") == "evt_01JDKQ00000000000000000000"


@pytest.mark.parametrize(
    ("events", "event", "expected"),
    [
        (("*",), EVENTS[0], True),
        (("*",), "image.generation.completed", True),
        ((EVENTS[0],), EVENTS[0], True),
        ((EVENTS[0],), EVENTS[1], False),
        (("*",), "video.completed", False),
        (("*", "video.completed"), "video.completed", True),
        (("video.completed",), "video.failed", False),
    ],
)
def test_a_filter_has_what_it_names(events: tuple[str, ...], event: str, expected: bool) -> None:
    assert wants(events, event) is expected


@pytest.mark.parametrize("status", [200, 204, 299])
def test_any_2xx_is_success(status: int) -> None:
    done = tried(DELIVERY, answered(status))

    assert (done.state, done.next_at, done.tries) == (DeliveryState.SUCCEEDED, None, (answered(status),))


@every("status", [None, 199, 301, 302, 307, 400, 401, 404, 408, 429, 500, 503])
def test_every_other_answer_is_tried_again_by_the_schedule_and_then_given_up(status: int | None) -> None:
    delivery, at, waits = DELIVERY, T0, []
    while delivery.state is DeliveryState.PENDING:
        delivery = tried(delivery, answered(status, at))
        if delivery.next_at is not None:
            waits.append((delivery.next_at - at).total_seconds() - 2)  # counted from the end of the try
            at = delivery.next_at

    assert waits == [5, 300, 1800, 7200, 18_000, 36_000, 36_000]
    assert (delivery.state, len(delivery.tries), delivery.next_at) == (DeliveryState.DEAD, 8, None)


def test_gone_and_forbidden_urls_are_final() -> None:
    assert tried(DELIVERY, answered(410)).state is DeliveryState.DEAD
    assert tried(DELIVERY, answered(None), final=True).state is DeliveryState.DEAD


@pytest.mark.parametrize("status", [None, 429, 500])
def test_a_test_is_tried_once(status: int | None) -> None:
    done = tried(replace(DELIVERY, type=TEST, generation_id=None), answered(status), retry_after_seconds=5)

    assert (done.state, done.next_at, len(done.tries)) == (DeliveryState.DEAD, None, 1)
    assert tried(again(done, done.url, after(9)), answered(status)).state is DeliveryState.DEAD


@pytest.mark.parametrize(
    ("status", "retry_after", "expected"),
    [
        (429, 60, 60),
        (503, 60, 60),
        (503, 1, 5),  # a wait that is shorter than the schedule has no effect
        (500, 60, 5),
        (429, 10 * RETRY_AFTER_MAX, RETRY_AFTER_MAX),
        (429, None, 5),
    ],
)
def test_a_receiver_may_ask_for_time(status: int, retry_after: float | None, expected: float) -> None:
    assert tried(DELIVERY, answered(status), retry_after_seconds=retry_after).next_at == after(2 + expected)


def test_a_redelivery_has_the_whole_schedule_before_it_and_keeps_its_event() -> None:
    dead = replace(DELIVERY, state=DeliveryState.DEAD, next_at=None, retries=7, tries=(answered(500),))

    sent = again(dead, "https://b.example/", after(9))

    assert (sent.state, sent.next_at, sent.retries) == (DeliveryState.PENDING, after(9), 0)
    assert (sent.url, sent.event_id, sent.tries) == ("https://b.example/", dead.event_id, dead.tries)


def test_the_newest_tries_are_kept() -> None:
    delivery = DELIVERY
    for number in range(TRIES_KEPT + 3):
        delivery = tried(delivery, answered(500, after(number)))

    assert [attempt.at for attempt in delivery.tries] == [after(number) for number in range(3, TRIES_KEPT + 3)]


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://A.example/hook", "a.example:443"),
        ("HTTP://a.example./", "a.example:80"),
        ("http://[::1]:9/x", "::1:9"),
        ("https://a.example:8443/?q=1", "a.example:8443"),
    ],
)
def test_a_receiver_is_a_host_and_a_port(url: str, expected: str) -> None:
    assert receiver(url) == expected


@settings(max_examples=150)
@given(st.builds("https://{}".format, st.text("aZ0.:@[]/\\?#%-_é ", min_size=1, max_size=16)) | st.text(max_size=20))
@example("https://a:65536/")
@example("https://[::1")
def test_every_url_that_is_taken_has_a_receiver(url: str) -> None:
    """The end of a generation is stored together with its deliveries: a URL that breaks one would lose the end."""
    try:
        taken = read_webhook_url(url, "url")
    except InvalidParameter:
        return
    assert receiver(taken)


def test_two_secrets_live_while_one_is_being_rotated() -> None:
    first = rotated(ENDPOINT, "two", T0, 60)
    assert live(first.secrets, after(59)) == ("two", "one")
    assert live(first.secrets, after(60)) == ("two",)

    assert live(rotated(first, "three", after(1), 60).secrets, after(2)) == ("three", "two")
    assert live(rotated(first, "three", after(1), 0).secrets, after(1)) == ("three",)


@pytest.mark.parametrize(
    ("disabled", "change", "expected"),
    [
        (None, EndpointChanges(disabled=True), "requested"),
        ("gone", EndpointChanges(disabled=True), "gone"),
        ("gone", EndpointChanges(description="x"), "gone"),
        ("gone", EndpointChanges(disabled=False), None),
    ],
)
def test_a_disabled_endpoint_keeps_its_reason(disabled: Any, change: EndpointChanges, expected: str | None) -> None:
    assert change.of(replace(ENDPOINT, disabled=disabled)).disabled == expected


def test_a_value_that_the_client_leaves_out_stays() -> None:
    changed = EndpointChanges(description=None, events=("a",)).of(replace(ENDPOINT, description="x"))

    assert changed == replace(ENDPOINT, description=None, events=("a",))


def test_without_configuration_every_key_has_a_secret_of_its_own() -> None:
    keys = SigningKeys([], b"r" * 32)

    (alice,), (bob,) = keys.of("alice"), keys.of("bob")
    assert alice != bob
    assert alice == SigningKeys([], b"r" * 32).shown("alice")
    assert alice != SigningKeys([], b"s" * 32).shown("alice")
    assert alice.startswith("whsec_")


def test_the_operators_secrets_are_not_shown() -> None:
    keys = SigningKeys(["whsec_new", "whsec_old"], b"r" * 32)

    assert (keys.of("alice"), keys.shown("alice")) == (("whsec_new", "whsec_old"), None)


def test_the_library_verifies_what_is_signed_by_either_secret() -> None:
    old, new, other = (SigningKeys([], name * 32).of("alice")[0] for name in (b"a", b"b", b"c"))
    body = json.dumps({"type": EVENTS[0], "word": "ä"}, ensure_ascii=False)

    headers = signed("evt_1", body, (new, old), datetime.now(UTC))

    assert [Webhook(secret).verify(body, headers)["word"] for secret in (old, new)] == ["ä", "ä"]
    with pytest.raises(WebhookVerificationError):
        Webhook(other).verify(body, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(new).verify(body.replace("ä", "b"), headers)


def test_ids_order_as_their_moments() -> None:
    ids = [ulid(after(number), bytes([255 - number] * 10)) for number in range(5)]

    assert ids == sorted(ids)
    assert {len(id_) for id_ in ids} == {26}
