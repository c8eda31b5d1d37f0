"""Input images: from the uploads, from base64, or fetched from this machine. No other host is contacted."""

import base64
import binascii
import ipaddress
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

import httpx

from gateway.sandbox.media import sniff
from gateway.sandbox.state import State

UPLOADS = "/files/uploads/"
CACHED = 64  # different images in memory


class BadImageError(Exception):
    """An image that a provider would refuse. `reason`: inaccessible, too_large, format, pixel or base64."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(slots=True)
class Images:
    """Reads input images. Equal images share their memory."""

    state: State
    client: httpx.AsyncClient
    _cached: dict[bytes, bytes] = field(default_factory=dict)

    async def by_url(self, url: str, base: str, *, limit: int, kinds: frozenset[str]) -> bytes | None:
        """The image at a URL; None if it is on a host that the sandbox does not contact. Raises `BadImageError`."""
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise BadImageError("inaccessible")
        bases = {base, self.state.settings.public_url or base}
        if f"{parts.scheme}://{parts.netloc}" in bases and parts.path.startswith(UPLOADS):
            upload = self.state.uploads.get(unquote(parts.path.removeprefix(UPLOADS)))
            if upload is None or upload.expires_at < self.state.clock.now():
                raise BadImageError("inaccessible")
            data = upload.data
            if not data:
                return None
        elif self._is_near(parts.hostname):
            data = await self._fetch(url, limit)
        else:
            return None
        return self._checked(data, limit, kinds)

    def by_base64(self, text: str, *, limit: int, kinds: frozenset[str]) -> bytes:
        """The image in a base64 text without a prefix. Raises `BadImageError`."""
        try:
            data = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            raise BadImageError("base64") from None
        return self._checked(data, limit, kinds)

    def _checked(self, data: bytes, limit: int, kinds: frozenset[str]) -> bytes:
        if self.state.settings.check_images:
            if len(data) > limit:
                raise BadImageError("too_large")
            if sniff(data) not in kinds:
                raise BadImageError("format")
        if len(self._cached) >= CACHED:
            self._cached.clear()
        return self._cached.setdefault(data, data)

    def _is_near(self, host: str) -> bool:
        if host == "localhost" or host in self.state.settings.fetch_hosts:
            return True
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return False

    async def _fetch(self, url: str, limit: int) -> bytes:
        data = bytearray()
        try:
            async with self.client.stream("GET", url) as reply:
                if reply.status_code != httpx.codes.OK:
                    raise BadImageError("inaccessible")
                async for chunk in reply.aiter_bytes():
                    data += chunk
                    if len(data) > limit:
                        raise BadImageError("too_large")
        except (httpx.HTTPError, httpx.InvalidURL):
            raise BadImageError("inaccessible") from None
        return bytes(data)
