"""Webhook endpoints, deliveries and secrets: what clients see of their own, and what is refused."""

import json
from typing import Any

import msgspec
import pytest

from gateway.api.webhooks.events import WEBHOOKS, OpenAIEvent, WebhookEvent, WebhookTest
from gateway.domain.webhooks import ENDPOINTS_MAX

ENDPOINTS, DELIVERIES, SECRET = "/v1/webhook_endpoints", "/v1/webhook_deliveries", "/v1/webhook_secret"
URL = "https://a.example/hook"
NO_ENDPOINT, NO_DELIVERY = f"{ENDPOINTS}/whe_x", f"{DELIVERIES}/dlv_x"
PATHS = [
    ("GET", ENDPOINTS),
    ("POST", ENDPOINTS),
    ("GET", NO_ENDPOINT),
    ("PATCH", NO_ENDPOINT),
    ("POST", NO_ENDPOINT),
    ("DELETE", NO_ENDPOINT),
    ("POST", f"{NO_ENDPOINT}/rotate_secret"),
    ("POST", f"{NO_ENDPOINT}/test"),
    ("GET", DELIVERIES),
    ("GET", NO_DELIVERY),
    ("POST", f"{NO_DELIVERY}/redeliver"),
    ("GET", SECRET),
    ("GET", "/v1/webhook_event_types"),
]


async def made(gateway: Any, client: Any = None, **body: Any) -> Any:
    response = await (client or gateway.client).post(ENDPOINTS, json={"url": URL, **body})
    assert response.status_code == 200, response.text
    return response.json()


async def ended(gateway: Any, **body: Any) -> Any:
    """Create and cancel a generation, and let its webhooks be sent."""
    generation = await gateway.create(**body)
    await gateway.client.post(f"/v1/videos/generations/{generation['id']}/cancel")
    await gateway.clock.advance(0)
    return generation


async def test_an_endpoint_shows_its_secret_once(notified: Any) -> None:
    endpoint = await made(notified, description="the shop")

    secret = endpoint.pop("secret")
    assert endpoint.pop("signing_secret") == secret
    assert secret.startswith("whsec_")
    assert endpoint == {
        "id": endpoint["id"],
        "object": "webhook_endpoint",
        "created_at": endpoint["created_at"],
        "url": URL,
        "events": ["*"],
        "event_types": ["*"],
        "description": "the shop",
        "name": "the shop",
        "disabled": False,
        "disabled_reason": None,
    }
    assert (await notified.client.get(f"{ENDPOINTS}/{endpoint['id']}")).json() == endpoint
    listed = (await notified.client.get(ENDPOINTS)).json()
    assert listed == {
        "object": "list",
        "data": [endpoint],
        "first_id": endpoint["id"],
        "last_id": endpoint["id"],
        "has_more": False,
    }

    rotated = (await notified.client.post(f"{ENDPOINTS}/{endpoint['id']}/rotate_secret")).json()
    assert rotated.pop("secret") == rotated.pop("signing_secret") != secret
    assert rotated == endpoint


async def test_an_endpoint_is_changed_field_by_field_and_deleted(notified: Any) -> None:
    path = f"{ENDPOINTS}/{(await made(notified, description='x'))['id']}"
    steps: tuple[tuple[dict[str, Any], dict[str, Any]], ...] = (
        ({"url": "https://b.example/"}, {"url": "https://b.example/"}),
        ({"events": ["video.generation.failed"] * 2}, {"events": ["video.generation.failed"]}),
        ({"events": ["video.generation.failed", "*"]}, {"events": ["*"]}),
        ({"description": None}, {"description": None}),
        ({"disabled": True}, {"disabled": True, "disabled_reason": "requested"}),
        ({"disabled": False}, {"disabled": False, "disabled_reason": None}),
    )
    for changes, shown in steps:
        before = (await notified.client.get(path)).json()
        after = await notified.client.patch(path, json=changes)
        for name, same in (("events", "event_types"), ("description", "name")):
            if name in shown:
                shown[same] = shown[name]
        assert after.json() == {**before, **shown}
        assert (await notified.client.get(path)).json() == after.json()

    deleted = await notified.client.delete(path)
    assert deleted.json() == {"id": path.rpartition("/")[2], "object": "webhook_endpoint", "deleted": True}
    assert (await notified.client.get(path)).status_code == 404


