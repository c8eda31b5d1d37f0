"""`POST …/quote` shows the plan of a request and starts nothing."""

import base64
import io
from typing import Any

import pytest
from PIL import Image

from gateway.domain.adapter.failure import FailureKind
from gateway.domain.adapter.messages import failed

QUOTE = "/v1/videos/generations/quote"
HERO = """
[models.hero]
routes = ["foxapi/kling-v3-image-to-video", "keevx/V", "kling_relay/kling-v1"]
order = "{order}"
adapt = "nearest"

[providers.foxapi.models.kling-v3-image-to-video]
prices = [
  {{ resolution = "1080p", per_second = 0.2 }},
  {{ per_second = 0.1 }},
]

[providers.keevx.models.V]
prices = [{{ per_clip = 0.3 }}]
"""
IMAGE = {"image": "https://a.example/1.png", "prompt": "A boat."}


async def quote(gateway: Any, **body: Any) -> Any:
    response = await gateway.client.post(QUOTE, json=body)
    assert response.status_code == 200, response.content
    return response.json()


def names(quoted: Any) -> list[str]:
    return [f"{route['provider']}/{route['provider_model']}" for route in quoted["routes"]]


async def test_routes_come_in_order_with_price_and_changes(start: Any) -> None:
    gateway = await start(HERO.format(order="priority"))
    answer = await quote(gateway, model="hero", duration=7, n=2, **IMAGE)
    assert (answer["object"], answer["model"], answer["order"]) == ("video.generation.quote", "hero", "priority")
    assert names(answer) == ["foxapi/kling-v3-image-to-video", "keevx/V", "kling_relay/kling-v1"]
    fox, keevx, relay = answer["routes"]
    assert (fox["cost_usd"], keevx["cost_usd"], relay["cost_usd"], answer["cost_usd"]) == (1.0, 0.6, None, 1.0)
    assert (fox["submits"], keevx["submits"]) == (2, 1)
    assert keevx["settings"] == {"duration": 8, "resolution": "720p"}
    assert keevx["warnings"] == [
        {"type": "adapted", "param": "duration", "from": 7, "to": 8, "provider": "keevx"},
        {"type": "defaulted", "param": "resolution", "to": "720p", "provider": "keevx"},
    ]
    assert [route["circuit"] for route in answer["routes"]] == ["closed"] * 3
    assert answer["summary"] == [
        "1. foxapi/kling-v3-image-to-video: 2 submits; duration 7 becomes 5; costs 1 USD",
        "2. keevx/V: duration 7 becomes 8; resolution is 720p, which the provider requires; costs 0.6 USD",
        *answer["summary"][2:],
    ]
    assert answer["summary"][2].startswith("3. kling_relay/kling-v1: 2 submits; duration 7 becomes")


KEEVX_FIRST = """
[models.flagship]
routes = ["keevx/V", "foxapi/kling-v3-image-to-video"]
adapt = "nearest"
"""


@pytest.mark.parametrize("ratio", [{"aspect_ratio": "16:9"}, {"size": "1280x720"}, {"size": "1792x1024"}])
async def test_a_ratio_beside_an_image_is_left_out_on_a_route_that_follows_the_image(
    start: Any, ratio: dict[str, str]
) -> None:
    gateway = await start(KEEVX_FIRST)
    answer = await quote(gateway, model="flagship", duration=6, **ratio, **IMAGE)
    assert names(answer) == ["keevx/V", "foxapi/kling-v3-image-to-video"]
    keevx, fox = answer["routes"]
    assert (keevx["settings"]["aspect_ratio"], keevx["settings"]["duration"]) == ("16:9", 6)
    assert ("aspect_ratio" in fox["settings"], fox["settings"]["duration"]) == (False, 5)
    [left_out] = [warning for warning in fox["warnings"] if warning["param"] == "aspect_ratio"]
    message = "The parameter is left out: the model takes none, its video has the aspect ratio of the image."
    assert left_out == {
        "type": "adapted",
        "param": "aspect_ratio",
        "from": "7:4" if ratio.get("size") == "1792x1024" else "16:9",
        "to": None,
        "provider": "foxapi",
        "message": message,
    }
    assert "is left out, the video follows the image" in answer["summary"][1]
    exact = await quote(gateway, model="flagship", duration=6, adapt="none", **ratio, **IMAGE)
    reasons = {route["provider"]: [reason["param"] for reason in route["reasons"]] for route in exact["left_out"]}
    assert "aspect_ratio" in reasons["foxapi"]


