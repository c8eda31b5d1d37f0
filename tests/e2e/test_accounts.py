"""Two accounts of one provider: the same model falls back from one to the other, and nothing of one is the other's."""

from collections.abc import Mapping
from typing import Any

from gateway.sandbox.provider import BAD_KEY, POOR_KEY
from gateway.settings.load import ModelSettings, Secret

from .conftest import IMAGE_URL, Gateway

FIRST, SECOND = "relay_a", "relay_b"
OTHER_ADDRESS = "http://127.0.0.1:9/kling_relay"  # nobody listens there


def accounts(idle: Gateway, adapter: str = "kling_relay", **first: Any) -> None:
    """Configure two accounts of an adapter and nothing else; `first` are settings of the first one."""
    idle.providers = {FIRST: {"adapter": adapter, **first}, SECOND: {"adapter": adapter}}


def ends(made: Mapping[str, Any]) -> list[tuple[str, str | None, str | None]]:
    return [(attempt["provider"], attempt["failure"], attempt["billed"]) for attempt in made["attempts"]]


async def test_a_key_that_is_refused_or_without_credit_leaves_the_work_to_the_next_key(idle: Gateway) -> None:
    for key, kind in ((BAD_KEY, "credential_refused"), (POOR_KEY, "out_of_credit")):
        accounts(idle, api_key=Secret.of(key))
        gateway = await idle.start()

        made = await gateway.make(model="kling-v1")
        again = await gateway.make(model="kling-v1")

        assert (made["status"], made["provider"], made["model"]) == ("completed", SECOND, "kling-v1")
        assert ends(made) == [(FIRST, kind, "no"), (SECOND, None, "yes")]
        assert ends(again) == [(SECOND, None, "yes")], "the circuit of the first account is open, and only that one"
        await gateway.stop()
    assert idle.started("kling_relay") == 4


async def test_a_rate_limit_of_one_account_does_not_wait_and_slows_only_that_account(idle: Gateway) -> None:
    accounts(idle)
    idle.sandbox.fault("kling_relay", "submit", "429")
    gateway = await idle.start()

    made = await gateway.make(model="kling-v1")

    assert ends(made) == [(FIRST, "rate_limited", "no"), (SECOND, None, "yes")]
    limits = {name: limiter.limit for name, limiter in gateway.app.health.submits.items()}
    assert limits[FIRST] < limits[SECOND] == 32


async def test_a_refused_content_is_not_sent_with_the_other_key_to_the_same_service(idle: Gateway) -> None:
    accounts(idle)
    idle.providers["keevx"] = {}
    routes = (f"{FIRST}/kling-v1", f"{SECOND}/kling-v1", "keevx/V")
    idle.models["m"] = ModelSettings(routes=routes, on_content_policy="fall_back")
    idle.sandbox.fault("kling_relay", "submit", "content_refusal", times=None)
    gateway = await idle.start()

    made = await gateway.make(model="m", image=IMAGE_URL)

    assert ends(made) == [(FIRST, "content_policy", "no"), ("keevx", None, "yes")]
    assert gateway.submits == {"kling_relay": 1, "keevx": 1}


async def test_an_account_that_is_out_of_reach_falls_back_to_one_at_another_address(idle: Gateway) -> None:
    accounts(idle, base_url=OTHER_ADDRESS)
    gateway = await idle.start()

    made = await gateway.make(model="kling-v1")

    assert ends(made) == [(FIRST, "unavailable", "no"), (SECOND, None, "yes")]


async def test_an_unclear_answer_falls_back_and_is_never_sent_to_that_account_again(idle: Gateway) -> None:
    accounts(idle)
    idle.sandbox.fault("kling_relay", "submit", "close_after_accept")
    gateway = await idle.start()

    made = await gateway.make(model="kling-v1")

    assert ends(made) == [(FIRST, "ambiguous", "maybe"), (SECOND, None, "yes")]
    assert gateway.submits == {"kling_relay": 2}


async def test_an_account_is_called_back_at_its_own_url_and_has_its_own_uploads(idle: Gateway, jpeg: bytes) -> None:
    accounts(idle, "keevx")
    gateway = await idle.start()
    for account in (FIRST, SECOND, FIRST):
        files = {"image": ("a.jpg", jpeg, "image/jpeg")}
        data = {"model": f"{account}/V", "prompt": "A beach."}
        answer = await gateway.client.post("/v1/videos/generations", data=data, files=files)
        assert answer.status_code == 200, answer.text
        assert (await gateway.finish(answer.json()["id"]))["provider"] == account

    called = [callback["url"].split("/callbacks/")[1].split("/")[0] for callback in gateway.sandbox.state.callbacks]
    assert called == [FIRST, SECOND, FIRST]
    assert gateway.received("keevx", "upload") == 2


async def test_options_for_the_adapter_reach_both_accounts_and_an_accounts_own_win(idle: Gateway) -> None:
    accounts(idle)
    gateway = await idle.start()
    options = {"kling_relay": {"external_task_id": "all"}, FIRST: {"external_task_id": "own"}}

    first = await gateway.make(model="kling-v1", provider_options=options)
    gateway.sandbox.fault("kling_relay", "submit", "429")
    second = await gateway.make(model="kling-v1", provider_options=options)

    sent = [task.request["external_task_id"].rpartition("-")[2] for task in gateway.sandbox.state.tasks.values()]
    assert ([first["provider"], second["provider"]], sent) == ([FIRST, SECOND], ["own", "all"])
    refused = await gateway.client.post(
        "/v1/videos/generations", json={"model": "kling-v1", "prompt": "x", "provider_options": {"relay_z": {"a": 1}}}
    )
    assert refused.status_code == 400
    assert "configured are kling_relay, relay_a, relay_b" in refused.json()["error"]["message"]


async def test_a_restart_follows_the_tasks_of_each_account_with_its_own_key(idle: Gateway) -> None:
    accounts(idle)
    gateway = await idle.start()
    made = await gateway.post(model=f"{SECOND}/kling-v1")
    await gateway.until_state(made["id"], "accepted")

    idle.providers[FIRST]["api_key"] = Secret.of(BAD_KEY)
    await gateway.restart()

    assert (await gateway.finish(made["id"]))["status"] == "completed"
    assert gateway.started("kling_relay") == 1


async def test_the_models_name_the_account_and_its_adapter(idle: Gateway) -> None:
    accounts(idle)
    gateway = await idle.start()

    model = (await gateway.client.get("/v1/models/kling-v1")).json()

    assert [(route["provider"], route["adapter"]) for route in model["routes"]] == [
        (FIRST, "kling_relay"),
        (SECOND, "kling_relay"),
    ]