async def test_every_path_needs_a_key(notified: Any, check_error: Any) -> None:
    async with notified.client_of(None) as nobody:
        for method, path in PATHS:
            check_error(await nobody.request(method, path), 401, "invalid_api_key")


@pytest.mark.parametrize(("method", "path"), [route for route in PATHS if route[1].count("/") > 2])
async def test_resources_of_another_key_do_not_exist(notified: Any, check_error: Any, method: str, path: str) -> None:
    body = {} if method == "PATCH" or path == NO_ENDPOINT else None
    check_error(await notified.client.request(method, path, json=body), 404, "not_found", "id")

    endpoint = await made(notified)
    generation = await ended(notified)
    (delivery,) = (await notified.client.get(DELIVERIES)).json()["data"]
    assert delivery["generation"] == generation["id"]
    path = path.replace("whe_x", endpoint["id"]).replace("dlv_x", delivery["id"])
    check_error(await notified.other.request(method, path, json=body), 404, "not_found", "id")
    for listed in (ENDPOINTS, DELIVERIES, f"{DELIVERIES}?generation={generation['id']}"):
        assert (await notified.other.get(listed)).json()["data"] == []
    assert (await notified.client.get(f"{ENDPOINTS}/{endpoint['id']}")).json()["disabled"] is False
    assert len((await notified.client.get(DELIVERIES)).json()["data"]) == len(notified.posted) == 1


REFUSED: list[tuple[dict[str, Any], str, str]] = [  # (body, error code, part of the message)
    ({"url": None}, "invalid_parameter", "https"),
    ({"url": "http://a.example/"}, "invalid_parameter", "https"),
    ({"url": "https://user:pw@a.example/"}, "invalid_parameter", "credentials"),
    ({"url": "https://127.0.0.1/"}, "invalid_parameter", "fetch.allow"),
    ({"url": "https://169.254.169.254/"}, "invalid_parameter", "fetch.allow"),
    ({"url": "https://a.example/" + "x" * 2048}, "invalid_parameter", "2048"),
    ({"events": []}, "invalid_parameter", "list of events"),
    ({"events": "*"}, "invalid_parameter", "list of events"),
    ({"events": ["video.generation.queued"]}, "invalid_parameter", "video.generation.completed"),
    ({"events": [{"a": 1}]}, "invalid_parameter", "dict"),
    ({"event_types": []}, "invalid_parameter", "list of events"),
    ({"event_types": ["response.completed"]}, "invalid_parameter", "video.completed"),
    ({"name": 5}, "invalid_parameter", "256"),
    ({"description": 5}, "invalid_parameter", "256"),
    ({"description": "x" * 257}, "invalid_parameter", "256"),
    ({"secret": "whsec_x"}, "unknown_parameter", "description"),
]


async def test_values_that_an_endpoint_cannot_have_are_refused(notified: Any, check_error: Any) -> None:
    path = f"{ENDPOINTS}/{(await made(notified))['id']}"
    for body, code, words in REFUSED:
        (param,) = body
        assert words in check_error(await notified.client.post(ENDPOINTS, json={"url": URL, **body}), 400, code, param)
        assert words in check_error(await notified.client.patch(path, json=body), 400, code, param)
    nothing = await notified.client.post(ENDPOINTS, json={})
    assert "`url` is required" in check_error(nothing, 400, "invalid_parameter", "url")
    made_disabled = await notified.client.post(ENDPOINTS, json={"url": URL, "disabled": True})
    check_error(made_disabled, 400, "unknown_parameter", "disabled")
    (only,) = (await notified.client.get(ENDPOINTS)).json()["data"]
    assert (only["url"], only["events"], only["description"]) == (URL, ["*"], None)


