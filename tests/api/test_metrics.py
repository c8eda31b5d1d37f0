"""Who may read `/metrics`, in which format; and the port that is for metrics and health checks alone."""

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any, ClassVar

import httpx
import pytest
import pytest_asyncio
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as plain
from structlog.testing import capture_logs

from gateway.metrics.service import Metrics

from ..cases import every

ADMIN_KEY = "vg_" + "c" * 40
OPERATED = 'server.admin_keys = ["env:TEST_ADMIN_KEY"]\n'


@pytest_asyncio.fixture
async def operated(start: Any) -> Any:
    return await start(OPERATED, environ={"TEST_ADMIN_KEY": ADMIN_KEY})


def at_port(gateway: Any) -> httpx.AsyncClient:
    """A client of the port for metrics, without a key."""
    transport = httpx.ASGITransport(app=gateway.application.metrics_asgi)
    return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:9464")


async def test_the_main_port_needs_an_admin_key(operated: Any, check_error: Any) -> None:
    async with operated.client_of(None) as nobody:
        check_error(await nobody.get("/metrics"), 401, "invalid_api_key")
    check_error(await operated.client.get("/metrics"), 403, "admin_required")
    async with operated.client_of(ADMIN_KEY) as admin:
        answer = await admin.get("/metrics")
        openly = await admin.get("/metrics", headers={"accept": "application/openmetrics-text;version=1.0.0,*/*;q=0.1"})
        strange = await admin.get("/metrics", headers={"accept": "application/openmetrics-text;version=hush,\x7f"})
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert openly.headers["content-type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    families = {family.name.removesuffix("_info") for family in plain(answer.text)}
    assert {family.name.removesuffix("_info") for family in open_metrics(openly.text)} == families
    assert "video_gateway_creates" in families
    assert strange.headers["content-type"] == openly.headers["content-type"]


async def test_without_keys_only_this_machine_reads_them(start: Any, check_error: Any) -> None:
    gateway = await start(keys=False)
    async with gateway.client_of(None, "http://127.0.0.1:8080") as local:
        assert (await local.get("/metrics")).status_code == 200
        check_error(await local.get("/metrics", headers={"x-forwarded-for": "203.0.113.7"}), 403, "forbidden_proxy")
        check_error(await local.get("/metrics", headers={"host": "rebound.example"}), 403, "forbidden_host")


async def test_the_port_for_metrics_has_metrics_and_health_and_nothing_else(operated: Any, check_error: Any) -> None:
    async with at_port(operated) as client:
        assert "video_gateway_build_info" in (await client.get("/metrics")).text
        assert (await client.head("/metrics")).status_code == 200
        assert (await client.get("/health/live")).json() == {"status": "ok"}
        assert (await client.get("/health/ready")).status_code == 200
        check_error(await client.get("/v1/models"), 404, "not_found")
        check_error(await client.post("/v1/videos/generations", json={}), 404, "not_found")
        check_error(await client.get("/health"), 404, "not_found")
        check_error(await client.post("/metrics"), 405, "method_not_allowed")
        message = check_error(await client.get("/metrics", headers={"host": "rebound.example"}), 403, "forbidden_host")
        assert "metrics.host" in message
        two_hosts = [("host", "rebound.example"), ("host", "127.0.0.1:9464")]
        check_error(await client.get("/metrics", headers=two_hosts), 400, "bad_request")


class Stub:
    """A provider with one model."""

    models: ClassVar = {"one": None}


@pytest_asyncio.fixture
async def metrics() -> AsyncIterator[Metrics]:
    yield Metrics(lambda: {"acme": Stub()}, {"m"}.__contains__)


async def test_a_figure_that_fails_hides_no_other(metrics: Metrics) -> None:
    def broken() -> Any:
        raise RuntimeError("no")

    metrics.add(broken)
    metrics.add(broken, disk=True)
    with capture_logs() as logged:
        text, _ = await metrics.scrape("")
    assert b"video_gateway_submits_total" in text
    assert [line["event"] for line in logged] == ["metrics_source_failed"] * 2


async def test_a_disk_that_hangs_leaves_out_its_figures_alone(
    metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.metrics.service.DISK_SECONDS", 0.01)
    calls, answer = [], threading.Event()

    def hanging() -> Any:
        calls.append(1)
        answer.wait(10)
        return ()

    metrics.add(hanging, disk=True)
    texts = [await metrics.scrape("") for _ in range(3)]
    assert all(b"video_gateway_submits_total" in text for text, _ in texts)
    assert len(calls) == 1, "one thread waits, however many scrapes come"
    answer.set()
    await asyncio.sleep(0)


@every(
    ("provider", "model", "route"),
    [
        ("acme", "one", ("acme", "one")),
        ("acme", "gone", ("acme", "other")),
        ("gone", "one", ("other", "other")),
    ],
)
def test_a_name_that_is_not_configured_is_no_label(provider: str, model: str, route: tuple[str, str]) -> None:
    labels = Metrics(lambda: {"acme": Stub()}, {"m"}.__contains__).labels
    assert labels.route(provider, model) == route
    assert (labels.provider(provider), labels.provider(None)) == (route[0], "none")
    assert (labels.model("m"), labels.model("hush")) == ("m", "other")
