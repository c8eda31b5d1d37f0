"""The URL of a file in every dialect: a client gets the file from it without a key, wherever the file is."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from msgspec.structs import replace

from gateway.api.dialects import foxapi, keevx, openrouter, xai
from gateway.api.dialects.kling.new_api import read_view as new_api_view
from gateway.api.dialects.kling.views import answer_of, task_of
from gateway.api.generations.views import generation_view
from gateway.api.web.links import CONTENT, Links
from gateway.domain.adapter.task import Artifact, Status
from gateway.domain.generation.model import ArchivedFile, Generation, Output
from gateway.tokens import Signer

from ....cases import every
from ...builders import after, generation

AT = after(600)
SIGNER = Signer(b"x" * 32)
LINKS = Links("https://gw.example", SIGNER)
THEIRS = "https://cdn.example/1.mp4"
KEPT = ArchivedFile(name="f", bytes=1, sha256="0", content_type="video/mp4", kept_until=AT + timedelta(days=1))
URLS: dict[str, Callable[[Generation], Any]] = {
    "ours": lambda value: [output.url for output in generation_view(value, LINKS).data],
    "openrouter urls": lambda value: openrouter.read_view(value, LINKS).urls,
    "openrouter unsigned_urls": lambda value: openrouter.read_view(value, LINKS).unsigned_urls,
    "xai": lambda value: [xai.read_view(value, LINKS).video.url],  # type: ignore[union-attr]  # it is completed
    "foxapi results": lambda value: foxapi.task_view(value, LINKS).results,
    "foxapi result_data": lambda value: [file.url for file in foxapi.task_view(value, LINKS).result_data or ()],
    "keevx": lambda value: [keevx.task_view(value, 0, LINKS).video_url],  # type: ignore[union-attr]  # it is a video
    "keevx callback": lambda value: [keevx.callback_body(value, 0, LINKS)["data"]["video_url"]],
    "kling": lambda value: [video.url for video in task_of(value, LINKS).task_result.videos],  # type: ignore[union-attr]  # done
    "relay": lambda value: [answer_of(value, LINKS, "req_1").url],
    "new-api": lambda value: [new_api_view(value, LINKS, "req_1").data.result_url],
}


def completed(*, archived: ArchivedFile | None = None, needs_credential: bool = False) -> Generation:
    artifact = Artifact(url=THEIRS, needs_credential=needs_credential)
    output = Output(index=0, status=Status.COMPLETED, artifact=artifact, kept=archived)
    return replace(generation(), status=Status.COMPLETED, outputs=(output,), completed_at=AT)


def opens_at_the_gateway(url: str) -> bool:
    """Whether a URL is the gateway's own content path with a token for this file."""
    parts = urlsplit(url)
    [token] = parse_qs(parts.query).get("token", [""])
    is_ours = (parts.netloc, parts.path) == ("gw.example", "/v1/videos/generations/gen_1/content")
    return is_ours and SIGNER.admits(token, CONTENT, "gen_1", "0", "video", now=AT)


@every("dialect", URLS)
@every("value", [completed(archived=KEPT), completed(needs_credential=True)], ids=["archived", "with a key"])
def test_a_file_that_only_the_gateway_can_give_has_a_url_with_a_token(dialect: str, value: Generation) -> None:
    [url] = URLS[dialect](value)
    assert opens_at_the_gateway(url)


@pytest.mark.parametrize("dialect", URLS)
def test_a_file_that_is_open_at_the_provider_has_its_url(dialect: str) -> None:
    [url] = URLS[dialect](completed())
    if dialect.startswith("openrouter"):  # some of its clients send their key to whatever URL is there
        assert opens_at_the_gateway(url)
    else:
        assert url == THEIRS
