"""Input images in the form that a route takes: a URL as it is, bytes inline, uploaded, or by a link to the gateway.

What came as a URL is fetched only where the route needs the bytes, or where no provider could reach it.
"""

import base64
from collections.abc import Awaitable, Callable, Collection, Sequence
from datetime import datetime, timedelta
from hashlib import sha256
from urllib.parse import urlsplit

import structlog
from msgspec import Struct

from gateway.clock import Clock, sleep
from gateway.domain.adapter.contract import ImageForm, ImageLimits
from gateway.domain.adapter.failure import FailureKind
from gateway.domain.adapter.messages import failed
from gateway.domain.adapter.request import Input, images_of, input_kind, with_images
from gateway.domain.adapter.task import Failed
from gateway.domain.errors import InvalidImage, StoreUnavailable
from gateway.domain.generation.model import Adaptation
from gateway.domain.public_addresses import Network, addresses_of, is_allowed, refusal
from gateway.domain.routing.image_limits import ImageFacts, misfits, remake
from gateway.domain.routing.plan import bytes_form, place_of
from gateway.fetch.fetcher import Fetcher, FetchFailed, FetchRefused, FetchTooLarge, RedirectRefused
from gateway.inputs.blobs import Blobs
from gateway.inputs.provider_uploads import Image, InputRefused, Uploading
from gateway.media.image_convert import NotMade, Pictures, Unreadable
from gateway.media.image_header import IMAGE_MAX, inspect_large
from gateway.media.image_structure import DamagedImage
from gateway.store.port import Store
from gateway.upstream.provider import Provider, UpstreamModel

log = structlog.get_logger()
FILE_PREFIX = "file_"
FETCH_TIMEOUT_SECONDS = 60.0
FETCH_AGAIN_SECONDS = 2.0  # until the second try
LINK_LIFE = timedelta(hours=24)  # as long as any generation may take

Link = Callable[[str, str, datetime], str]  # key, file id, until → a URL that a provider can read it at


class _Picture(Struct, frozen=True, kw_only=True):
    """An image whose bytes the gateway has, or can read."""

    param: str
    sha256: str
    facts: ImageFacts
    read: Callable[[], Awaitable[bytes]]
    passing: bool = False  # it was fetched for this submit, and nothing of it is kept


class _Unfetched(Exception):
    """It may be had in a moment."""


