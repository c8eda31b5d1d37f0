"""The commands `list`, `get`, `cancel`, `providers` and `deliveries` against a gateway that listens on a port."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import pytest_asyncio
from click.testing import CliRunner, Result

from gateway.cli import cli
from gateway.commands.work_lines import WIDTH

from .conftest import KEY, serve

ADMIN_KEY = "vg_" + "c" * 40
CONFIGURATION = """
server.admin_keys = ["env:TEST_ADMIN_KEY"]
[providers.foxapi.models.kling-v3-text-to-video]
prices = [{ per_clip = 0.5 }]
"""
Run = Callable[..., Awaitable[Result]]


@pytest_asyncio.fixture
async def gateway(start: Any) -> AsyncIterator[Any]:
    started = await start(CONFIGURATION, environ={"TEST_ADMIN_KEY": ADMIN_KEY})
    async for listening in serve(started):
        yield listening


@pytest.fixture
def run(gateway: Any) -> Run:
    """Runs a command in a thread, with the operator's key or with another one."""

    async def runner(*words: str, admin: str = ADMIN_KEY, key: str = "") -> Result:
        environ = {
            "VIDEO_GATEWAY_URL": f"http://127.0.0.1:{gateway.port}",
            "VIDEO_GATEWAY_ADMIN_KEY": admin,
            "VIDEO_GATEWAY_API_KEY": key,
        }
        return await asyncio.to_thread(CliRunner().invoke, cli, words, env=environ)

    return runner


def lines(result: Result) -> list[str]:
    """The output, of which every line must be readable; only URLs and ids may be longer."""
    assert result.exit_code == 0, result.output
    out = result.stdout.splitlines()
    assert not [line for line in out if len(line) > WIDTH and " " in line.strip()]
    return out


def ids(result: Result) -> list[str]:
    return [line.split()[0] for line in lines(result) if re.match(r"(gen|dlv)_", line)]


async def test_an_operator_lists_all_and_a_client_its_own(gateway: Any, run: Run) -> None:
    mine = await gateway.create()
    image = (
        await gateway.client.post(
            "/v1/images/generations?async=true", json={"model": "keevx/image", "prompt": "A beach."}
        )
    ).json()
    other = await gateway.create(gateway.other)
    await gateway.finish()
    everything = [other["id"], image["id"], mine["id"]]

    assert ids(await run("list")) == everything
    assert ids(await run("list", admin="", key=KEY)) == [image["id"], mine["id"]]
    assert ids(await run("list", "--kind=image")) == [image["id"]]
    assert ids(await run("list", "--kind=image", admin="", key=KEY)) == [image["id"]]
    assert ids(await run("list", "--created-after=2026-03-01", "--created-before=2026-03-02")) == []
    first = await run("list", "--limit=1", admin="", key=KEY)
    assert ids(first) == [image["id"]]
    assert f"--after {image['id']}" in first.stderr
    as_json = json.loads((await run("list", "--json")).stdout)
    assert ([entry["id"] for entry in as_json["data"]], as_json["has_more"]) == (everything, False)
    shown = lines(await run("list", "--provider=foxapi"))
    owner = as_json["data"][0]["client"]
    assert shown[0] == f"{other['id']}  completed    2026-03-02 12:00:00Z"
    assert shown[1].startswith("  foxapi/kling-v3-text-to-video by foxapi/kling-v3-text-to-video; client")
    assert owner in shown[1] + shown[2]
    none = await run("list", "--client=shop")
    assert (none.exit_code, none.stdout, none.stderr) == (0, "", "no generation was found\n")


async def test_one_generation_is_shown_and_cancelled(gateway: Any, run: Run) -> None:
    made = await gateway.create(gateway.other)
    image = (
        await gateway.client.post(
            "/v1/images/generations?async=true", json={"model": "keevx/image", "prompt": "A beach."}
        )
    ).json()
    await gateway.begin(made["id"])
    shown = "\n".join(lines(await run("get", made["id"])))
    for part in ("attempt 1 foxapi/kling-v3-text-to-video", "0.5 USD", "attempt.accepted", "output 0", "deadline"):
        assert part in shown
    assert json.loads((await run("get", made["id"], "--json")).stdout)["submits"][0]["number"] == 1
    assert lines(await run("get", image["id"], admin="", key=KEY))[0].startswith(image["id"])

    foreign = await run("cancel", made["id"], admin="", key=KEY)
    assert (foreign.exit_code, foreign.stdout, foreign.stderr[:9]) == (2, "", "HTTP 404 ")
    cancelled = json.loads((await run("cancel", made["id"], "--json")).stdout)
    assert (cancelled["status"], (await gateway.stored(made["id"])).status) == ("cancelled", "cancelled")
    assert lines(await run("cancel", image["id"], admin="", key=KEY))[0].startswith(f"{image['id']}  cancelled")


