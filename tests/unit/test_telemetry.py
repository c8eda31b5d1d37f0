"""An observer that fails harms nothing."""

import pytest
from structlog.testing import capture_logs

from gateway import log_observer, telemetry
from gateway.log_observer import LogObserver
from gateway.telemetry import Event, GenerationCreated, Observers

CREATED = GenerationCreated(generation="gen_1", model="m", routes=2)


class Recorder:
    """Keeps every event."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def observe(self, event: Event) -> None:
        self.events.append(event)


class Broken:
    """An observer that always fails."""

    def observe(self, event: Event) -> None:
        raise RuntimeError("no")


def test_an_observer_that_fails_harms_neither_the_work_nor_the_others() -> None:
    first, last = Recorder(), Recorder()
    with capture_logs() as logged:
        Observers([first, Broken(), last]).observe(CREATED)
    assert first.events == last.events == [CREATED]
    [line] = logged
    assert (line["event"], line["observer"], line["observed"]) == ("observer_failed", "Broken", "GenerationCreated")


def test_a_failing_log_is_not_a_reason_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    class Log:
        def info(self, *_: object, **__: object) -> None:
            raise OSError("the disk is full")

        def exception(self, *_: object, **__: object) -> None:
            seen.append(True)

    seen: list[bool] = []
    for module in (telemetry, log_observer):
        monkeypatch.setattr(module, "log", Log())
    Observers([LogObserver()]).observe(CREATED)
    assert seen == [True]