class Inputs:
    """Makes inputs ready for a submit. May be repeated: nothing of it costs anything."""

    def __init__(
        self,
        *,
        store: Store,
        blobs: Blobs,
        uploading: Uploading,
        fetcher: Fetcher,
        allow: Sequence[Network],
        link: Link | None,
        clock: Clock,
    ) -> None:
        """`allow` are the networks besides the public ones that `fetcher` may reach.

        `link` makes URLs by which providers read files from the gateway; `None` when they cannot reach it.
        """
        self._store = store
        self._blobs = blobs
        self._uploading = uploading
        self._fetcher = fetcher
        self._allow = tuple(allow)
        self._link = link
        self._clock = clock
        self._pictures = Pictures()

    async def ready(
        self,
        value: Input,
        key: str,
        provider: Provider,
        model: UpstreamModel,
        adaptations: Collection[Adaptation] = (),
    ) -> Input:
        """The input with every image as the model takes it. Raises `InputRefused`, or `StoreUnavailable`.

        What does not fit is made to fit where the route's `adaptations` tell of it.
        """
        capability = next(one for one in model.capabilities if input_kind(value) in one.inputs)
        form = bytes_form(capability)
        takes_urls = ImageForm.URL in capability.image_forms
        may_change = {one.param for one in adaptations}
        replaced: dict[str, str] = {}
        for image in dict.fromkeys(images_of(value)):
            param = place_of(value, image)
            if image.startswith(FILE_PREFIX):
                if form is None:
                    replaced[image] = self._linked(key, image)
                    continue
                picture = await self._held(image, key, param)
            elif takes_urls and (form is None or not self._is_near(image)):
                replaced[image] = image
                continue
            else:
                picture = await self._fetched(image, capability.images.max_bytes, param)
            limits = capability.images
            replaced[image] = await self._given(picture, provider, form, limits, may_change=param in may_change)
        return with_images(value, replaced)

    async def forget(self, value: Input, key: str, provider: Provider, failure: Failed | None) -> None:
        """Where a submit failed because of its input, what was uploaded for it may be gone: upload it anew next time.

        Raises nothing for the store: what is not forgotten ends by itself.
        """
        held = [image for image in images_of(value) if image.startswith(FILE_PREFIX)]
        if held and failure is not None and failure.kind is FailureKind.INVALID_REQUEST:
            try:
                files = await self._store.files(held, key)
            except StoreUnavailable as error:
                log.warning("upload_not_forgotten", provider=provider.name, error=str(error))
                return
            await self._uploading.forget(provider, [file.sha256 for file in files.values()])

    async def close(self) -> None:
        """Give up the uploads under way."""
        await self._uploading.close()

    async def _given(
        self, picture: _Picture, provider: Provider, form: ImageForm | None, limits: ImageLimits, *, may_change: bool
    ) -> str:
        wrong = misfits(picture.facts, limits)
        wanted = remake(picture.facts, limits) if wrong and may_change else None
        if wrong and wanted is None:
            raise _refused(picture.param, f"the provider {wrong[0]}")

        async def content() -> bytes:
            held = await picture.read()
            if wanted is None:
                return held
            try:
                return await self._pictures.make(held, wanted)
            except NotMade as error:
                damaged = isinstance(error, Unreadable)
                raise _refused(picture.param, str(error), elsewhere=not damaged) from error

        if form is ImageForm.UPLOAD:
            image = Image(
                sha256=picture.sha256,
                recipe="" if wanted is None else wanted.recipe,
                content_type=picture.facts.content_type if wanted is None else wanted.content_type,
                read=content,
            )
            return await self._uploading.url(provider, image, once=picture.passing)
        return base64.b64encode(await content()).decode()

    def _is_near(self, url: str) -> bool:
        """Whether the URL names an address that `fetch.allow` opens to us, and that nobody outside can reach."""
        addresses = addresses_of(urlsplit(url).hostname or "")
        return any(refusal(one) is not None and is_allowed(one, self._allow) for one in addresses)

    def _linked(self, key: str, image: str) -> str:
        if self._link is None:
            why = "The provider takes images by URL alone, and the gateway has no public URL."
            raise InputRefused(failed(FailureKind.INVALID_REQUEST, why, elsewhere=True))
        return self._link(key, image, self._clock.now() + LINK_LIFE)

    async def _held(self, image: str, key: str, param: str) -> _Picture:
        file = (await self._store.files([image], key)).get(image)
        gone = InputRefused(failed(FailureKind.INVALID_REQUEST, f"`{param}`: the image is no longer stored."))
        if file is None:
            raise gone

        async def read() -> bytes:
            content = await self._blobs.get(file.sha256)
            if content is None:
                raise gone
            return content

        return _Picture(param=param, sha256=file.sha256, facts=file.facts, read=read)

    async def _fetched(self, url: str, max_bytes: int | None, param: str) -> _Picture:
        """What is behind a client's URL; it is held only until the submit is made."""
        content, facts = await self._fetch(url, min(max_bytes or IMAGE_MAX, IMAGE_MAX), param)

        async def read() -> bytes:
            return content

        return _Picture(param=param, sha256=sha256(content).hexdigest(), facts=facts, read=read, passing=True)

    async def _fetch(self, url: str, max_bytes: int, param: str) -> tuple[bytes, ImageFacts]:
        """The image and what it is. Its server may have a bad moment, and its transfer may break off: two tries.

        An image that is damaged both times goes to no route at all: providers bill for it whatever they make of it.
        """
        try:
            return await self._fetch_once(url, max_bytes, param)
        except (_Unfetched, DamagedImage) as error:
            log.info("image_unfetched", param=param, error=str(error))
        await sleep(self._clock, FETCH_AGAIN_SECONDS)
        try:
            return await self._fetch_once(url, max_bytes, param)
        except _Unfetched as error:
            raise _refused(param, f"the image could not be fetched: {error}") from error
        except DamagedImage as error:
            raise _refused(param, error.detail, elsewhere=False) from error

    async def _fetch_once(self, url: str, max_bytes: int, param: str) -> tuple[bytes, ImageFacts]:
        try:
            async with self._fetcher.get(
                url,
                max_bytes=max_bytes,
                timeout_seconds=FETCH_TIMEOUT_SECONDS,
                open_headers={"Accept": "image/png,image/jpeg,image/webp,image/*;q=0.8,*/*;q=0.5"},
            ) as fetched:
                status, is_whole = fetched.status, fetched.is_whole
                content = b"".join([chunk async for chunk in fetched.chunks()]) if is_whole else b""
        except FetchTooLarge as error:
            raise _refused(param, f"the image is over the limit of {max_bytes} bytes") from error
        except RedirectRefused as error:  # its server may lead elsewhere in a moment
            raise _Unfetched(str(error)) from error
        except FetchRefused as error:  # a provider that fetches for itself may have no reason to refuse
            raise _refused(param, str(error)) from error
        except FetchFailed as error:
            raise _Unfetched(str(error)) from error
        if not is_whole:
            why = f"its server answered with HTTP status {status}"
            raise _Unfetched(why) if status in {408, 425, 429} or status >= 500 else _refused(param, why)
        try:
            return content, await inspect_large(content)
        except DamagedImage:
            raise
        except InvalidImage as error:
            raise _refused(param, error.detail) from error


def _refused(param: str, why: str, *, elsewhere: bool = True) -> InputRefused:
    """This image cannot go this way; with `elsewhere` another route may take it, or fetch it."""
    message = f"`{param}`: {why.rstrip('.')}."
    return InputRefused(Failed(kind=FailureKind.INVALID_REQUEST, message=message, elsewhere=elsewhere))


def file_name(key: str, content: bytes) -> str:
    """The id of bytes that came with a request: the same for the same key and content, of no use to another key."""
    digest = sha256(key.encode() + b"\x00" + content).digest()
    return FILE_PREFIX + base64.b32encode(digest[:20]).decode().lower()
