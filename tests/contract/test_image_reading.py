"""Where the images of a finished task are found in a reply, in forms that no adapter documents."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.adapter.request import Kind
from gateway.domain.adapter.result_files import files_of
from gateway.domain.adapter.task import Completed, Pending
from gateway.domain.adapter.task_reading import read_poll

from ..cases import every
from .exchanges import ADAPTERS
from .shapes import DONE, PROVIDERS, TASK, answer, state

BASE = "https://api.example"
PNG = "https://cdn.example/a.png"
SIGNED = "https://cdn.example/files/8c1d?X-Sign=abc"  # no ending says what it is
VIDEO = "https://cdn.example/v.mp4"
every_provider = pytest.mark.parametrize("name", PROVIDERS)


def polled(name: str, body: Any, kind: Kind = "image") -> Any:
    adapter = ADAPTERS[name]
    return read_poll(adapter, answer(body), adapter.base_url, kind)


def urls(snapshot: Any) -> list[str]:
    assert isinstance(snapshot, Completed), snapshot
    return [file.url for file in snapshot.artifacts]


# Ways in which services name the images of a finished task. `U` represents the URL.
PLACES: dict[str, Any] = {
    "image_url": {"image_url": "U"},
    "imageUrl": {"imageUrl": "U"},
    "image": {"image": "U"},
    "images of texts": {"images": ["U"]},
    "images of objects": {"images": [{"url": "U", "width": 1024, "height": 768, "content_type": "image/png"}]},
    "image_urls": {"image_urls": ["U"]},
    "image_list": {"image_list": [{"url": "U"}]},
    "data of OpenAI": {"data": [{"url": "U", "revised_prompt": "A boat at sea."}]},
    "output": {"output": "U"},
    "output of texts": {"output": ["U"]},
    "output with images": {"output": {"images": [{"url": "U"}]}},
    "urls": {"urls": ["U"]},
    "result_url": {"result_url": "U"},
    "result": {"result": {"image_url": "U"}},
    "results": {"results": [{"url": "U"}]},
    "task_result of Kling": {"task_result": {"images": [{"index": 0, "url": "U"}]}},
    "file": {"file": {"download_url": "U"}},
    "generated_images": {"generated_images": [{"src": "U"}]},
    "sample": {"result": {"sample": "U"}},
    "JSON in a text": {"result": json.dumps({"images": ["U"]})},
}


def filled(place: Any, url: str) -> Any:
    """The place with this URL."""
    if isinstance(place, dict):
        return {key: filled(value, url) for key, value in place.items()}
    if isinstance(place, list):
        return [filled(value, url) for value in place]
    if place == "U":
        return url
    return place.replace('"U"', json.dumps(url)) if isinstance(place, str) else place


@every_provider
@every("url", [PNG, SIGNED])
@every("place", PLACES.values(), ids=PLACES)
def test_an_image_is_found_in_every_usual_place(name: str, place: Any, url: str) -> None:
    body = {"code": 0, "data": {"task_id": TASK, "status": "succeeded", **filled(place, url)}}
    assert urls(polled(name, body)) == [url]
    if "data" not in place:
        assert urls(polled(name, {"id": TASK, "status": "completed", **filled(place, url)})) == [url]


@every_provider
def test_all_images_of_a_task_are_found_in_their_order(name: str) -> None:
    several = [f"https://cdn.example/{number}.webp" for number in range(4)]
    for images in (several, [{"url": url} for url in several]):
        assert urls(polled(name, {"task_id": TASK, "status": "done", "images": images})) == several


@every_provider
@every("small", ["thumbnail", "thumb_url", "preview_url", "cover", "thumbnails"])
@every("place", ["final", "image", "url"])
def test_a_small_copy_is_not_the_image(name: str, small: str, place: str) -> None:
    copy = "https://cdn.example/small.jpg"
    for fields in ({small: copy, place: PNG}, {place: PNG, small: copy}):
        assert urls(polled(name, {"task_id": TASK, "status": "done", **fields})) == [PNG]
    assert isinstance(polled(name, {"task_id": TASK, "status": "done", small: copy}), Pending)


@every_provider
def test_a_video_is_not_an_image_and_an_image_is_not_a_video(name: str) -> None:
    task = {"task_id": TASK, "status": "done"}
    both = {**task, "video_url": VIDEO, "image_url": PNG}
    assert [file.url for file in files_of(both, BASE, "image")] == [PNG]
    assert [file.url for file in files_of(both, BASE, "video")] == [VIDEO]
    missing = polled(name, {**task, "output": VIDEO})
    assert isinstance(missing, Pending)
    assert missing.result_missing


@every_provider
def test_inputs_that_the_reply_repeats_are_not_results(name: str) -> None:
    given_images = {"reference_images": [PNG], "mask": PNG, "request": {"image_url": PNG}, "input": {"images": [PNG]}}
    task = {"task_id": TASK, "status": "done", **given_images}
    assert isinstance(polled(name, task), Pending)
    made = "https://cdn.example/made.png"
    assert urls(polled(name, {**task, "images": [made]})) == [made]


BASE64 = {
    form: base64.b64encode(head + bytes(range(256)) * 8).decode()
    for form, head in {"PNG": b"\x89PNG\r\n\x1a\n", "JPEG": b"\xff\xd8\xff\xe0", "GIF": b"GIF89a"}.items()
}


@every_provider
@every("field", ["b64_json", "image", "images", "output", "image_base64", "data", "url", "image_url"])
@every("prefix", ["", "data:image/png;base64,"])
@every("form", BASE64)
@every("length", [200, 3000])
def test_bytes_within_a_reply_are_not_taken_for_a_link(
    name: str, field: str, prefix: str, form: str, length: int
) -> None:
    """They are not supported: the task counts as done without a file. JPEG in base64 begins like a path ("/9j/")."""
    for value in (prefix + BASE64[form][:length], [{"b64_json": prefix + BASE64[form][:length]}]):
        snapshot = polled(name, {"task_id": TASK, "status": "done", field: value})
        assert isinstance(snapshot, Pending), snapshot
        assert snapshot.result_missing


@every_provider
@every("place", ["image_url", "images", "url", "output"])
def test_an_image_beside_bytes_is_taken(name: str, place: str) -> None:
    task = {"task_id": TASK, "status": "done", "b64_json": BASE64["PNG"], place: [PNG]}
    assert urls(polled(name, task)) == [PNG]


@every_provider
def test_the_documented_reply_with_an_image_is_read(name: str) -> None:
    assert urls(polled(name, state(name, DONE[name], PNG))) == [PNG]


NAMES = st.sampled_from(
    sorted({key for place in PLACES.values() for key in place} | {"b64_json", "video_url", "thumb"})
)
TEXTS = st.one_of(
    st.sampled_from([PNG, SIGNED, VIDEO, "U", "", BASE64["JPEG"], f"data:image/png;base64,{BASE64['PNG']}"]),
    st.text(max_size=40),
)
VALUES = st.recursive(
    st.one_of(TEXTS, st.none(), st.integers(), st.booleans()),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(NAMES, inner, max_size=4)),
    max_leaves=20,
)


@given(value=VALUES)
def test_only_links_that_are_in_the_reply_are_results(value: Any) -> None:
    """Nothing is made up: each file is a link that was there, and never a video or bytes."""
    files = [file.url for file in files_of(value, "", "image")]
    text = json.dumps(value, ensure_ascii=False).replace("\\/", "/")
    for url in files:
        assert url.startswith(("http://", "https://"))
        assert url != VIDEO
        assert "base64" not in url
        if url in {PNG, SIGNED}:
            assert url in text
    assert len(files) == len(set(files)) <= 64


@given(
    place=st.sampled_from(sorted(PLACES)), noise=st.dictionaries(st.sampled_from(["seed", "cost", "model", "x"]), TEXTS)
)
def test_fields_beside_the_place_do_not_hide_the_image(place: str, noise: dict[str, str]) -> None:
    noise = {key: value for key, value in noise.items() if value not in {PNG, SIGNED}}
    files = files_of({**noise, **filled(PLACES[place], PNG)}, BASE, "image")
    assert [file.url for file in files][:1] == [PNG]
