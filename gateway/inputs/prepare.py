"""Gives each input image the form that a route takes: a URL, base64 text, an upload, or a link to the gateway.

An image that the client named by a URL is passed on untouched where the route takes URLs. The gateway fetches it only
where the route needs the bytes, or where the URL leads to a network that only the gateway can reach.
"""

import base64
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from hashlib import sha256
from urllib.parse import urlsplit

import structlog
from msgspec import Struct

from gateway.clock import Clock, sleep
from gateway.domain.adapter.contract import Capability, ImageLimits, ImageTransport
from gateway.domain.adapter.failure import FailureKind
from gateway.domain.adapter.messages import failed
from gateway.domain.adapter.request import Input, images_of, input_kind, with_images
from gateway.domain.adapter.task import Failed
from gateway.domain.errors import InvalidImage, StoreUnavailable
from gateway.domain.generation.model import Attempt, Generation
from gateway.domain.generation.next_attempt import routes_left
from gateway.domain.public_addresses import Network, addresses_of, is_allowed, refusal
from gateway.domain.routing.image_limits import ImageFacts, misfits, not_converted, remake
from gateway.domain.routing.plan import bytes_transport, param_path
from gateway.fetch.fetcher import Fetcher, FetchFailed, FetchRefused, FetchTooLarge, RedirectRefused
from gateway.inputs.blobs import Blobs
from gateway.inputs.provider_uploads import Image, InputRefused, ProviderUploads
from gateway.live import Live
from gateway.media.image_convert import ImageConverter, NotConverted, UndecodableImage
from gateway.media.image_header import IMAGE_MAX, inspect_large
from gateway.media.image_structure import DamagedImage
from gateway.store.port import Store
from gateway.upstream.provider import Provider

log = structlog.get_logger()
FILE_PREFIX = "file_"
FETCH_TIMEOUT_SECONDS = 60.0
FETCH_AGAIN_SECONDS = 2.0  # between the first and the second try to fetch an image
FAILED_FETCHES_MAX = 1000  # remembered URLs that could not be fetched, of all generations; together 8 MB at most
LINK_LIFE = timedelta(hours=24)  # no generation takes longer
_INSTEAD = (
    "The URL must be one that anyone can open; or send the image itself, as base64 text or as the id of a file that you"
    " uploaded to `/v1/files`"
)

Link = Callable[[str, str, datetime], str]  # key, file id, until → a URL at which a provider can read the file


class _ImageBytes(Struct, frozen=True, kw_only=True):
    """An image whose bytes the gateway has, or can read."""

    param: str
    client: str  # the API key that owns the generation
    sha256: str
    facts: ImageFacts
    read: Callable[[], Awaitable[bytes]]
    passing: bool = False  # it was fetched for this submit alone, and the gateway keeps nothing of it


class _FetchFailed(Exception):
    """The image at a URL cannot be fetched. The text completes "the URL could not be fetched: …"."""


class _TryAgain(_FetchFailed):
    """Another try in a moment may succeed: the server of the image was busy, or the transfer broke off."""