async def test_providers_are_shown_and_changed(gateway: Any, run: Run) -> None:
    shown = lines(await run("providers"))
    assert "foxapi  enabled, submits 0/32, polls 0/512" in shown
    note = "Every second task has failed since noon, and their support has not answered so far; ask Ada."
    held = lines(await run("providers", "hold", "foxapi", "--by=ada", f"--note={note}"))
    assert held[0].startswith("foxapi  held, ")
    assert " ".join(line.strip() for line in held[1:]).startswith("held since 2026-03-02 12:00:00Z by ada: Every")
    as_json = json.loads((await run("providers", "--json")).stdout)["data"]
    assert {entry["id"]: entry["held"] and entry["held"]["note"] for entry in as_json} == {
        "foxapi": note,
        "keevx": None,
        "kling_relay": None,
    }
    assert lines(await run("providers", "reset", "foxapi", "--model=kling-v3-text-to-video"))[0].startswith("foxapi")
    assert lines(await run("providers", "release", "foxapi"))[0].startswith("foxapi  enabled")
    wrong = await run("providers", "hold", "acme")
    assert (wrong.exit_code, "The provider 'acme' does not exist" in wrong.stderr) == (2, True)
    misplaced = await run("providers", "--json", "hold", "foxapi")
    assert (misplaced.exit_code, "put options after the subcommand" in misplaced.stderr) == (2, True)


async def test_deliveries_of_all_clients_are_shown_and_sent_again(gateway: Any, notified_by: Any, run: Run) -> None:
    made = await gateway.create(gateway.other, webhook_url="https://a.example/hook?token=a-secret")
    await gateway.other.post(f"/v1/videos/generations/{made['id']}/cancel")
    await gateway.clock.advance(0)

    listed = await run("deliveries", "--state=succeeded")
    (delivery,) = ids(listed)
    assert "a-secret" not in listed.stdout
    assert lines(listed)[2].startswith("  to https://a.example/hook?hidden of client key_")
    assert lines(await run("deliveries", "get", delivery))[-1].startswith("  try 1 at 2026-03-02 12:00:0")
    assert (await run("deliveries", admin="", key=KEY)).stderr == "no delivery was found\n"
    assert (await run("deliveries", "get", delivery, admin="", key=KEY)).exit_code == 2
    owner = json.loads((await run("deliveries", "--json")).stdout)["data"][0]["client"]
    assert ids(await run("deliveries", f"--client={owner}")) == [delivery]
    assert ids(await run("deliveries", "--client=shop")) == []

    again = await run("deliveries", "retry", delivery)
    await gateway.clock.advance(0)

    assert lines(again)[0].split()[:2] == [delivery, "pending"]
    assert notified_by == ["https://a.example/hook?token=a-secret"] * 2
    own = await run("deliveries", "retry", delivery, admin="", key="vg_" + "b" * 40)
    assert lines(own)[0].split()[:2] == [delivery, "pending"]


@pytest.fixture
def notified_by(gateway: Any) -> list[str]:
    """The URLs of the webhooks that were sent, all of which are answered with 200."""
    posted: list[str] = []

    async def post(url: str, **_: Any) -> Any:
        posted.append(url)
        return type("Posted", (), {"status": 200, "headers": {}})()

    gateway.application.webhook_fetcher.post = post
    return posted


async def test_a_client_is_sent_to_the_operator_s_key(gateway: Any, run: Run) -> None:
    for words in (["list", "--client=shop"], ["list", "--fallback"], ["deliveries", "--client=shop"]):
        refused = await run(*words, admin="", key=KEY)
        assert (refused.exit_code, "needs an operator's key" in refused.stderr) == (2, True)
    for key in ("", KEY):
        refused = await run("providers", admin="", key=key)
        assert (refused.exit_code, "needs an operator's key" in refused.stderr) == (2, True)
    refused = await run("list", admin="", key="")
    assert (refused.exit_code, refused.stderr[:25]) == (2, "HTTP 401 invalid_api_key:")
