"""Remembers generations whose calls got no images, so that the same call once more takes them up and buys nothing.

Some client libraries repeat a call that was answered with 409 or 5xx, or not at all, and mark the repeat in no way: the
package `ai` does so twice, 2 and 4 seconds after the answer. Without this each repeat would buy the images again.
"""

from datetime import datetime, timedelta

from gateway.clock import Clock
from gateway.domain.generation.model import GenerationRequest
from gateway.generations.repeats import digest_of

KEPT = timedelta(seconds=60)  # from the answer that had no images, or from the failure
KEPT_MAX = 10_000  # different requests; the oldest are forgotten first


class Unanswered:
    """The generations by API key and request. Each is taken once, so that two equal calls get different images."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._by_request: dict[tuple[str, bytes], dict[str, datetime]] = {}
        self._cut_off: set[str] = set()  # those that a repeat has taken up since the start

    def add(self, key: str, request: GenerationRequest, generation_id: str, failed_at: datetime | None = None) -> None:
        """Keep a generation: its call was answered without images, or its client has gone.

        One that has failed is kept from its failure on, however often the call is repeated: what comes a minute later
        comes from a client that wants to try again.
        """
        name = (key, digest_of(request))
        ends = self._by_request.pop(name, {})  # so that the newest request is the last
        ends[generation_id] = (failed_at or self._clock.now()) + KEPT
        self._by_request[name] = ends
        self._forget()

    def take(self, key: str, request: GenerationRequest) -> str | None:
        """The oldest generation that an equal request of this API key made, and that gave it no images."""
        self._forget()
        name = (key, digest_of(request))
        ends = self._by_request.pop(name, {})
        now = self._clock.now()
        ids = [generation_id for generation_id, end in ends.items() if end > now]
        if ids[1:]:
            self._by_request[name] = {generation_id: ends[generation_id] for generation_id in ids[1:]}
        return ids[0] if ids else None

    def take_cut_off(self, generation_id: str) -> bool:
        """Whether no repeat has taken up this generation yet, whose call the end of the last process cut off."""
        is_first = generation_id not in self._cut_off
        self._cut_off.add(generation_id)
        return is_first

    def _forget(self) -> None:
        now = self._clock.now()
        while self._by_request:
            name, ends = next(iter(self._by_request.items()))
            if len(self._by_request) <= KEPT_MAX and any(end > now for end in ends.values()):
                return
            del self._by_request[name]