async def test_changes_that_are_refused(notified: Any, check_error: Any) -> None:
    endpoint = f"{ENDPOINTS}/{(await made(notified))['id']}"
    for method, path, body in (
        ("PATCH", "", {"disabled": None}),
        ("PATCH", "", {"disabled": "yes"}),
        ("PATCH", "", {"events": None}),
        ("POST", "/rotate_secret", {"expires_after_seconds": -1}),
        ("POST", "/rotate_secret", {"expires_after_seconds": 604_801}),
        ("POST", "/rotate_secret", {"expires_after_seconds": True}),
        ("POST", "/rotate_secret", {"expires_after_seconds": 1.5}),
    ):
        response = await notified.client.request(method, endpoint + path, json=body)
        check_error(response, 400, "invalid_parameter", *body)


async def test_unknown_fields_and_other_media_types_are_refused(notified: Any, check_error: Any) -> None:
    path = f"{ENDPOINTS}/{(await made(notified))['id']}"
    check_error(await notified.client.post(f"{path}/test", json={"x": 1}), 400, "unknown_parameter", "x")
    check_error(await notified.client.post(f"{NO_DELIVERY}/redeliver", json={"x": 1}), 400, "unknown_parameter", "x")
    check_error(await notified.client.post(f"{path}/rotate_secret", json={"x": 1}), 400, "unknown_parameter", "x")
    check_error(await notified.client.post(ENDPOINTS), 415, "unsupported_media_type")
    assert (await notified.client.post(f"{path}/test", json={})).status_code == 200


async def test_query_parameters_with_invalid_values_are_refused(notified: Any, check_error: Any) -> None:
    for query, param in (
        ("state=sent", "state"),
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("order=up", "order"),
        ("after=gen_01JDKQ00000000000000000000", "after"),
        ("before=x", "before"),
        ("after=dlv_01JDKQ00000000000000000000&before=dlv_01JDKQ00000000000000000000", "before"),
    ):
        check_error(await notified.client.get(f"{DELIVERIES}?{query}"), 400, "invalid_parameter", param)


async def test_an_unknown_query_parameter_is_refused(notified: Any, check_error: Any) -> None:
    for method, path in PATHS:
        response = await notified.client.request(
            method, f"{path}?x=1", json={} if method in {"POST", "PATCH"} else None
        )
        check_error(response, 400, "unknown_parameter", "x")


async def test_the_number_of_endpoints_of_a_key_is_limited(notified: Any, check_error: Any) -> None:
    for _ in range(ENDPOINTS_MAX):
        await made(notified)

    message = check_error(await notified.client.post(ENDPOINTS, json={"url": URL}), 409, "conflict")
    assert str(ENDPOINTS_MAX) in message
    await made(notified, notified.other)


async def test_deliveries_are_listed_with_pages_and_filters(notified: Any) -> None:
    endpoint = await made(notified)
    generations = [await ended(notified, webhook_url="https://b.example/") for _ in range(2)]
    notified.status = 500
    failed = await ended(notified)

    first = (await notified.client.get(f"{DELIVERIES}?limit=3")).json()
    assert first["has_more"] is True
    assert (first["first_id"], first["last_id"]) == (first["data"][0]["id"], first["data"][-1]["id"])
    rest = (await notified.client.get(f"{DELIVERIES}?limit=3&after={first['last_id']}")).json()
    everything = [*first["data"], *rest["data"]]
    assert (len(everything), rest["has_more"]) == (5, False)

    newest = everything[0]
    assert newest == {
        "id": newest["id"],
        "object": "webhook_delivery",
        "created_at": newest["created_at"],
        "event_id": failed["id"].replace("gen_", "evt_"),
        "type": "video.generation.cancelled",
        "endpoint": endpoint["id"],
        "generation": failed["id"],
        "output": None,
        "url": URL,
        "state": "pending",
        "next_try_at": newest["tries"][0]["at"] + 5,
        "tries": [{**newest["tries"][0], "status": 500, "error": None}],
    }
    assert (await notified.client.get(f"{DELIVERIES}/{newest['id']}")).json() == newest

    async def ids(query: str) -> list[str]:
        return [delivery["id"] for delivery in (await notified.client.get(f"{DELIVERIES}?{query}")).json()["data"]]

    assert await ids("state=pending") == [newest["id"]]
    assert await ids(f"endpoint={endpoint['id']}&state=succeeded&order=asc") == [
        delivery["id"] for delivery in reversed(everything) if delivery["endpoint"] and delivery["state"] == "succeeded"
    ]
    assert sorted(await ids(f"generation={generations[0]['id']}")) == sorted(
        delivery["id"] for delivery in everything if delivery["generation"] == generations[0]["id"]
    )
    assert await ids("state=dead") == []