class InputPreparer:
    """Makes the inputs of a submit ready. This may be repeated: none of it costs anything."""

    def __init__(
        self,
        *,
        store: Store,
        blobs: Blobs,
        uploading: ProviderUploads,
        fetcher: Fetcher,
        providers: Mapping[str, Provider],
        allow: Live[tuple[Network, ...]],
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
        self._providers = providers
        self._allow = allow
        self._link = link
        self._clock = clock
        self._converter = ImageConverter()
        self._failed_fetches: dict[tuple[str, str], str] = {}  # (generation id, URL) → why it could not be fetched

    async def ready(self, generation: Generation, attempt: Attempt, provider: Provider) -> Input:
        """The input of the generation, with every image in the form that the attempt's route takes.

        An image that does not fit the limits of the model is converted where the route's `adaptations` allow it.
        Raises `InputRefused` when the route cannot have an image, or `StoreUnavailable`.
        """
        value, route = generation.request.input, generation.route(attempt)
        capabilities = provider.models[route.model].capabilities
        capability = next(capability for capability in capabilities if input_kind(value) in capability.inputs)
        transport = bytes_transport(capability)
        may_change = {adaptation.param for adaptation in route.adaptations}
        replaced: dict[str, str] = {}
        for image in dict.fromkeys(images_of(value)):
            param = param_path(value, image)
            if image.startswith(FILE_PREFIX):
                if transport is None:
                    replaced[image] = self._linked(generation.owner, image)
                    continue
                content = await self._stored(image, generation.owner, param)
            elif self._passes_on(capability, image):
                replaced[image] = image
                continue
            else:
                content = await self._fetched(image, generation, attempt, capability.images.max_bytes, param)
            limits = capability.images
            replaced[image] = await self._handed_over(
                content, provider, transport, limits, may_change=param in may_change
            )
        return with_images(value, replaced)

    async def forget(self, value: Input, key: str, provider: Provider, failure: Failed | None) -> None:
        """Forget the uploads of a submit that failed because of its input, so that the next submit uploads again.

        The provider may have removed what was uploaded before. If the store is not available nothing is raised: the
        remembered uploads expire by themselves.
        """
        names = [image for image in images_of(value) if image.startswith(FILE_PREFIX)]
        if names and failure is not None and failure.kind is FailureKind.INVALID_REQUEST:
            try:
                files = await self._store.files(names, key)
            except StoreUnavailable as error:
                log.warning("upload_not_forgotten", provider=provider.name, error=str(error))
                return
            await self._uploading.forget(provider, [file.sha256 for file in files.values()])

    async def close(self) -> None:
        """Cancel the uploads under way."""
        await self._uploading.close()

    async def _handed_over(
        self,
        image: _ImageBytes,
        provider: Provider,
        transport: ImageTransport | None,
        limits: ImageLimits,
        *,
        may_change: bool,
    ) -> str:
        """The image as the provider takes bytes: the URL of an upload, or base64 text; converted where that is due."""
        reasons = misfits(image.facts, limits)
        conversion = remake(image.facts, limits) if reasons and may_change else None
        if reasons and conversion is None:
            hint = not_converted(image.facts, limits) if may_change else ""
            raise _refused(image.param, f"the provider {reasons[0]}{hint}")

        async def content() -> bytes:
            original = await image.read()
            if conversion is None:
                return original
            try:
                return await self._converter.convert(original, conversion, image.client)
            except NotConverted as error:
                is_damaged = isinstance(error, UndecodableImage)  # then every provider would fail at it
                raise _refused(image.param, str(error), elsewhere=not is_damaged) from error

        if transport is ImageTransport.UPLOAD:
            upload = Image(
                sha256=image.sha256,
                recipe="" if conversion is None else conversion.recipe,
                content_type=image.facts.content_type if conversion is None else conversion.content_type,
                read=content,
            )
            return await self._uploading.url(provider, upload, once=image.passing)
        return base64.b64encode(await content()).decode()

    def _passes_on(self, capability: Capability, url: str) -> bool:
        """True if a model gets this URL as the client gave it, and the provider fetches the image."""
        takes_urls = ImageTransport.URL in capability.image_transports
        return takes_urls and (bytes_transport(capability) is None or not self._is_near(url))

    def _is_near(self, url: str) -> bool:
        """True if the URL names an address that `fetch.allow` opens to the gateway, and that is not public."""
        addresses = addresses_of(urlsplit(url).hostname or "")
        return any(refusal(address) is not None and is_allowed(address, self._allow.current) for address in addresses)

    def _linked(self, key: str, image: str) -> str:
        """A URL of the gateway at which the provider can read a stored file."""
        if self._link is None:
            why = "The provider takes images by URL alone, and the gateway has no public URL."
            raise InputRefused(failed(FailureKind.INVALID_REQUEST, why, elsewhere=True))
        return self._link(key, image, self._clock.now() + LINK_LIFE)

    async def _stored(self, image: str, key: str, param: str) -> _ImageBytes:
        """An image that the client sent with the request, or uploaded before."""
        file = (await self._store.files([image], key)).get(image)
        gone = InputRefused(failed(FailureKind.INVALID_REQUEST, f"`{param}`: the image is no longer stored."))
        if file is None:
            raise gone

        async def read() -> bytes:
            content = await self._blobs.get(file.sha256, key)
            if content is None:
                raise gone
            return content

        return _ImageBytes(param=param, client=key, sha256=file.sha256, facts=file.facts, read=read)

    async def _fetched(
        self, url: str, generation: Generation, attempt: Attempt, max_bytes: int | None, param: str
    ) -> _ImageBytes:
        """The image at a URL of the client; its bytes are in memory until the submit is made.

        A URL that could not be fetched is remembered for the generation: its other routes get the same verdict without
        another download. They are tried only while one of them passes the URL on untouched, because its provider may
        reach what the gateway cannot; otherwise the output fails at once.
        """
        remembered = (generation.id, url)
        why = self._failed_fetches.get(remembered)
        if why is None:
            try:
                content, facts = await self._fetch(url, generation.owner, min(max_bytes or IMAGE_MAX, IMAGE_MAX), param)
            except _FetchFailed as error:
                why = str(error)
                self._failed_fetches[remembered] = why
                if len(self._failed_fetches) > FAILED_FETCHES_MAX:
                    del self._failed_fetches[next(iter(self._failed_fetches))]
            else:

                async def read() -> bytes:
                    return content

                digest = sha256(content).hexdigest()
                return _ImageBytes(
                    param=param, client=generation.owner, sha256=digest, facts=facts, read=read, passing=True
                )
        elsewhere = self._is_passed_on_elsewhere(url, generation, attempt)
        raise _refused(param, f"the URL could not be fetched: {why.rstrip('.')}. {_INSTEAD}", elsewhere=elsewhere)

    def _is_passed_on_elsewhere(self, url: str, generation: Generation, attempt: Attempt) -> bool:
        """True if another route that may still be tried passes this URL on untouched."""
        kind = input_kind(generation.request.input)
        for route in routes_left(generation, attempt):
            provider = self._providers.get(route.provider)
            if provider is not None and provider.accepts_work and route.model in provider.models:
                capabilities = provider.models[route.model].capabilities
                if any(kind in capability.inputs and self._passes_on(capability, url) for capability in capabilities):
                    return True
        return False

    async def _fetch(self, url: str, client: str, max_bytes: int, param: str) -> tuple[bytes, ImageFacts]:
        """The image at a URL and what it is, after two tries at most. Raises `_FetchFailed` or `InputRefused`.

        Its server may be busy for a moment, and a transfer may break off. An image that is damaged both times goes to
        no route at all: providers charge for a damaged image, whatever they make of it.
        """
        try:
            return await self._fetch_once(url, client, max_bytes, param)
        except (_TryAgain, DamagedImage) as error:
            log.info("image_fetch_failed", param=param, error=str(error))
        await sleep(self._clock, FETCH_AGAIN_SECONDS)
        try:
            return await self._fetch_once(url, client, max_bytes, param)
        except DamagedImage as error:
            raise _refused(param, error.detail, elsewhere=False) from error

    async def _fetch_once(self, url: str, client: str, max_bytes: int, param: str) -> tuple[bytes, ImageFacts]:
        try:
            async with self._fetcher.get(
                url,
                client=client,
                max_bytes=max_bytes,
                timeout_seconds=FETCH_TIMEOUT_SECONDS,
                open_headers={"Accept": "image/png,image/jpeg,image/webp,image/*;q=0.8,*/*;q=0.5"},
            ) as fetched:
                status, is_whole = fetched.status, fetched.is_whole
                content = b"".join([chunk async for chunk in fetched.chunks()]) if is_whole else b""
        except FetchTooLarge as error:
            if max_bytes >= IMAGE_MAX:  # no route takes more
                raise _FetchFailed(
                    f"the image has more than {IMAGE_MAX // 2**20} MB, the most that is taken"
                ) from error
            raise _refused(param, f"the image is over this provider's limit of {max_bytes:,} bytes") from error
        except RedirectRefused as error:  # the server may redirect to another place in a moment
            raise _TryAgain(str(error)) from error
        except FetchRefused as error:
            raise _FetchFailed(str(error)) from error
        except FetchFailed as error:
            raise _TryAgain(str(error)) from error
        if not is_whole:
            why = f"its server answered with HTTP status {status}"
            raise _TryAgain(why) if status in {408, 425, 429} or status >= 500 else _FetchFailed(why)
        try:
            return content, await inspect_large(content)
        except DamagedImage:
            raise
        except InvalidImage as error:  # often a page that asks the visitor to log in, or to prove to be a person
            raise _FetchFailed(f"its server sent something that is not a usable image. {error.detail}") from error


def _refused(param: str, why: str, *, elsewhere: bool = True) -> InputRefused:
    """The refusal of one image. With `elsewhere` the next route is tried: another provider may take the image."""
    message = f"`{param}`: {why.rstrip('.')}."
    return InputRefused(Failed(kind=FailureKind.INVALID_REQUEST, message=message, elsewhere=elsewhere))


def file_name(key: str, content: bytes) -> str:
    """The file id of bytes that came with a request.

    It is equal for equal `key` and `content`, so that bytes sent twice are stored once. Another key cannot use the id.
    """
    digest = sha256(key.encode() + b"\x00" + content).digest()
    return FILE_PREFIX + base64.b32encode(digest[:20]).decode().lower()
