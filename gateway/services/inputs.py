"""Input images in the form that a provider takes: a URL as it is, bytes inline or through the provider's upload."""

import base64
from hashlib import sha256

import structlog
from msgspec.structs import replace as with_fields

from gateway.domain.adapter import FilePart, ImageForm
from gateway.domain.errors import UnreadableReply
from gateway.domain.reading import failed
from gateway.domain.request import Input, images_of, input_kind, with_images
from gateway.domain.task import Failed, FailureKind
from gateway.services.blobs import Blobs
from gateway.services.clock import Clock
from gateway.services.providers import Provider, UpstreamModel
from gateway.services.upstream import NoAnswer, NotSent, Upstream, retry_after_seconds
from gateway.store.base import Store, StoredFile

log = structlog.get_logger()
FILE_PREFIX = "file_"
UPLOAD_TIMEOUT_SECONDS = 120.0


class InputRefused(Exception):
    """An input cannot be handed to this provider. Nothing billable was sent."""

    def __init__(self, failure: Failed, retry_after_seconds: float | None = None) -> None:
        super().__init__(failure.message)
        self.failure = failure
        self.retry_after_seconds = retry_after_seconds


class Inputs:
    """Makes inputs ready for a submit. May be repeated: an upload costs nothing."""

    def __init__(self, store: Store, blobs: Blobs, upstream: Upstream, clock: Clock) -> None:
        self._store = store
        self._blobs = blobs
        self._upstream = upstream
        self._clock = clock

    async def ready(self, value: Input, key: str, provider: Provider, model: UpstreamModel) -> Input:
        """The input with every image as the model takes it. Raises `InputRefused`, or `StoreUnavailable`."""
        held = [image for image in images_of(value) if image.startswith(FILE_PREFIX)]
        if not held:
            return value
        capability = next(one for one in model.capabilities if input_kind(value) in one.inputs)
        form = next((one for one in capability.image_forms if one is not ImageForm.URL), None)
        files = await self._store.files(held, key)
        replaced = {image: image for image in images_of(value)}
        for image in dict.fromkeys(held):
            file = files.get(image)
            content = None if file is None else await self._blobs.get(file.sha256)
            if file is None or content is None:
                raise InputRefused(failed(FailureKind.INVALID_REQUEST, "An input image is no longer stored."))
            if form is ImageForm.BASE64:
                replaced[image] = base64.b64encode(content).decode()
            elif form is ImageForm.UPLOAD:
                replaced[image] = await self._upload(provider, file, content)
            else:
                why = "The provider takes images by URL alone."
                raise InputRefused(failed(FailureKind.INVALID_REQUEST, why, elsewhere=True))
        return with_images(value, replaced)

    async def _upload(self, provider: Provider, file: StoredFile, content: bytes) -> str:
        adapter = provider.adapter
        if adapter.upload is None or adapter.uploaded_url is None:
            why = "The provider has no upload."
            raise InputRefused(failed(FailureKind.INVALID_REQUEST, why, elsewhere=True))
        kind = file.facts.content_type
        name = f"{file.sha256[:16]}.{kind.removeprefix('image/').replace('jpeg', 'jpg')}"
        part = FilePart(field="file", filename=name, content_type=kind, content=content)
        try:
            reply = await self._upstream.send(
                adapter.authorize(adapter.upload(part), provider.credential, self._clock.now()),
                base_url=provider.base_url,
                timeout_seconds=UPLOAD_TIMEOUT_SECONDS,
                headers=provider.headers,
            )
            refusal = adapter.classify(reply)
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
            refusal = with_fields(refusal, elsewhere=True)  # another provider may take the same file
        raise InputRefused(refusal, wait)


def file_name(key: str, content: bytes) -> str:
    """The id of bytes that came with a request: the same for the same key and content, of no use to another key."""
    digest = sha256(key.encode() + b"\x00" + content).digest()
    return FILE_PREFIX + base64.b32encode(digest[:20]).decode().lower()