async def test_a_ratio_that_the_image_has_is_not_an_adaptation(start: Any) -> None:
    gateway = await start(KEEVX_FIRST)
    out = io.BytesIO()
    Image.new("RGB", (640, 360)).save(out, "PNG")
    image = {"image": base64.b64encode(out.getvalue()).decode(), "prompt": "A boat."}
    answer = await quote(gateway, model="foxapi/kling-v3-image-to-video", adapt="none", size="1280x720", **image)
    [route] = answer["routes"]
    assert (route["settings"], route["warnings"]) == ({"resolution": "720p"}, [])
    turned = await quote(gateway, model="foxapi/kling-v3-image-to-video", size="720x1280", **image)
    [reason] = turned["left_out"][0]["reasons"]
    assert (reason["param"], "640x360" in reason["message"]) == ("aspect_ratio", True)
    allowed = await quote(gateway, model="foxapi/kling-v3-image-to-video", size="720x1280", adapt="nearest", **image)
    [warning] = allowed["routes"][0]["warnings"]
    assert (warning["param"], warning["from"], warning["to"]) == ("aspect_ratio", "9:16", "16:9")


@pytest.mark.parametrize(("order", "first"), [("cheapest", "keevx/V"), ("priority", "foxapi/kling-v3-image-to-video")])
async def test_the_routes_are_in_the_order_of_the_model(start: Any, order: str, first: str) -> None:
    gateway = await start(HERO.format(order=order))
    answer = await quote(gateway, model="hero", duration=5, resolution="1080p", **IMAGE)
    assert names(answer)[0] == first
    made = (await gateway.client.post("/v1/videos/generations", json={"model": "hero", **IMAGE})).json()
    assert made["status"] == "queued"


async def test_a_route_that_is_left_out_has_every_reason(start: Any) -> None:
    gateway = await start(HERO.format(order="priority"))
    answer = await quote(gateway, model="hero", max_cost=0.55, duration=4, seed=7, resolution="1080p", **IMAGE)
    assert (answer["routes"], answer["cost_usd"]) == ([], None)
    reasons = {route["provider"]: {reason["param"] for reason in route["reasons"]} for route in answer["left_out"]}
    assert reasons == {"foxapi": {"seed", "max_cost"}, "keevx": {"seed"}, "kling_relay": {"seed", "max_cost"}}
    assert answer["summary"][-1] == "No route can do this: a create would be refused."


async def test_max_cost_leaves_expensive_routes_out_of_a_create_too(start: Any) -> None:
    gateway = await start(HERO.format(order="priority"))
    body = {"model": "hero", "max_cost": 0.31, "duration": 4, **IMAGE}
    assert names(await quote(gateway, **body)) == ["keevx/V"]
    refused = await gateway.client.post("/v1/videos/generations", json={**body, "max_cost": 0.1})
    assert refused.status_code == 422
    assert refused.json()["error"]["param"] == "max_cost"
    reasons = {route["provider"]: route["reasons"] for route in refused.json()["error"]["routes"]}
    assert reasons["keevx"] == [{"param": "max_cost", "message": "costs 0.3 USD, not at most 0.1"}]
    assert "All 3 routes refuse `max_cost`, one of them for this reason: costs 0." in refused.json()["error"]["message"]


async def test_quote_stores_and_starts_nothing(untouched: Any) -> None:
    answer = await quote(untouched, model="auto", prompt="A boat.")
    assert answer["routes"]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"prompt": "A."}, 400, "invalid_parameter"),
        ({"model": "nope", "prompt": "A."}, 404, "model_not_found"),
        ({"model": "auto", "prompt": "A.", "durations": 5}, 400, "unknown_parameter"),
    ],
)
async def test_bad_input_is_refused_as_in_a_create(
    untouched: Any, body: Any, status: int, code: str, check_error: Any
) -> None:
    created = await untouched.client.post("/v1/videos/generations", json=body)
    quoted = await untouched.client.post(QUOTE, json=body)
    assert (quoted.status_code, quoted.json()["error"]["code"]) == (status, code)
    assert quoted.json()["error"] == created.json()["error"]


