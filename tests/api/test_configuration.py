"""`/v1/admin/configuration`: the configuration changes under running work, as a whole or not at all."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from gateway.domain.errors import ConfigurationError
from gateway.domain.health.circuit import CircuitState
from gateway.domain.routing.price import Price

from .conftest import KEY, serve

OLD, NEW = "fox-7d1e0c52b94f6a38", "fox-a04b93d7f1c826e5"  # keys of the account at FoxAPI
ADMIN_KEY = "vg_" + "c" * 40
NEW_KEY = "vg_" + "n" * 40
PATH = "/v1/admin/configuration"
VIDEOS = "/v1/videos/generations"
PRICES = "providers.foxapi.models.kling-v3-text-to-video.prices"
MODEL = "foxapi/kling-v3-text-to-video"
BASE = """
server.api_keys = ["env:TEST_KEY"]
server.admin_keys = ["env:TEST_ADMIN_KEY"]
models.hero = { routes = ["foxapi/kling-v3-text-to-video"] }
[providers.foxapi]
api_key = "file:FOLDER/fox.key"
models.kling-v3-text-to-video.prices = [{ per_clip = 0.5 }]
"""
OTHER_ROUTE = """models.hero = { routes = ["kling_relay/kling-v1"] }"""


class Reloading:
    """A gateway whose configuration file a test rewrites."""

    def __init__(self, gateway: Any, admin: httpx.AsyncClient, folder: Path) -> None:
        self.gateway, self.admin, self.folder = gateway, admin, folder
        self.file = gateway.application.settings.file
        self.client: httpx.AsyncClient = gateway.client

    def write(self, text: str) -> None:
        """Put another configuration in place, as an editor does that replaces the file."""
        new = self.file.with_suffix(".new")
        fixed = "" if "thumbnails" in text else "artifacts.thumbnails = false\n"
        new.write_text(fixed + text.replace("FOLDER", str(self.folder)))
        new.replace(self.file)

    def write_key(self, key: str) -> None:
        (self.folder / "fox.key").write_text(key)

    async def reload(self) -> list[str]:
        answer = await self.admin.post(f"{PATH}/reload")
        assert answer.status_code == 200, answer.text
        changed: list[str] = answer.json()["changed"]
        return changed

    async def shown(self) -> dict[str, Any]:
        answer: dict[str, Any] = (await self.admin.get(PATH)).json()
        return answer

    async def warnings(self) -> list[str]:
        ready: dict[str, Any] = (await self.client.get("/health/ready")).json()
        return [text for text in ready.get("warnings", ()) if text.startswith("the configuration")]


@pytest_asyncio.fixture
async def reloading(start: Any, tmp_path: Path) -> AsyncIterator[Reloading]:
    (tmp_path / "fox.key").write_text(OLD)
    keys = {"TEST_KEY": KEY, "TEST_ADMIN_KEY": ADMIN_KEY, "TEST_NEW_KEY": NEW_KEY}
    gateway = await start(BASE.replace("FOLDER", str(tmp_path)), environ=keys, keys=False)
    async with gateway.client_of(ADMIN_KEY) as admin:
        yield Reloading(gateway, admin, tmp_path)


def changed(old: str, new: str, text: str = BASE) -> str:
    assert old in text
    return text.replace(old, new)


async def test_only_operators_may_read_and_reload(reloading: Reloading, check_error: Any) -> None:
    async with reloading.gateway.client_of(None) as nobody:
        check_error(await nobody.get(PATH), 401, "invalid_api_key")
        check_error(await nobody.post(f"{PATH}/reload"), 401, "invalid_api_key")
    check_error(await reloading.client.get(PATH), 403, "admin_required")
    check_error(await reloading.client.post(f"{PATH}/reload"), 403, "admin_required")


async def test_new_keys_work_and_old_ones_are_refused_right_after(reloading: Reloading, check_error: Any) -> None:
    before = await reloading.shown()
    reloading.write(changed("env:TEST_KEY", "env:TEST_NEW_KEY"))
    async with reloading.gateway.client_of(NEW_KEY) as newcomer:
        check_error(await newcomer.get(VIDEOS), 401, "invalid_api_key")

        assert await reloading.reload() == ["server.api_keys"]

        check_error(await reloading.client.get(VIDEOS), 401, "invalid_api_key")
        assert (await newcomer.get(VIDEOS)).status_code == 200
        assert (await reloading.gateway.create(newcomer))["status"] == "queued"
    after = await reloading.shown()
    assert (before["generation"], after["generation"]) == (1, 2)
    assert (before["changed_since_start"], after["changed_since_start"]) == ([], ["server.api_keys"])
    assert after["sha256"] != before["sha256"]
    assert KEY not in str(after)
    assert NEW_KEY not in str(after)


async def test_a_reload_that_finds_nothing_new_makes_no_generation(reloading: Reloading) -> None:
    assert (await reloading.reload(), (await reloading.shown())["generation"]) == ([], 1)


async def test_faults_change_nothing_and_are_shown_until_a_good_reload(reloading: Reloading, check_error: Any) -> None:
    reloading.write(
        BASE.replace("env:TEST_KEY", "env:TEST_NEW_KEY").replace("per_clip = 0.5", 'per_clip = 0.5, mode = "none"')
        + 'models.other.like = "none"\nform = "x"\n[models.b]\nroutes = ["nobody/x"]\n'
    )
    answer = await reloading.admin.post(f"{PATH}/reload")

    lines = check_error(answer, 422, "configuration_refused").splitlines()[1:]
    paths = ["models.b.routes[0]", "providers.foxapi.form", f"{PRICES}[0].mode", "providers.foxapi.models.other.like"]
    assert [line.partition(":")[0] for line in lines] == paths
    assert (await reloading.client.get(VIDEOS)).status_code == 200
    shown = await reloading.shown()
    assert (shown["generation"], shown["faults"], shown["refused_at"] is not None) == (1, lines, True)
    assert await reloading.warnings() == [f"the configuration was not reloaded: {line}" for line in lines]

    reloading.write(BASE)
    await reloading.reload()

    assert await reloading.warnings() == []
    assert (await reloading.shown())["faults"] == []


async def test_what_needs_a_start_is_named_and_stops_the_rest(reloading: Reloading, check_error: Any) -> None:
    reloading.write("server.max_connections = 5\nserver.port = 1\n" + changed("env:TEST_KEY", "env:TEST_NEW_KEY"))
    lines = check_error(await reloading.admin.post(f"{PATH}/reload"), 422, "configuration_refused").splitlines()[1:]

    assert [line.partition(": only a new start")[0] for line in lines] == ["server.port", "server.max_connections"]
    assert (await reloading.client.get(VIDEOS)).status_code == 200


async def test_a_key_that_owns_something_gets_a_client_at_a_start_only(reloading: Reloading, check_error: Any) -> None:
    body, order = {"model": "hero", "prompt": "A beach."}, {"Idempotency-Key": "one"}
    made = (await reloading.client.post(VIDEOS, json=body, headers=order)).json()
    named = changed('server.api_keys = ["env:TEST_KEY"]\n', "") + '[clients.shop]\nkeys = ["env:TEST_KEY"]\n'
    without = changed("env:TEST_KEY", "env:TEST_NEW_KEY")
    for text in (named, without, named):  # also if the key is in no list for a while
        reloading.write(text)
        answer = await reloading.admin.post(f"{PATH}/reload")
        if text == named:
            (line,) = check_error(answer, 422, "configuration_refused").splitlines()[1:]
            assert line.startswith("clients.shop.keys[0]: this key was a client by itself")
    reloading.write(BASE)
    await reloading.reload()
    assert (await reloading.client.post(VIDEOS, json=body, headers=order)).json()["id"] == made["id"]


async def test_an_added_account_can_be_held_and_a_removed_one_is_shown(reloading: Reloading) -> None:
    reloading.write(BASE + '[providers.other]\nadapter = "foxapi"\napi_key = "file:FOLDER/fox.key"\n')
    await reloading.reload()
    held = await reloading.admin.post("/v1/admin/providers/other/hold")
    assert (held.status_code, held.json()["enabled"], held.json()["followed"]) == (200, True, True), held.text
    assert held.json()["held"]
    reloading.write(BASE)
    await reloading.reload()
    listed = (await reloading.admin.get("/v1/admin/providers")).json()["data"]
    (shown,) = [account for account in listed if account["id"] == "other"]
    assert (shown["enabled"], shown["followed"], shown["held"] is not None) == (False, True, True)


async def test_an_account_comes_back_with_the_same_adapter_only(reloading: Reloading, check_error: Any) -> None:
    removed, account = BASE.partition("[providers.foxapi]")[0], '[providers.other]\napi_key = "file:FOLDER/fox.key"\n'
    removed = removed.replace("foxapi/kling-v3-text-to-video", "kling_relay/kling-v1")
    for text in (f'{removed}{account}adapter = "foxapi"\n', removed):
        reloading.write(text)
        await reloading.reload()
    reloading.write(f'{removed}{account}adapter = "keevx"\n')

    answer = await reloading.admin.post(f"{PATH}/reload")

    (line,) = check_error(answer, 422, "configuration_refused").splitlines()[1:]
    assert line.startswith("providers.other.adapter: the account of this name has another adapter so far")


async def test_an_open_generation_keeps_its_plan_and_its_prices(reloading: Reloading) -> None:
    made = await reloading.gateway.create(model="hero")
    before = await reloading.gateway.stored(made["id"])
    reloading.write(changed("per_clip = 0.5", "per_clip = 0.9"))
    assert await reloading.reload() == [PRICES]
    quote = await reloading.client.post(f"{VIDEOS}/quote", json={"model": "hero", "prompt": "A beach."})
    later = await reloading.gateway.create(model="hero")
    await reloading.gateway.finish()

    after = await reloading.gateway.stored(made["id"])
    assert (after.plan, after.status) == (before.plan, "completed")
    read = [(await reloading.client.get(f"{VIDEOS}/{made_one['id']}")).json() for made_one in (made, later)]
    costs = [generation["usage"]["cost_usd"] for generation in read]
    assert (costs, quote.json()["cost_usd"]) == ([0.5, 0.9], 0.9)


async def test_a_removed_provider_loses_no_task(reloading: Reloading, check_error: Any) -> None:
    made = await reloading.gateway.create(model="hero")
    await reloading.gateway.begin(made["id"])
    upstream = reloading.gateway.upstream
    reloading.write('server.api_keys = ["env:TEST_KEY"]\nserver.admin_keys = ["env:TEST_ADMIN_KEY"]\n' + OTHER_ROUTE)
    (reloading.folder / "fox.key").unlink()
    environ = reloading.gateway.application.reloader._source.environ
    environ.pop("FOXAPI_API_KEY")

    assert await reloading.reload() == ["providers.foxapi", "models.hero.routes"]

    check_error(
        await reloading.client.post(VIDEOS, json={"model": MODEL, "prompt": "A beach."}),
        404,
        "model_not_found",
        "model",
    )
    await reloading.gateway.finish()
    assert (await reloading.gateway.stored(made["id"])).status == "completed"
    polls = [request for request in upstream.requests if "foxapi" in request.url.host and request.method == "GET"]
    assert {request.headers["authorization"] for request in polls} == {f"Bearer {OLD}"}
    assert len(upstream.submits) == 1
    other = await reloading.gateway.create(model="hero")
    await reloading.gateway.finish()
    assert (await reloading.gateway.stored(other["id"])).plan.routes[0].provider == "kling_relay"


async def test_a_rotated_key_closes_the_circuit_and_the_next_submit_has_it(reloading: Reloading) -> None:
    upstream, health = reloading.gateway.upstream, reloading.gateway.application.health
    upstream.refuse = httpx.Response(401, json={"error": {"code": "invalid_api_key", "message": "No."}})
    await reloading.gateway.create(model=MODEL)
    await reloading.gateway.clock.advance(1)
    assert health.circuit("foxapi", MODEL.partition("/")[2]) is CircuitState.OPEN
    upstream.refuse = None
    reloading.write_key(NEW)

    assert await reloading.reload() == ["providers.foxapi.api_key"]

    assert health.circuit("foxapi", MODEL.partition("/")[2]) is CircuitState.CLOSED
    made = await reloading.gateway.create(model=MODEL)
    await reloading.gateway.begin(made["id"])
    assert upstream.submits[-1].headers["authorization"] == f"Bearer {NEW}"
    redactor = reloading.gateway.application.live.current.redactor
    assert redactor.text(f"{OLD} {NEW}") == "*** ***"


async def test_a_refusal_of_the_old_key_does_not_open_the_circuit_of_the_new_one(reloading: Reloading) -> None:
    """The submit is under way while the key changes. A later one that waited for its turn has the new key."""
    gateway, answered = reloading.gateway, asyncio.Event()
    submits: list[str] = []

    async def refuse(request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            submits.append(request.headers["authorization"])
            await answered.wait()
        if request.headers["authorization"].endswith(OLD):
            return httpx.Response(401, json={"error": {"code": "invalid_api_key", "message": "No."}})
        return await gateway.upstream(request)

    gateway.application.upstream._fresh = httpx.MockTransport(refuse)
    reloading.write(BASE + "concurrency = 1\n")
    await reloading.reload()
    await gateway.create()
    waiting = await gateway.create()
    await gateway.clock.advance(0)
    assert len(submits) == 1
    reloading.write_key(NEW)
    await reloading.reload()
    answered.set()
    await gateway.begin(waiting["id"])

    assert submits == [f"Bearer {OLD}", f"Bearer {NEW}"]
    assert gateway.application.health.circuit("foxapi", MODEL.partition("/")[2]) is CircuitState.CLOSED


async def test_a_create_under_way_sees_one_configuration(reloading: Reloading) -> None:
    """It is held between its key and its plan, while its key and its model are taken out of the configuration."""
    store, held, go_on = reloading.gateway.application.store, asyncio.Event(), asyncio.Event()
    recall = store.recall

    async def slow(*given: Any) -> Any:
        held.set()
        await go_on.wait()
        return await recall(*given)

    store.recall = slow
    body, headers = {"model": "hero", "prompt": "A beach."}, {"Idempotency-Key": "one"}
    creating = asyncio.create_task(reloading.client.post(VIDEOS, json=body, headers=headers))
    await held.wait()
    text = (
        changed("env:TEST_KEY", "env:TEST_NEW_KEY").replace("hero", "other").replace("per_clip = 0.5", "per_clip = 2")
    )
    reloading.write(text)
    assert len(await reloading.reload()) == 4
    go_on.set()

    answer = await creating
    assert answer.status_code == 200
    (route,) = (await reloading.gateway.stored(answer.json()["id"])).plan.routes
    assert route.cost_usd == 0.5


def limit_in_metrics(app: Any) -> float:
    return next(
        metric.samples[0].value
        for figure in app.metrics._sources
        for metric in figure()
        if metric.name.endswith("open_generations_limit")
    )


LIVE: dict[str, tuple[str, Callable[[Any], Any], Any]] = {
    "cors_origins": (
        'server.cors_origins = ["https://a.example"]',
        lambda app: app.asgi._app._origins.current,
        frozenset({b"https://a.example"}),
    ),
    "max_body_bytes": ("server.max_body_bytes = 2048", lambda app: context(app).max_body_bytes, 2048),
    "blocking_seconds": ("server.blocking_seconds = 7", lambda app: context(app).blocking_seconds, 7),
    "max_open_generations": ("server.max_open_generations = 9", lambda app: app.engine._open_max.current, 9),
    "max_open_generations in metrics": ("server.max_open_generations = 8", limit_in_metrics, 8),
    "drain_seconds": ("server.drain_seconds = 300", lambda app: app.drain_seconds, 300),
    "fetch.allow": (
        'fetch.allow = ["10.0.0.0/8"]',
        lambda app: [str(app.webhook_fetcher._allow.current[0]), str(context(app).fetch_allow[0])],
        ["10.0.0.0/8"] * 2,
    ),
    "files.max_per_key": ("files.max_per_key = 3", lambda app: context(app).files._limits.current.count, 3),
    "artifacts.keep_days": ("artifacts.keep_days = 2", lambda app: app._archiver._keep.current.days, 2),
    "artifacts.thumbnails": ("artifacts.thumbnails = true", lambda app: app._thumbnails.enabled.current, True),
    "retention": ("retention.money_days = 5", lambda app: app._sweeper._keep_purchases.current.days, 5),
    "webhooks.timeout_seconds": ("webhooks.timeout_seconds = 3", lambda app: app._deliverer.timeout_seconds.current, 3),
    "concurrency": (
        "providers.foxapi.concurrency = 4",
        lambda app: (app.health.submits["foxapi"].limit, app.health.reads["foxapi"].limit),
        (4, 512),
    ),
    "prices": (
        "[providers.foxapi.models.kling-v2-6-video]\nlike = 'kling-v3-text-to-video'\nprices = [{ per_clip = 2 }]",
        lambda app: context(app).catalog.resolve("kling-v2-6-video").candidates[0].prices,
        (Price(per_clip=2),),
    ),
}


def context(app: Any) -> Any:
    return app.litestar.state.context


async def test_every_live_key_reaches_its_service(reloading: Reloading) -> None:
    start = changed("[providers.foxapi]", "").replace("api_key =", "providers.foxapi.api_key =")
    start = start.replace("\nmodels.kling", "\nproviders.foxapi.models.kling")
    reloading.write(start)
    assert await reloading.reload() == []
    app = reloading.gateway.application
    for name, (line, value, expected) in LIVE.items():
        reloading.write(f"{start}\n{line}" if line.startswith("[") else f"{line}\n{start}")
        assert await reloading.reload(), name
        assert value(app) == expected, name


async def test_a_change_of_webhook_secrets_signs_with_them(reloading: Reloading) -> None:
    environ = reloading.gateway.application.reloader._source.environ
    environ["HOOK"] = "whsec_" + "c2VjcmV0" * 4
    own = await reloading.client.get("/v1/webhook_secret")
    reloading.write('webhooks.secret = "env:HOOK"\n' + BASE)
    await reloading.reload()
    assert own.json()["secret"].startswith("whsec_")
    assert (await reloading.client.get("/v1/webhook_secret")).json() != own.json()


async def test_a_gateway_without_a_source_says_so(reloading: Reloading) -> None:
    reloader = reloading.gateway.application.reloader
    reloader._source = None
    with pytest.raises(ConfigurationError, match="given its settings by another program"):
        await reloader.reload("request")


async def test_under_load_no_request_fails_and_no_generation_is_planned_again(reloading: Reloading) -> None:
    """Twenty creates and their reads through a real server, with eight reloads between them."""
    texts = [
        changed("per_clip = 0.5", f"per_clip = {number}").replace(
            '["env:TEST_KEY"]', '["env:TEST_KEY", "env:TEST_NEW_KEY"]' if number % 2 else '["env:TEST_KEY"]'
        )
        for number in range(1, 9)
    ]
    plans: dict[str, Any] = {}

    async def work(client: httpx.AsyncClient) -> list[int]:
        statuses = []
        for _ in range(4):
            made = await client.post(VIDEOS, json={"model": "hero", "prompt": "A beach."})
            statuses.append(made.status_code)
            name = made.json()["id"]
            plans[name] = (await reloading.gateway.stored(name)).plan
            statuses.append((await client.get(f"{VIDEOS}/{name}")).status_code)
        return statuses

    async def change() -> list[int]:
        generations = []
        for text in texts:
            reloading.write(text)
            await reloading.reload()
            generations.append(reloading.gateway.application.reloader.state.generation)
        return generations

    async for served in serve(reloading.gateway):
        url = f"http://127.0.0.1:{served.port}"
        async with httpx.AsyncClient(base_url=url, headers={"authorization": f"Bearer {KEY}"}) as client:
            *worked, reloads = await asyncio.gather(*(work(client) for _ in range(5)), change())

    assert [status for statuses in worked for status in statuses] == [200] * 40
    assert reloads == list(range(2, 10))
    assert len({plan.routes[0].cost_usd for plan in plans.values()}) > 1
    await reloading.gateway.finish()
    stored = {name: (await reloading.gateway.stored(name)).plan for name in plans}
    assert stored == plans
    assert len(reloading.gateway.upstream.submits) == 20