async def test_a_disabled_endpoint_gets_nothing_and_says_so(notified: Any, check_error: Any) -> None:
    path = f"{ENDPOINTS}/{(await made(notified))['id']}"
    await ended(notified)
    (delivery,) = (await notified.client.get(DELIVERIES)).json()["data"]
    await notified.client.patch(path, json={"disabled": True})
    await ended(notified)

    assert "enable it" in check_error(await notified.client.post(f"{path}/test"), 409, "conflict")
    again = await notified.client.post(f"{DELIVERIES}/{delivery['id']}/redeliver")
    assert "enable it" in check_error(again, 409, "conflict")
    assert notified.posted == [URL]


async def test_a_test_and_a_redelivery_answer_with_the_delivery(notified: Any) -> None:
    path = f"{ENDPOINTS}/{(await made(notified))['id']}"
    sent = (await notified.client.post(f"{path}/test")).json()
    assert (sent["type"], sent["state"], sent["generation"], sent["tries"]) == ("webhook.test", "pending", None, [])
    await notified.clock.advance(0)
    done = (await notified.client.get(f"{DELIVERIES}/{sent['id']}")).json()
    assert (done["state"], len(done["tries"])) == ("succeeded", 1)

    again = (await notified.client.post(f"{DELIVERIES}/{sent['id']}/redeliver")).json()
    assert (again["state"], again["event_id"], len(again["tries"])) == ("pending", sent["event_id"], 1)
    await notified.clock.advance(0)
    assert len(notified.posted) == 2


async def test_an_endpoint_is_tested_once_at_a_time_and_tried_once(notified: Any, check_error: Any) -> None:
    path = f"{ENDPOINTS}/{(await made(notified))['id']}/test"
    notified.status = 500
    for number in range(1, 3):
        notified.answers.clear()
        sent = (await notified.client.post(path)).json()
        for _ in range(5):
            assert sent["id"] in check_error(await notified.client.post(path), 409, "conflict")
        notified.answers.set()
        await notified.clock.advance(86_400)
        dead = (await notified.client.get(f"{DELIVERIES}/{sent['id']}")).json()
        assert (dead["state"], dead["next_try_at"], len(dead["tries"])) == ("dead", None, 1)
        assert len(notified.posted) == number


async def test_every_body_that_is_sent_is_documented(notified: Any) -> None:
    endpoint = await made(notified)
    await notified.client.post(f"{ENDPOINTS}/{endpoint['id']}/test")
    await notified.clock.advance(0)
    await ended(notified)

    await notified.client.patch(f"{ENDPOINTS}/{endpoint['id']}", json={"events": ["video.failed"]})
    await ended(notified)

    for sent, kind in zip(notified.bodies, (WebhookTest, WebhookEvent, OpenAIEvent), strict=True):
        read = msgspec.json.decode(sent, type=kind)
        assert json.loads(msgspec.json.encode(read)) == json.loads(sent)
        assert {"$ref": f"#/components/schemas/{kind.__name__}"} in [
            webhook["post"]["requestBody"]["content"]["application/json"]["schema"] for webhook in WEBHOOKS.values()
        ]


async def test_every_key_reads_a_secret_of_its_own(notified: Any) -> None:
    own = (await notified.client.get(SECRET)).json()
    other = (await notified.other.get(SECRET)).json()

    assert own == (await notified.client.get(SECRET)).json() == {"object": "webhook_secret", "secret": own["secret"]}
    assert own["secret"].startswith("whsec_")
    assert own["secret"] != other["secret"]


async def test_a_configured_secret_is_not_shown(start: Any) -> None:
    gateway = await start(environ={"VIDEO_GATEWAY_WEBHOOK_SECRET": "whsec_" + "QUJD" * 8})

    assert (await gateway.client.get(SECRET)).json() == {"object": "webhook_secret", "secret": None}
