"""Uploads images to providers: each content once, for as long as the provider keeps it."""

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
from gateway.domain.adapter.redacted_reading import without_secrets
from gateway.domain.adapter.task import Failed
from gateway.domain.errors import StoreUnavailable, UnreadableReply
from gateway.store.uploads import UploadKey, Uploads
from gateway.upstream.client import NoAnswer, NotSent, Upstream, retry_after_seconds
from gateway.upstream.provider import Provider

log = structlog.get_logger()
UPLOAD_TIMEOUT_SECONDS = 120.0


class InputRefused(Exception):
    """An input cannot be given to this provider. Nothing was sent that could be charged."""

    def __init__(self, failure: Failed, retry_after_seconds: float | None = None) -> None:
        super().__init__(failure.message)
        self.failure = failure
        self.retry_after_seconds = retry_after_seconds


class Image(Struct, frozen=True, kw_only=True):
    """An image on its way to a provider."""

    sha256: str  # of the bytes as the gateway got them
    recipe: str = ""  # how the bytes are converted before the upload; "" if they are not
    content_type: str  # after the conversion
    read: Callable[[], Awaitable[bytes]]  # gives the converted bytes; called only when there is an upload to make


class ProviderUploads:
    """Makes uploads. Submits that need the same one at the same time share it; it goes on if they are cancelled."""

    def __init__(self, uploads: Uploads, upstream: Upstream, clock: Clock) -> None:
        self._uploads = uploads
        self._upstream = upstream
        self._clock = clock
        self._under_way: dict[UploadKey, asyncio.Task[str]] = {}

    async def url(self, provider: Provider, image: Image, *, once: bool = False) -> str:
        """The URL at which the provider has the image. Raises `InputRefused`, `StoreUnavailable`, or as `read`.

        With `once` the upload is neither looked up nor remembered: the gateway itself keeps nothing of the image.
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
        """Forget the uploads of these contents (SHA-256 in hex), so that the next submit uploads them again.

        If the store is not available nothing is raised: remembered uploads expire by themselves.
        """
        try:
            if await self._uploads.forget(_account(provider), digests):
                log.info("upload_forgotten", provider=provider.name)
        except StoreUnavailable as error:
            log.warning("upload_not_forgotten", provider=provider.name, error=str(error))

    async def close(self) -> None:
        """Cancel the uploads under way."""
        uploads = list(self._under_way.values())
        for upload in uploads:
            upload.cancel()
        await asyncio.gather(*uploads, return_exceptions=True)

    def _ended(self, key: UploadKey, upload: asyncio.Task[str]) -> None:
        del self._under_way[key]
        if not upload.cancelled():
            upload.exception()  # marks the error as seen: asyncio would log it where every waiter was cancelled

    async def _find_or_upload(self, provider: Provider, key: UploadKey, image: Image) -> str:
        now = self._clock.now()
        remembered = await self._uploads.find(key, now)
        if remembered is not None:
            return remembered
        url = await self._upload(provider, image)
        seconds = provider.adapter.upload_keep_seconds
        if seconds > 0:
            try:
                await self._uploads.keep(key, url, now + timedelta(seconds=seconds))
            except StoreUnavailable as error:  # this submit can use the URL all the same
                log.warning("upload_not_stored", provider=provider.name, error=str(error))
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
            refusal = None if reply.cut else without_secrets(adapter.classify(reply), provider.redactor)
            if refusal is None and 200 <= reply.status < 300:
                return adapter.uploaded_url(reply)
        except (NotSent, NoAnswer, UnreadableReply) as error:
            log.warning("upload_failed", provider=provider.name, error=str(error))
            raise InputRefused(failed(FailureKind.UNAVAILABLE)) from error
        wait = retry_after_seconds(reply, self._clock.now)
        log.warning("upload_refused", provider=provider.name, status=reply.status)
        # An upload costs nothing and may be repeated, so an answer that is ambiguous for a submit means "not now" here.
        if refusal is None or refusal.kind in {FailureKind.AMBIGUOUS, FailureKind.TASK_LOST}:
            refusal = failed(FailureKind.UNAVAILABLE, code=str(reply.status))
        elif refusal.kind is FailureKind.INVALID_REQUEST:
            refusal = replace(refusal, elsewhere=True)  # another provider may accept the same file
        raise InputRefused(refusal, wait)


def _account(provider: Provider) -> str:
    """A name for an account of a provider, equal for equal accounts, from which the key cannot be recovered."""
    credential = provider.credential
    further = (part for pair in sorted(credential.secrets.items()) for part in pair)
    identity = "\0".join((provider.name, provider.base_url, credential.api_key, *further))
    return sha256(identity.encode()).hexdigest()[:32]
