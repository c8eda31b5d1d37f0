"""Remembers generations whose calls got no images, so that the same call once more takes them up and buys nothing.

Some client libraries repeat a call that was answered with 409 or 5xx, or not at all, and mark the repeat in no way: the
package `ai` does so twice, 2 and 4 seconds after the answer. Without this each repeat would buy the images again.
"""

from datetime import datetime, timedelta

from gateway.clock import Clock
from gateway.domain.generation.model import GenerationRequest
from gateway.generations.service import digest_of

KEPT = timedelta(seconds=60)  # from the answer that had no images
KEPT_MAX = 10_000  # different requests; the oldest are forgotten first


class Unanswered:
    """The generations by API key and request. Each is taken once, so that two equal calls get different images."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._by_request: dict[tuple[str, bytes], dict[str, datetime]] = {}

    def add(self, key: str, request: GenerationRequest, generation_id: str) -> None:
        """Keep a generation: its call was answered without images, or its client has gone."""
        name = (key, digest_of(request))
        kept = self._by_request.pop(name, {})  # so that the newest request is the last
        kept[generation_id] = self._clock.now() + KEPT
        self._by_request[name] = kept
        self._forget()

    def take(self, key: str, request: GenerationRequest) -> str | None:
        """The oldest generation that an equal request of this API key made, and that gave it no images."""
        self._forget()
        name = (key, digest_of(request))
        kept = self._by_request.pop(name, {})
        now = self._clock.now()
        ids = [generation_id for generation_id, until in kept.items() if until > now]
        if ids[1:]:
            self._by_request[name] = {generation_id: kept[generation_id] for generation_id in ids[1:]}
        return ids[0] if ids else None

    def _forget(self) -> None:
        now = self._clock.now()
        while self._by_request:
            name, kept = next(iter(self._by_request.items()))
            if len(self._by_request) <= KEPT_MAX and any(until > now for until in kept.values()):
                return
            del self._by_request[name]
