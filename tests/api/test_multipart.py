"""A create request as a form makes the same generation as JSON, with the same refusals and the same bounds."""

import base64
import io
import json
from typing import Any

import pytest
from PIL import Image

VIDEOS = "/v1/videos/generations"
MODEL = "kling_relay/kling-v1"


def picture(width: int = 400) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (width, 320)).save(out, "PNG")
    return out.getvalue()


PNG, OTHER = picture(), picture(640)
FIELDS = {
    "model": MODEL,
    "prompt": "A beach.",
    "duration": "5",
    "cfg_scale": "0.5",
    "metadata[order]": "1",
    "fallback": "false",
    "provider_options": '{"kling_relay": {"external_task_id": "x"}}',
}
BODY = {
    "model": MODEL,
    "prompt": "A beach.",
    "duration": 5,
    "cfg_scale": 0.5,
    "metadata": {"order": "1"},
    "fallback": False,
    "provider_options": {"kling_relay": {"external_task_id": "x"}},
}
FILES = [("input_reference", ("a.png", PNG, "image/png")), ("image_tail", ("b.png", OTHER, "image/png"))]


async def test_a_form_makes_the_generation_that_json_makes(gateway: Any) -> None:
    keyed = {"Idempotency-Key": "one"}
    first = await gateway.client.post(VIDEOS, data=FIELDS, files=FILES, headers=keyed)
    images = {"image": base64.b64encode(PNG).decode(), "last_image": base64.b64encode(OTHER).decode()}
    again = await gateway.client.post(VIDEOS, json={**BODY, **images}, headers=keyed)

    assert (first.status_code, again.status_code) == (200, 200), first.text + again.text
    assert again.headers["idempotent-replayed"] == "true"
    assert first.headers["location"] == again.headers["location"]
    assert first.json()["request"] == again.json()["request"]
    assert gateway.rows() | {"attempts": 0} == {"generations": 1, "attempts": 0, "files": 2, "idempotency_keys": 1}
    await gateway.begin(first.json()["id"])
    [submit] = gateway.upstream.submits
    sent = json.loads(submit.content)
    assert [base64.b64decode(sent[name]) for name in ("image", "image_tail")] == [PNG, OTHER]


async def test_another_form_under_the_same_key_is_another_body(gateway: Any, check_error: Any) -> None:
    keyed = {"Idempotency-Key": "one"}
    await gateway.client.post(VIDEOS, data=FIELDS, files=FILES, headers=keyed)
    response = await gateway.client.post(VIDEOS, data=FIELDS, files=FILES[:1], headers=keyed)
    check_error(response, 422, "idempotency_key_reused", "Idempotency-Key")


async def test_a_quote_takes_the_same_form(untouched: Any) -> None:
    as_form = await untouched.client.post(f"{VIDEOS}/quote", data=FIELDS, files=FILES)
    images = {"image": base64.b64encode(PNG).decode(), "last_image": base64.b64encode(OTHER).decode()}
    as_json = await untouched.client.post(f"{VIDEOS}/quote", json={**BODY, **images})
    assert as_form.status_code == 200, as_form.text
    assert as_form.json() == as_json.json()


async def test_references_come_as_files_and_text(gateway: Any) -> None:
    names = [("reference_images", (None, "https://a.example/1.png")), ("reference_images", ("b.png", OTHER))]
    response = await gateway.client.post(VIDEOS, data={"model": "keevx/KL", "prompt": "A."}, files=names)
    assert response.status_code == 200, response.text
    url, name = (await gateway.stored(response.json()["id"])).request.input.references
    assert url == "https://a.example/1.png"
    assert (await gateway.application.store.files([name], (await gateway.stored(response.json()["id"])).owner))[name]


async def test_empty_boxes_and_file_inputs_of_a_browser_ask_for_nothing(untouched: Any) -> None:
    text = [
        "image",
        "duration",
        "aspect_ratio",
        "resolution",
        "size",
        "n",
        "webhook_url",
        "provider_options",
        "fallback",
    ]
    left_alone = [
        *((name, (None, "")) for name in text),
        *((name, ("", b"", "application/octet-stream")) for name in ("image", "last_image", "reference_images[]")),
    ]
    fields = [("model", (None, MODEL)), ("prompt", (None, "A beach."))]
    response = await untouched.client.post(f"{VIDEOS}/quote", files=[*fields, *left_alone])
    plain = await untouched.client.post(f"{VIDEOS}/quote", files=fields)
    assert (response.status_code, response.json()) == (200, plain.json())


