"""Asks a provider's content call whether there is a file, without downloading it: a finished task's last chance."""

from datetime import datetime
from http import HTTPStatus

import httpx

from gateway.artifacts.result_download import RESULT_MAX
from gateway.domain.adapter.content_encoding import BodyDecoder, UndecodableBody
from gateway.domain.adapter.request import Kind
from gateway.domain.adapter.task import Artifact, TaskRef
from gateway.fetch.fetcher import REDIRECTS, WHOLE
from gateway.media.image_result import begins_image
from gateway.media.video_header import begins_video
from gateway.upstream.client import Upstream
from gateway.upstream.provider import Provider

_BEGINS = {"video": begins_video, "image": begins_image}
_FILE_HEAD = {"video": 12, "image": 64}  # bytes that show whether a file is of the kind
_NO_CONTENT = frozenset({400, 404, 410})  # the answers that say that the file does not exist


class ContentUnclear(Exception):
    """The answer does not say whether the file exists."""

    def __init__(self, status: int) -> None:
        super().__init__(f"HTTP {status}")
        self.status = status


async def find_file(
    upstream: Upstream, provider: Provider, ref: TaskRef, now: datetime, kind: Kind = "video"
) -> Artifact | None:
    """The file of a task as its content call gives it; `None` if the provider says that it does not exist.

    Raises `ContentUnclear`, `NotSent`, `NoAnswer`, `httpx.TransportError`, and what the adapter raises. The adapter
    must have a content call.
    """
    if provider.adapter.content is None:
        return None
    call = provider.adapter.content(ref)
    response = await upstream.stream(
        provider.adapter.authorize(call, provider.credential, now),
        base_url=provider.base_url,
        timeout_seconds=provider.read_timeout_seconds,
        headers=provider.headers,
    )
    try:
        # A redirect may lead to the file. The archiver finds out when it fetches it.
        is_file = response.status_code in REDIRECTS or (
            response.status_code in {*WHOLE, HTTPStatus.PARTIAL_CONTENT} and await _begins_a_file(response, kind)
        )
    finally:
        await response.aclose()
    if response.status_code in _NO_CONTENT:
        return None
    if not is_file:
        raise ContentUnclear(response.status_code)
    return Artifact(
        url=provider.base_url + call.path,
        content_type=response.headers.get("content-type"),
        needs_credential=True,
    )


async def _begins_a_file(response: httpx.Response, kind: Kind = "video") -> bool:
    """Whether the body is of this kind by its type or its first bytes: an error page may come with 200, too."""
    content_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type.startswith(f"{kind}/"):
        return True
    decoder = BodyDecoder(response.headers.get("content-encoding", ""), RESULT_MAX)
    head = b""
    try:
        async for chunk in response.aiter_raw():
            for piece in decoder.pieces(chunk):
                head += piece
                if len(head) >= _FILE_HEAD[kind]:
                    return _BEGINS[kind](head)
        head += decoder.finish()
    except UndecodableBody:
        return False
    return _BEGINS[kind](head)