async def test_quote_needs_a_key(gateway: Any) -> None:
    answer = await gateway.client.post(QUOTE, json={"model": "auto"}, headers={"authorization": "Bearer no"})
    assert answer.status_code == 401


async def test_models_show_order_prices_and_health(start: Any) -> None:
    gateway = await start(HERO.format(order="cheapest"))
    hero = (await gateway.client.get("/v1/models/hero")).json()
    assert hero["order"] == "cheapest"
    fox, keevx, relay = hero["routes"]
    assert fox["prices"] == [{"resolution": "1080p", "per_second": 0.2}, {"per_second": 0.1}]
    assert (keevx["prices"], relay["prices"]) == ([{"per_clip": 0.3}], [])
    assert fox["health"] == {
        "circuit": "closed",
        "reason": None,
        "concurrency": {"limit": 32, "ceiling": 32, "active": 0, "waiting": 0},
        "completion_seconds": None,
    }


MODES = """
[providers.kling_relay.models.kling-v1]
prices = [{ mode = "pro", per_second = 0.2 }, { per_second = 0.1 }]
"""


@pytest.mark.parametrize(
    ("body", "cost"),
    [
        ({"resolution": "1080p"}, 1.0),  # the relay gets it as the mode pro
        ({"mode": "pro"}, 1.0),
        ({"resolution": "720p"}, 0.5),
        ({}, 0.5),  # std and five seconds are the relay's own defaults
        ({"duration": 10}, 1.0),
    ],
)
async def test_the_price_is_the_one_of_the_settings_that_will_be_sent(
    start: Any, body: dict[str, Any], cost: float
) -> None:
    gateway = await start(MODES)
    answer = await quote(gateway, model="kling_relay/kling-v1", prompt="A boat.", **body)
    assert answer["cost_usd"] == cost


async def test_sound_that_a_model_may_make_without_being_asked_is_priced(start: Any) -> None:
    prices = "prices = [{ generate_audio = true, per_second = 0.2 }, { per_second = 0.1 }]"
    gateway = await start(
        f'[providers.foxapi.models.kling-v2-6-video]\nlike = "kling-v3-text-to-video"\n{prices}\n'
        f"[providers.foxapi.models.kling-v3-text-to-video]\n{prices}\n"
    )
    costs = {}
    for model in ("kling-v2-6-video", "kling-v3-text-to-video"):
        for audio in ({}, {"generate_audio": False}, {"generate_audio": True}):
            answer = await quote(gateway, model=f"foxapi/{model}", prompt="A boat.", **audio)
            costs[model, audio.get("generate_audio")] = answer["cost_usd"]
    assert costs == {
        ("kling-v2-6-video", None): 1.0,  # its default is not known
        ("kling-v2-6-video", False): 0.5,
        ("kling-v2-6-video", True): 1.0,
        ("kling-v3-text-to-video", None): 0.5,
        ("kling-v3-text-to-video", False): 0.5,
        ("kling-v3-text-to-video", True): 1.0,
    }


async def test_fallback_off_takes_the_first_route_even_where_its_circuit_is_open(start: Any) -> None:
    gateway = await start(HERO.format(order="priority"))
    health = gateway.application.health
    refused = failed(FailureKind.OUT_OF_CREDIT)
    health.on_submit("foxapi", "kling-v3-image-to-video", "att_0", refused)
    answer = await quote(gateway, model="hero", **IMAGE)
    assert names(answer)[-1] == "foxapi/kling-v3-image-to-video"
    assert (answer["routes"][-1]["circuit"], answer["summary"][2].endswith("fails at the moment")) == ("open", True)
    assert names(await quote(gateway, model="hero", fallback=False, **IMAGE)) == ["foxapi/kling-v3-image-to-video"]
