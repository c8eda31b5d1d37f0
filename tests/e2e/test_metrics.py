"""What a gateway that has worked shows at `/metrics`, and that alerts and dashboard ask for nothing else."""

import shutil
import subprocess
from collections.abc import Iterator, Mapping
from ipaddress import ip_network
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway.domain.routing.price import Price
from gateway.fetch.fetcher import Posted
from gateway.live import Live
from gateway.server import GatewayServer
from gateway.settings.load import ModelSettings, ProviderModel

from ..docs.pages import ROOT, table_below
from ..promql import ALERTS, alerts, exposed, family, names, problems, queries
from .conftest import IMAGE_URL, Gateway

FOX, KEEVX, RELAY = "foxapi/kling-v3-image-to-video", "keevx/V", "kling_relay/kling-v1"


class Figures:
    """The figures of one scrape."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]

    def of(self, name: str, **labels: str) -> float:
        """The sum of the series of this name that have these labels."""
        return sum(
            sample.value
            for sample in self.samples
            if sample.name == f"video_gateway_{name}" and labels.items() <= sample.labels.items()
        )


def rows_of(text: str) -> Iterator[list[str]]:
    """The metrics of the gateway itself as rows of the table in the documentation."""
    for shown in text_string_to_metric_families(text):
        if not shown.name.startswith("video_gateway_"):
            continue
        name = shown.name + ("_total" if shown.type == "counter" else "")
        labels = [label for label in shown.samples[0].labels if label != "le"] if shown.samples else []
        kind = "info" if name.endswith("_info") else shown.type
        yield [f"`{name}`", kind, ", ".join(f"`{label}`" for label in labels), shown.documentation]


async def scraped(gateway: Gateway) -> Figures:
    text, _ = await gateway.app.metrics.scrape("")
    return Figures(text.decode())


async def loaded(idle: Gateway) -> Gateway:
    """A gateway that has met what alerts are about."""
    idle.fetch_allow = (ip_network("127.0.0.0/8"),)
    idle.route(FOX, KEEVX, RELAY)
    idle.models["held"] = ModelSettings(routes=(KEEVX,), on_ambiguous="hold")
    idle.providers["keevx"]["models"] = {"V": ProviderModel(prices=(Price(per_clip=0.5),))}
    fault = idle.sandbox.fault
    gateway = await idle.start()
    GatewayServer(gateway.app, lambda: None)  # its connections are among the figures

    async def post(url: str, **_: Any) -> Posted:
        return Posted(200 if url.endswith("/works") else 500, {})

    gateway.app.webhook_fetcher.post = gateway.traffic.counting(post)  # type: ignore[method-assign]
    fault("foxapi", "submit", "402", times=None)
    fault("keevx", "submit", "close_after_accept")
    fault("kling_relay", "poll", "unknown_status", word="HUSH")
    made = await gateway.make(model="m", image=IMAGE_URL, webhook_url="https://hooks.example/works")
    await gateway.client.get(f"/v1/videos/generations/{made['id']}/content")
    fault("keevx", "submit", "429")
    await gateway.make(model=KEEVX, image=IMAGE_URL, webhook_url="https://hooks.example/broken")
    fault("keevx", "submit", "content_refusal")
    await gateway.make(model=KEEVX, image=IMAGE_URL)
    fault("keevx", "submit", "close_after_accept")
    held = await gateway.post(model="held", image=IMAGE_URL)
    await gateway.until_state(held["id"], "unknown")
    await gateway.client.post("/v1/videos/generations", json={"model": "hush-model", "prompt": "hush"})
    await gateway.client.request("HUSH", "/hush")
    gateway.app.engine._open_max = Live(0)
    await gateway.client.post("/v1/videos/generations", json={"model": KEEVX, "prompt": "A.", "image": IMAGE_URL})
    await gateway.traffic.settle()
    return gateway


async def test_a_gateway_that_has_worked_shows_what_alerts_and_dashboard_ask_for(
    idle: Gateway, events: list[Mapping[str, Any]]
) -> None:
    gateway = await loaded(idle)
    figures = await scraped(gateway)

    assert not [event for event in events if event["event"] in {"observer_failed", "metrics_source_failed"}]
    assert "hush" not in figures.text.lower(), "no text of a client becomes a label"
    assert figures.of("creates_total", model="m", outcome="created") == 1
    assert figures.of("creates_total", model="other", outcome="model_not_found") == 1
    assert figures.of("creates_total", model=KEEVX, outcome="overloaded") == 1
    assert figures.of("http_requests_total", code="model_not_found", status="404") == 1
    assert figures.of("http_requests_total", method="other", path="other") == 1
    submits = {name: gateway.received(name) for name in ("foxapi", "keevx", "kling_relay")}
    assert {name: figures.of("submits_total", provider=name) for name in submits} == submits, "as the sandbox counted"
    assert figures.of("submits_total", provider="keevx", outcome="ambiguous") == 2
    assert figures.of("attempts_ended_total", provider="keevx", state="unknown") == 2
    assert figures.of("cost_usd_total", provider="keevx", billed="maybe") == 1.0
    assert figures.of("cost_usd_total", provider="keevx", billed="yes") == 0.5
    assert figures.of("fallbacks_total", provider="keevx", kind="out_of_credit") == 1
    assert figures.of("fallbacks_total", provider="kling_relay", kind="ambiguous") == 1
    assert figures.of("retries_total", provider="keevx", kind="rate_limited") == 1
    assert figures.of("circuit_needs_operator", provider="foxapi", kind="out_of_credit") == 1
    assert figures.of("circuit_state", provider="foxapi", model="*", state="closed") == 0
    assert figures.of("open_generations", provider="keevx", state="held") == figures.of("open_generations") == 1
    assert figures.of("generations_ended_total", status="completed") == 2
    assert figures.of("generations_ended_total", status="failed", kind="content_policy", provider="none") == 1
    assert figures.of("generation_duration_seconds_count", status="completed") == 2
    assert figures.of("delivery_tries_total", outcome="succeeded") == figures.of("delivery_lag_seconds_count") == 1
    assert figures.of("delivery_tries_total", outcome="pending") >= 1
    assert figures.of("unknown_statuses_total", provider="kling_relay") == 1
    assert figures.of("archived_bytes_total") > 0
    assert figures.of("store_batch_writes_count") == figures.of("store_transactions_total", outcome="committed")
    assert figures.of("polls_total", outcome="read") == sum(gateway.received(name, "poll") for name in submits)

    series = exposed(figures.text)
    assert [problem for query in queries() for problem in problems(query, series)] == []
    own = {name for name in series if name.startswith("video_gateway_") and name != "video_gateway_build_info"}
    queried = {name for query in queries() for name in names(query)}
    assert {family(name) for name in own} == {family(name) for name in queried}, "each metric is shown somewhere"

    documented = table_below(ROOT / "docs" / "metrics.md", "## All metrics")
    assert sorted(documented) == sorted(rows_of(figures.text)), "docs/metrics.md"

    held = (await gateway.client.get("/v1/videos/generations?status=queued")).json()["data"][0]["id"]
    await gateway.client.post(f"/v1/videos/generations/{held}/cancel")
    await gateway.traffic.settle()
    after = await scraped(gateway)
    assert after.of("open_generations") == 0
    assert after.of("generations_ended_total", model="held", status="cancelled") == 1


def test_every_alert_says_what_happened_what_to_do_and_where_to_read_on() -> None:
    names = [rule["alert"] for rule in alerts()]
    assert len(set(names)) == len(names)
    for rule in alerts():
        assert rule["labels"]["severity"] in {"page", "ticket"}, rule["alert"]
        assert rule["annotations"].keys() == {"summary", "description", "docs"}, rule["alert"]


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is missing; Debian has it in prometheus")
def test_promtool_accepts_the_alerts() -> None:
    checked = subprocess.run(["promtool", "check", "rules", str(ALERTS)], capture_output=True, text=True, check=False)  # noqa: S603, S607  # of the tests themselves
    assert checked.returncode == 0, checked.stdout + checked.stderr
