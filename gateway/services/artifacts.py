"""Where the bytes of an output are, and how a client gets them."""

from collections.abc import AsyncIterator, Mapping

import httpx
from msgspec import Struct

from gateway.domain.errors import NotFound, ProviderUnavailable
from gateway.domain.generation import Generation, Output
from gateway.domain.task import TaskRef
from gateway.services.clock import Clock
from gateway.services.providers import Provider
from gateway.services.upstream import NoAnswer, NotSent, Upstream

_STREAM_SECONDS = 600.0


class Redirect(Struct, frozen=True):
    """The provider hands the file to anybody who knows its URL."""

    url: str


class Stream(Struct, frozen=True, kw_only=True):
    """The file, passed through."""

    chunks: AsyncIterator[bytes]
    content_type: str
    length: int | None


class Artifacts:
    """Results as the providers keep them."""

    def __init__(self, providers: Mapping[str, Provider], upstream: Upstream, clock: Clock) -> None:
        self._providers = providers
        self._upstream = upstream
        self._clock = clock

    async def open(self, generation: Generation, index: int) -> Redirect | Stream:
        """The way to an output's file; `NotFound` where there is none, `ProviderUnavailable` where it is withheld."""
        output = next((one for one in generation.outputs if one.index == index), None)
        if output is None or output.artifact is None:
            state = "does not exist" if output is None else f"is {output.status}: there is no file"
            raise NotFound(f"Output {index} of {generation.id} {state}.", param="index")
        if not output.artifact.needs_credential:
            return Redirect(output.artifact.url)
        return await self._through(generation, output)

    async def _through(self, generation: Generation, output: Output) -> Stream:
        """A file that the provider hands over to its own key alone: only ever asked for below its base URL."""
        attempt = generation.attempt(output.attempt_id or "")
        provider = self._providers.get(generation.route(attempt).provider)
        if provider is None or provider.adapter.content is None:
            raise ProviderUnavailable("The provider that keeps this file is no longer configured.")
        ref = next((task.ref for task in attempt.tasks if task.slot == output.index), None)
        if ref is None:
            raise NotFound(f"Output {output.index} of {generation.id} has no task.", param="index")
        response = await self._ask(provider, ref)
        if response.status_code != httpx.codes.OK:
            await response.aclose()
            raise ProviderUnavailable(f"The provider answered {response.status_code} for the file.", retry_after=30)
        length = response.headers.get("content-length", "")
        return Stream(
            chunks=_chunks(response),
            content_type=response.headers.get("content-type", "application/octet-stream"),
            length=int(length) if length.isdigit() else None,
        )

    async def _ask(self, provider: Provider, ref: TaskRef) -> httpx.Response:
        adapter = provider.adapter
        if adapter.content is None:
            raise ProviderUnavailable("The provider has no way to hand over this file.")
        call = adapter.authorize(adapter.content(ref), provider.credential, self._clock.now())
        try:
            return await self._upstream.stream(
                call, base_url=provider.base_url, timeout_seconds=_STREAM_SECONDS, headers=provider.headers
            )
        except (NotSent, NoAnswer) as error:
            raise ProviderUnavailable("The provider did not hand over the file.", retry_after=30) from error


async def _chunks(response: httpx.Response) -> AsyncIterator[bytes]:
    try:
        async for chunk in response.stream:  # type: ignore[union-attr]  # an async transport gives an async stream
            yield chunk
    finally:
        await response.aclose()
