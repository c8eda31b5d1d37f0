"""Downloads the file of a result from where its provider keeps it: a link for anybody, or a call with our key."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress

import httpx
from msgspec.structs import replace

from gateway.clock import Clock
from gateway.domain.adapter.contract import HttpCall, HttpReply
from gateway.domain.generation.model import Generation, Output
from gateway.fetch.download import Answer, Download
from gateway.fetch.fetcher import REDIRECTS, BrokeOff, Fetcher, FetchFailed, FetchRefused
from gateway.fetch.file_body import TOTAL_SECONDS
from gateway.upstream.client import NoAnswer, NotSent, Upstream, retry_after_seconds
from gateway.upstream.provider import Provider

RESULT_MAX = 4 * 1024**3  # bytes of a result; those of an image are limited again before it is decoded
# Hosts that convert images on the way choose the format by the types that are named, so none is: the original is kept.
ACCEPT = {"video": "video/*,*/*;q=0.8", "image": "image/*,*/*;q=0.8"}
_GONE = frozenset({404, 410})  # the statuses that say that the file does not exist


class NoResult(Exception):
    """The link leads to nothing, or to something that is not a file of the asked kind."""


class NotNow(FetchFailed):
    """The host answered with something other than the file, and may say after how many seconds to try again."""

    def __init__(self, message: str, retry_after_seconds: float | None) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class ResultDownloads:
    """Makes the downloads of results. What a stranger's URL may reach is up to the fetcher (SSRF)."""

    def __init__(
        self, *, fetcher: Fetcher, providers: Mapping[str, Provider], upstream: Upstream, clock: Clock
    ) -> None:
        self._fetcher = fetcher
        self._providers = providers
        self._upstream = upstream
        self._clock = clock

    def of(self, generation: Generation, output: Output, *, max_bytes: int = RESULT_MAX) -> Download:
        """The download of an output's file, with the provider's key where it needs that.

        It raises `NoResult` or `NotNow` for an answer that is not the file, and what `Download.chunks` raises.
        """
        artifact = output.artifact
        provider = generation.route(generation.attempt(output.attempt_id or "")).provider

        def ask(headers: Mapping[str, str]) -> AbstractAsyncContextManager[Answer]:
            if artifact is None or artifact.needs_credential:
                return self._with_credential(generation, output, provider, headers)
            return self._openly(artifact.url, generation.owner, {"Accept": ACCEPT[generation.kind], **headers})

        return Download(ask, max_bytes=max_bytes, check=lambda answer: check_answer(answer, self._clock))

    @asynccontextmanager
    async def _openly(self, url: str, client: str, headers: Mapping[str, str]) -> AsyncIterator[Answer]:
        async with self._fetcher.get(
            url, client=client, max_bytes=RESULT_MAX, timeout_seconds=TOTAL_SECONDS, open_headers=headers
        ) as fetched:
            yield fetched

    @asynccontextmanager
    async def _with_credential(
        self, generation: Generation, output: Output, name: str, headers: Mapping[str, str]
    ) -> AsyncIterator[Answer]:
        """A file that the provider gives to the holder of its key only.

        The key is sent below the provider's base URL and nowhere else: a redirect is followed without it.
        """
        provider = self._providers.get(name)
        call = None if provider is None else content_call(generation, output, provider)
        if provider is None or call is None:
            raise FetchRefused("The provider that keeps this file is no longer configured.")
        call = replace(call, headers={**call.headers, **headers})
        signed = provider.adapter.authorize(call, provider.credential, self._clock.now())
        try:
            response = await self._upstream.stream(
                signed, base_url=provider.base_url, timeout_seconds=TOTAL_SECONDS, headers=provider.headers
            )
        except (NotSent, NoAnswer) as error:
            raise FetchFailed(str(error)) from error
        try:
            if response.status_code not in REDIRECTS or "location" not in response.headers:
                yield _Streamed(name, response)
                return
        finally:
            await response.aclose()
        opened = {"Accept": ACCEPT[generation.kind], **headers}
        async with self._openly(
            redirected_to(provider.base_url + call.path, response), generation.owner, opened
        ) as answer:
            yield answer


def check_answer(answer: Answer, clock: Clock) -> None:
    """Raise `NoResult` or `NotNow` for an answer that is not the file."""
    status = answer.status
    if status in _GONE:
        raise NoResult(f"the answer was {status}")
    wait = None
    with suppress(ArithmeticError, ValueError):  # the header does not have a time that can be used
        wait = retry_after_seconds(HttpReply(status=status, headers=answer.headers), clock.now)
    raise NotNow(f"the answer was {status}", wait)


def content_call(generation: Generation, output: Output, provider: Provider) -> HttpCall | None:
    """The call by which the holder of the provider's key gets an output's file, or `None` where it has no such call."""
    attempt = generation.attempt(output.attempt_id or "")
    ref = next((task.ref for task in attempt.tasks if task.slot == output.index), None)
    if ref is None or provider.adapter.content is None:
        return None
    return provider.adapter.content(ref)


def redirected_to(url: str, response: httpx.Response) -> str:
    """The URL that a redirect leads to. It is not checked here: the fetcher checks each URL before it connects."""
    location = response.headers["location"].strip().replace(" ", "%20")
    try:
        return str(httpx.URL(url).join(location))
    except (httpx.InvalidURL, ValueError) as error:
        raise FetchFailed("the provider redirects to what is not a valid URL") from error


class _Streamed:
    """The answer of a provider to a call with its key, as an `Answer` for `Download`."""

    def __init__(self, host: str, response: httpx.Response) -> None:
        self.host = host
        self.status: int = response.status_code
        self.headers: Mapping[str, str] = dict(response.headers)
        self._response = response

    async def raw(self) -> AsyncIterator[bytes]:
        """See `Answer`."""
        try:
            async for chunk in self._response.aiter_raw():
                yield chunk
        except httpx.HTTPError as error:
            raise BrokeOff(f"{self.host} broke the transfer off, or nothing more came") from error
