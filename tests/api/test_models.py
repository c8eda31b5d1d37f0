"""`/v1/models`: OpenAI's list, each model with its routes and what they can do."""

from typing import Any

import pytest


async def test_every_model_once_virtual_ones_first(gateway: Any) -> None:
    body = (await gateway.client.get("/v1/models")).json()
    names = [model["id"] for model in body["data"]]
    assert body["object"] == "list"
    assert names[:2] == ["auto", "kling"]
    assert len(set(names)) == len(names)
    assert {"keevx/V", "keevx/KL", "foxapi/kling-v3-image-to-video", "kling_relay/kling-v1"} < set(names)
    for model in body["data"]:
        assert (model["object"], type(model["created"])) == ("model", int)
        assert model["routes"]
        assert all(route["capabilities"] for route in model["routes"])


async def test_every_listed_model_is_read_and_can_be_asked_for(gateway: Any) -> None:
    for model in (await gateway.client.get("/v1/models")).json()["data"]:
        read = await gateway.client.get(f"/v1/models/{model['id']}")
        assert read.json() == model
        response = await gateway.client.post(
            "/v1/videos/generations", json={"model": model["id"], "prompt": "A.", "duration": 3599}
        )
        assert response.status_code == 422  # the model exists, but cannot do this


@pytest.mark.parametrize("name", ["keevx/V", "V", "keevx%2FV", "V/"])
async def test_a_model_is_read_by_any_of_its_names(gateway: Any, name: str) -> None:
    body = (await gateway.client.get(f"/v1/models/{name}")).json()
    assert (body["id"], body["owned_by"]) == ("keevx/V", "keevx")
    assert [(route["provider"], route["provider_model"]) for route in body["routes"]] == [("keevx", "V")]
    assert body["routes"][0]["capabilities"][0]["durations"] == [4, 6, 8]


@pytest.mark.parametrize(
    ("name", "near"),
    [("keevx/v", "keevx/V"), ("klin", "kling"), ("foxapi/kling-v3-image-to-vide", "foxapi/kling-v3-image-to-video")],
)
async def test_an_unknown_model_is_a_404_with_near_names(gateway: Any, check_error: Any, name: str, near: str) -> None:
    assert near in check_error(await gateway.client.get(f"/v1/models/{name}"), 404, "model_not_found", "model")


async def test_a_name_that_two_providers_have_is_not_guessed_at(start: Any, check_error: Any) -> None:
    gateway = await start('[providers.keevx.models]\nkling-v1 = {like = "V"}')
    message = check_error(await gateway.client.get("/v1/models/kling-v1"), 404, "model_not_found", "model")
    assert "keevx/kling-v1" in message
    assert "kling_relay/kling-v1" in message


async def test_a_configured_model_is_listed_with_its_routes_in_order(start: Any) -> None:
    gateway = await start('[models.hero]\nroutes = ["keevx/V", "foxapi/kling-v3-image-to-video"]')
    body = (await gateway.client.get("/v1/models/hero")).json()
    assert [route["provider"] for route in body["routes"]] == ["keevx", "foxapi"]
    assert body["owned_by"] == "video-gateway"


async def test_only_configured_providers_show(start: Any) -> None:
    gateway = await start(environ={"KEEVX_API_KEY": "", "KLING_RELAY_API_KEY": ""})
    models = (await gateway.client.get("/v1/models")).json()["data"]
    assert {route["provider"] for model in models for route in model["routes"]} == {"foxapi"}
