"""A second observer beside the log: it sees what the product did, and cannot harm it."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from gateway.domain.generation.model import AttemptState
from gateway.live import Live
from gateway.telemetry import (
    ArchiveFinished,
    AttemptFinished,
    CircuitOpened,
    Event,
    GenerationStatusChanged,
    PollFinished,
    ReadOutcome,
    RequestFinished,
    SubmitFinished,
)

from .conftest import IMAGE_URL, Gateway


class Recorder:
    """Keeps every event, and fails after that."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def observe(self, event: Event) -> None:
        self.events.append(event)
        raise RuntimeError("an observer that always fails")

    def of(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


async def test_an_observer_sees_the_life_of_a_generation(idle: Gateway, events: list[Mapping[str, Any]]) -> None:
    recorder = Recorder()
    idle.observers = (recorder,)
    idle.route("foxapi/kling-v3-image-to-video", "keevx/V")
    idle.sandbox.fault("foxapi", "submit", "401")
    gateway = await idle.start()

    made = await gateway.make(model="m", image=IMAGE_URL, webhook_url="https://hooks.example/x")
    await gateway.client.post(f"/v1/videos/generations/{made['id']}/cancel")
    await gateway.client.delete(f"/v1/videos/generations/{made['id']}")

    assert made["status"] == "completed"
    names = Counter(type(event).__name__ for event in recorder.events)
    assert {name: names[name] for name in ("GenerationCreated", "GenerationDeleted", "DeliveryTried")} == {
        "GenerationCreated": 1,
        "GenerationDeleted": 1,
        "DeliveryTried": 1,
    }
    submits = [(submit.provider, submit.failure and submit.failure.kind) for submit in recorder.of(SubmitFinished)]
    assert submits == [("foxapi", "credential_refused"), ("keevx", None)]
    ends = [(attempt.provider, attempt.state, attempt.kind) for attempt in recorder.of(AttemptFinished)]
    assert ends == [
        ("foxapi", AttemptState.REFUSED, "credential_refused"),
        ("keevx", AttemptState.COMPLETED, None),
    ]
    assert [circuit.kind for circuit in recorder.of(CircuitOpened)] == ["credential_refused"]
    assert [change.status for change in recorder.of(GenerationStatusChanged)][-1] == "completed"
    assert ReadOutcome.READ in {poll.outcome for poll in recorder.of(PollFinished)}
    assert recorder.of(ArchiveFinished)
    codes = Counter((request.status, request.error_code) for request in recorder.of(RequestFinished))
    assert codes[409, "conflict"] == 1
    assert codes[200, None] >= 2
    assert {event["observed"] for event in events if event["event"] == "observer_failed"} >= set(names)


async def test_requests_that_are_shed_are_reported_with_their_code(idle: Gateway) -> None:
    recorder = Recorder()
    idle.observers = (recorder,)
    gateway = await idle.start()
    gateway.app.engine._open_max = Live(0)
    answer = await gateway.client.post(
        "/v1/videos/generations", json={"model": "keevx/V", "image": IMAGE_URL, "prompt": "A."}
    )
    assert answer.status_code == 503
    [request] = recorder.of(RequestFinished)
    assert (request.status, request.error_code) == (503, "overloaded")
