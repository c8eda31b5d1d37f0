"""The attacks of `tests.hostile.bodies` end with a clear refusal, before anything is decoded that costs much."""

from collections.abc import Callable
from importlib import import_module
from typing import Any

import pytest

import gateway.api.web.json_body as json_body_module
import gateway.domain.adapter.contract as contract_module
from gateway.api.web.json_body import parse_json
from gateway.api.web.multipart import parse_form
from gateway.domain.adapter.content_encoding import BodyDecoder, UndecodableBody
from gateway.domain.adapter.contract import Adapter, HttpReply
from gateway.domain.adapter.result_files import files_of
from gateway.domain.adapter.task_reading import read_poll
from gateway.domain.errors import GatewayError, InvalidForm, InvalidImage, InvalidJson, UnreadableReply
from gateway.media.image_header import inspect
from gateway.media.image_pixels import filled_jpeg
from gateway.media.image_text import from_text

from ..hostile.bodies import BODIES, CREATE, FILES, FORM, IMAGES, REPLIES, TEXTS, bomb_of_webp

MB = 2**20
ADAPTERS: list[Adapter] = [import_module(f"providers.{name}").ADAPTER for name in ("foxapi", "keevx", "kling_relay")]
# A string is decoded whatever is in it: images are strings.
STRINGS = {"escapes", "a string without an end"}
VALUES = {
    name.removeprefix("create: "): body.make
    for name, body in BODIES.items()
    if body.path == CREATE and body.content_type == "application/json"
}


@pytest.mark.parametrize("name", sorted(VALUES.keys() - STRINGS))
def test_a_costly_body_is_refused_before_it_is_decoded(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[bytes] = []
    monkeypatch.setattr(json_body_module, "_decode", decoded.append)
    with pytest.raises(InvalidJson, match=r"more than [0-9,]+ .*Send ") as caught:
        parse_json(VALUES[name](MB), "application/json", None)
    assert (len(decoded), len(caught.value.detail) < 200) == (0, True)


@pytest.mark.parametrize("name", sorted(STRINGS))
def test_a_long_string_costs_as_much_as_an_image(name: str) -> None:
    try:
        body = parse_json(VALUES[name](MB), "application/json", None)
    except InvalidJson as error:
        assert "ends too early" in error.detail  # noqa: PT017  # one of them is accepted
    else:
        assert set(body) == {"model", "prompt", "metadata"}


@pytest.mark.parametrize("adapter", ADAPTERS, ids=lambda adapter: adapter.name)
@pytest.mark.parametrize("name", REPLIES)
def test_a_costly_reply_is_decoded_at_most_once(name: str, adapter: Adapter, monkeypatch: pytest.MonkeyPatch) -> None:
    body = REPLIES[name](MB // 8)
    decoded: list[bytes] = []
    original: Callable[[bytes], object] = contract_module.json_value

    def counted(raw: bytes) -> object:
        decoded.append(raw)
        return original(raw)

    monkeypatch.setattr(contract_module, "json_value", counted)
    try:
        read_poll(adapter, HttpReply(status=200, body=body), adapter.base_url)
    except UnreadableReply as error:
        assert len(str(error)) < 200  # noqa: PT017  # some of them are understood
    assert sum(raw is body for raw in decoded) == 1


def test_texts_in_a_reply_are_read_once_and_only_so_many(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[bytes] = []

    def noted(raw: bytes) -> object:
        read.append(raw)
        raise ValueError

    monkeypatch.setattr(contract_module, "json_value", noted)
    texts = [f"[{number}" + "a](x" * 3000 for number in range(80)]
    assert files_of({"video_url": texts}, "https://provider.example") == ()
    assert 80_000 < sum(map(len, read)) < 101_000
    assert len(set(read)) == len(read)


def test_a_reply_of_too_many_values_says_so() -> None:
    reply = HttpReply(status=200, body=REPLIES["a task with short numbers"](MB // 8))
    with pytest.raises(UnreadableReply, match="HTTP 200: the body has more than 5,000 values"):
        read_poll(ADAPTERS[0], reply, ADAPTERS[0].base_url)


@pytest.mark.parametrize("name", TEXTS)
def test_a_costly_text_of_an_image_is_refused(name: str) -> None:
    with pytest.raises(InvalidImage) as caught:
        from_text(TEXTS[name](MB).decode(), "image")
    assert (caught.value.param, len(caught.value.detail) < 500) == ("image", True)


def test_a_text_of_escapes_names_the_limit_and_the_remedy() -> None:
    with pytest.raises(InvalidImage, match="more than 100,000 escapes and tabs; send it without them"):
        from_text(TEXTS["escapes of a plus"](MB).decode(), "image")


@pytest.mark.parametrize("name", sorted(IMAGES.keys() - {"WebP of many pixels"}))
def test_a_costly_image_is_inspected_in_one_pass(name: str) -> None:
    """Where a run of fill bytes is searched again from each of its bytes, this takes hours."""
    image = IMAGES[name](MB // 4)
    try:
        inspect(image)
        filled_jpeg(image)
    except InvalidImage as error:
        assert len(error.detail) < 500  # noqa: PT017  # some of them are sound


@pytest.mark.parametrize("name", FILES)
def test_a_costly_file_is_decoded_to_its_limit_alone(name: str) -> None:
    encoding, make = FILES[name]
    pieces: list[bytes] = []
    with pytest.raises(UndecodableBody) as caught:
        pieces.extend(BodyDecoder(encoding, MB).pieces(make(MB // 32)))
    assert (sum(map(len, pieces)) <= MB, len(str(caught.value)) < 200) == (True, True)


def test_the_header_of_a_form_is_bounded() -> None:
    long = BODIES["form: a long Content-Type"]
    with pytest.raises(InvalidForm, match=r"more than 1,024 characters; send only its boundary"):
        parse_form(long.make(10), long.content_type, None)


@pytest.mark.parametrize("name", [name for name, body in BODIES.items() if body.content_type == FORM])
def test_a_costly_form_is_split_in_one_pass(name: str) -> None:
    parts: list[Any] = []
    try:
        parts += parse_form(BODIES[name].make(MB), FORM, None)
    except GatewayError as error:
        assert len(error.detail) < 300  # noqa: PT017  # some of them are sound
    assert len(parts) <= 1


def test_a_bomb_is_small() -> None:
    assert len(bomb_of_webp(1000)) < 1000