BROKEN: dict[str, tuple[dict[str, Any], int, str, str | None]] = {
    "no model": ({"data": {"prompt": "A."}}, 400, "invalid_parameter", "model"),
    "another model": ({"data": {**FIELDS, "model": "x"}}, 404, "model_not_found", "model"),
    "a wrong number": ({"data": {**FIELDS, "duration": "five"}}, 400, "invalid_parameter", "duration"),
    "an unknown field": ({"data": {**FIELDS, "promt": "x"}}, 400, "unknown_parameter", "promt"),
    "no image": ({"files": {"image": ("a.png", b"text")}}, 400, "invalid_image", "image"),
    "twice": ({"files": [*FILES, ("prompt", (None, "x"))]}, 400, "invalid_form", "prompt"),
    "too large": ({"files": {"image": ("a.png", bytes(30 * 2**20))}}, 413, "body_too_large", None),
    "a plain form": ({"files": None}, 415, "unsupported_media_type", None),
    "no boundary": ({"headers": {"content-type": "multipart/form-data"}}, 400, "invalid_form", None),
    "another multipart": (
        {"headers": {"content-type": "multipart/mixed; boundary=a"}},
        415,
        "unsupported_media_type",
        None,
    ),
    "compressed": ({"headers": {"content-encoding": "gzip"}}, 415, "unsupported_media_type", None),
}


@pytest.mark.parametrize("path", [VIDEOS, f"{VIDEOS}/quote"])
async def test_a_refused_form_stores_nothing(untouched: Any, check_error: Any, path: str) -> None:
    for name, (changed, status, code, param) in BROKEN.items():
        response = await untouched.client.post(path, **{"data": FIELDS, "files": FILES, **changed})
        assert check_error(response, status, code, param), name


FRAMES = {"image": MODEL, "input_reference": MODEL, "last_image": MODEL, "image_tail": MODEL, "image_urls": "keevx/KL"}


@pytest.mark.parametrize("path", [VIDEOS, f"{VIDEOS}/quote"])
async def test_a_missing_file_is_reported_under_the_clients_name_of_its_field(
    untouched: Any, check_error: Any, path: str
) -> None:
    missing = "file_01JDKQ00000000000000000000"
    for name, model in FRAMES.items():
        first = {} if name in {"image", "input_reference", "image_urls"} else {"image": "https://a.example/1.png"}
        body = {"model": model, "prompt": "A.", **first}
        member = f"{name}[]" if name == "image_urls" else f"{name}[file_id]"
        as_form = [(key, (None, value)) for key, value in {**body, member: missing}.items()]
        as_json = {**body, name: [missing] if name == "image_urls" else {"file_id": missing}}
        check_error(await untouched.client.post(path, files=as_form), 400, "invalid_image", name)
        check_error(await untouched.client.post(path, json=as_json), 400, "invalid_image", name)


async def test_text_that_is_not_an_image_is_refused_with_what_it_decodes_to(untouched: Any, check_error: Any) -> None:
    """In each image field, of a form as of JSON."""
    text = base64.b64encode(b"not an image").decode()
    for name in FRAMES:
        member = f"{name}[]" if name == "image_urls" else name
        fields = {"model": MODEL, "prompt": "A.", member: text}
        as_form = await untouched.client.post(VIDEOS, files=[(key, (None, value)) for key, value in fields.items()])
        body = {"model": MODEL, "prompt": "A.", name: [text] if name == "image_urls" else text}
        as_json = await untouched.client.post(VIDEOS, json=body)
        param = f"{name}[0]" if name == "image_urls" else name
        for response in (as_form, as_json):
            message = check_error(response, 400, "invalid_image", param)
            assert f"`{param}`: the base64 text decodes to 12 bytes that are not a JPEG, PNG, WebP, GIF" in message


@pytest.mark.parametrize("headers", [{}, {"content-type": "text/plain"}])
async def test_a_body_that_is_neither_json_nor_a_form_is_answered_with_both(
    untouched: Any, check_error: Any, headers: dict[str, str]
) -> None:
    response = await untouched.client.post(VIDEOS, content=b"{}", headers=headers)
    message = check_error(response, 415, "unsupported_media_type")
    assert "send application/json or multipart/form-data" in message


async def test_a_form_that_is_cut_short_is_refused(served: Any, check_error: Any) -> None:
    body = b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nauto'
    head = b"POST /v1/videos/generations HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer " + served.key.encode()
    head += b"\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: %d\r\n\r\n" % len(body)
    [answer] = await served.raw(head + body)
    check_error(answer, 400, "invalid_form")


async def test_a_form_counts_towards_the_bytes_of_bodies_until_it_is_answered(start: Any, check_error: Any) -> None:
    gateway = await start("server.max_bodies_bytes = 29360128\nserver.max_body_bytes = 29360128")
    bodies = gateway.application.asgi._bodies
    held = bodies._capacity - 100_000
    bodies.taken = held  # as if other clients were sending large bodies
    large = [("image", ("a.png", PNG + bytes(200_000), "image/png"))]
    check_error(await gateway.client.post(VIDEOS, data=FIELDS, files=large), 503, "overloaded")
    check_error(await gateway.client.post("/v1/files", data={"purpose": "vision"}, files=large), 503, "overloaded")
    assert (await gateway.client.post(VIDEOS, data=FIELDS, files=FILES)).status_code == 200
    assert bodies.taken == held
