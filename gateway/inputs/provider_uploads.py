"""Images through a provider's own upload: each content once, as long as it lives there."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from hashlib import sha256

import structlog
from msgspec import Struct
from msgspec.structs import replace

from gateway.clock import Clock
from gateway.domain.adapter.contract import FilePart
from gateway.domain.adapter.failure import FailureKind
from gateway.domain.adapter.messages import failed
from gateway.domain.adapter.task import Failed
from gateway.domain.errors import StoreUnavailable, UnreadableReply
from gateway.store.uploads import UploadKey, Uploads
from gateway.upstream.client import NoAnswer, NotSent, Upstream, retry_after_seconds
from gateway.upstream.provider import Provider

log = structlog.get_logger()
UPLOAD_TIMEOUT_SECONDS = 120.0


class InputRefused(Exception):
    """An input cannot be handed to this provider. Nothing billable was sent."""

    def __init__(self, failure: Failed, retry_after_seconds: float | None = None) -> None:
        super().__init__(failure.message)
        self.failure = failure
        self.retry_after_seconds = retry_after_seconds


class Image(Struct, frozen=True, kw_only=True):
    """An image on its way to a provider."""

    sha256: str  # of the bytes as the gateway got them
    recipe: str = ""  # what is made of them; "" for nothing
    content_type: str  # of what is made
    read: Callable[[], Awaitable[bytes]]  # called only when it is to be uploaded


class Uploading:
    """Whoever needs the same upload at the same time waits for one; it goes on when they leave."""

    def __init__(self, uploads: Uploads, upstream: Upstream, clock: Clock) -> None:
        self._uploads = uploads
        self._upstream = upstream
        self._clock = clock
        self._under_way: dict[UploadKey, asyncio.Task[str]] = {}

    async def url(self, provider: Provider, image: Image, *, once: bool = False) -> str:
        """Where the provider has the image. Raises `InputRefused`, `StoreUnavailable`, and what its `read` raises.

        With `once` it is uploaded for this time alone.
        """
        key = UploadKey(_account(provider), image.sha256, image.recipe)
        upload = self._under_way.get(key)
        if upload is None:
            making = self._upload(provider, image) if once else self._find_or_upload(provider, key, image)
            upload = asyncio.create_task(making, name="upload")
            self._under_way[key] = upload
            upload.add_done_callback(lambda done: self._ended(key, done))
        return await asyncio.shield(upload)

    async def forget(self, provider: Provider, digests: Sequence[str]) -> None:
        """Upload these contents anew when they are needed next. Where that cannot be stored, they end by themselves."""
        try:
            if await self._uploads.forget(_account(provider), digests):
                log.info("upload_forgotten", provider=provider.name)
        except StoreUnavailable as error:
            log.warning("upload_not_forgotten", provider=provider.name, error=str(error))

    async def close(self) -> None:
        """Give up what is under way."""
        uploads = list(self._under_way.values())
        for upload in uploads:
            upload.cancel()
        await asyncio.gather(*uploads, return_exceptions=True)

    def _ended(self, key: UploadKey, upload: asyncio.Task[str]) -> None:
        del self._under_way[key]
        if not upload.cancelled():
            upload.exception()  # it is seen, also when nobody waits any more

    async def _find_or_upload(self, provider: Provider, key: UploadKey, image: Image) -> str:
        now = self._clock.now()
        known = await self._uploads.find(key, now)
        if known is not None:
            return known
        url = await self._upload(provider, image)
        seconds = provider.adapter.upload_keep_seconds
        if seconds > 0:
            try:
                await self._uploads.keep(key, url, now + timedelta(seconds=seconds))
            except StoreUnavailable as error:  # it serves this once
                log.warning("upload_not_kept", provider=provider.name, error=str(error))
        return url

    async def _upload(self, provider: Provider, image: Image) -> str:
        adapter = provider.adapter
        if adapter.upload is None or adapter.uploaded_url is None:
            why = "The provider has no upload."
            raise InputRefused(failed(FailureKind.INVALID_REQUEST, why, elsewhere=True))
        name = f"{image.sha256[:16]}.{image.content_type.removeprefix('image/').replace('jpeg', 'jpg')}"
        part = FilePart(field="file", filename=name, content_type=image.content_type, content=await image.read())
        try:
            reply = await self._upstream.send(
                adapter.authorize(adapter.upload(part), provider.credential, self._clock.now()),
                base_url=provider.base_url,
                timeout_seconds=UPLOAD_TIMEOUT_SECONDS,
                headers=provider.headers,
            )
            refusal = None if reply.cut else adapter.classify(reply)
            if refusal is None and 200 <= reply.status < 300:
                return adapter.uploaded_url(reply)
        except (NotSent, NoAnswer, UnreadableReply) as error:
            log.warning("upload_failed", provider=provider.name, error=str(error))
            raise InputRefused(failed(FailureKind.UNAVAILABLE)) from error
        wait = retry_after_seconds(reply, self._clock.now)
        log.warning("upload_refused", provider=provider.name, status=reply.status)
        # An upload may always be repeated: what would be ambiguous of a submit is only "not now" here.
        if refusal is None or refusal.kind in {FailureKind.AMBIGUOUS, FailureKind.TASK_LOST}:
            refusal = failed(FailureKind.UNAVAILABLE, code=str(reply.status))
        elif refusal.kind is FailureKind.INVALID_REQUEST:
            refusal = replace(refusal, elsewhere=True)  # another provider may take the same file
        raise InputRefused(refusal, wait)


def _account(provider: Provider) -> str:
    """The same for the same account of a provider, and nothing that could be used."""
    said = f"{provider.name}\0{provider.base_url}\0{provider.credential.api_key}"
    return sha256(said.encode()).hexdigest()[:32]
