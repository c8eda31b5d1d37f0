"""What a delivery does before it is sent."""

import threading
from types import SimpleNamespace
from typing import Any

from gateway.clock import SystemClock
from gateway.domain.redaction import Redactor
from gateway.live import Live
from gateway.telemetry import Observers
from gateway.webhooks.deliverer import LARGE, Deliverer

KEY = b"Zx.Q~77pass.word+Key_2026=tail"


class NotedRedactor(Redactor):
    """Notes for each text whether it was searched on the event loop."""

    def __init__(self) -> None:
        super().__init__([KEY])
        self.on_loop: list[bool] = []

    def body(self, body: bytes) -> bytes:
        self.on_loop.append(threading.current_thread() is threading.main_thread())
        return super().body(body)


async def test_a_large_body_is_searched_for_secrets_beside_the_event_loop() -> None:
    anything: Any = SimpleNamespace(webhooks=SimpleNamespace(on_due=lambda _: None))
    clock, redactor = SystemClock(), NotedRedactor()
    deliverer = Deliverer(
        store=anything,
        poster=anything,
        keys=Live(anything),
        formats={},
        clock=clock,
        wall_clock=clock,
        timeout_seconds=Live(1.0),
        observer=Observers([]),
        redactor=Live(redactor),
    )
    for size in (0, LARGE):
        hidden = await deliverer._without_secrets(b" " * size + KEY)
        assert hidden == b" " * size + b"*" * len(KEY)
    assert redactor.on_loop == [True, False]
