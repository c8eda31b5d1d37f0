"""The container, the unit for systemd, the example for nginx and the bill of materials, as far as files show it."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import crossplane
import pytest
import yaml

from gateway.commands.check import STARTS_NOT
from gateway.commands.serve import REFUSED
from gateway.drain import drain_of
from gateway.settings.load import load
from gateway.settings.sections import ServerSettings
from gateway.upstream.provider import providers_of
from gateway.upstream.registry import load_adapters

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
UNIT = DEPLOY / "video-gateway.service"
CLIENT_KEY = "vg_" + "a" * 40
PROVIDERS = {f"{name.upper()}_API_KEY": "sandbox" for name in load_adapters()}


def settings(text_file: Path | None, **environ: str) -> Any:
    return load(text_file, {"VIDEO_GATEWAY_API_KEY": CLIENT_KEY, **PROVIDERS, **environ}, load_adapters())


@pytest.fixture
def drain_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> float:
    """How long a stop takes at most, with all providers."""
    monkeypatch.chdir(tmp_path)
    loaded = settings(None)
    return drain_of(loaded, providers_of(loaded, load_adapters())).seconds


@pytest.fixture
def service() -> dict[str, Any]:
    services: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    return services["gateway"]


# --- the container ----------------------------------------------------------------------------------------------------


def test_the_container_has_few_rights_and_limits(service: dict[str, Any]) -> None:
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["mem_limit"] == service["memswap_limit"] == "2g"
    assert service["pids_limit"] > 0
    assert service["logging"]["options"].keys() == {"max-size", "max-file"}
    assert "privileged" not in service
    assert service["tmpfs"][0].startswith("/tmp:size=")  # noqa: S108  # of the container


def test_the_container_is_published_on_this_machine_alone(service: dict[str, Any]) -> None:
    assert all(str(port).startswith("127.0.0.1:") for port in service["ports"])


def test_the_container_starts_again_and_its_stop_lasts_long_enough(
    service: dict[str, Any], drain_seconds: float
) -> None:
    assert service["restart"] == "unless-stopped"
    grace = re.fullmatch(r"(\d+)s", service["stop_grace_period"])
    assert grace is not None
    assert int(grace[1]) > drain_seconds


def test_a_faulty_configuration_is_not_started_again_and_again() -> None:
    text = (ROOT / "compose.yaml").read_text()
    services = yaml.safe_load(text)["services"]
    check, gateway = services["check"], services["gateway"]
    assert gateway["depends_on"] == {"check": {"condition": "service_completed_successfully"}}
    assert (check.pop("command"), check.pop("restart")) == (["check"], "no")
    assert check.items() <= gateway.items(), "it reads the configuration, the environment and the ledger of the gateway"
    assert gateway.keys() - check.keys() == {"depends_on", "ports", "stop_grace_period", "restart"}
    assert "command" not in gateway
    assert [str(REFUSED)] == [str(STARTS_NOT)] == unit_lines()["RestartPreventExitStatus"]


def test_the_mounted_configuration_is_one(service: dict[str, Any], tmp_path: Path) -> None:
    (mount,) = [volume for volume in service["volumes"] if isinstance(volume, dict)]
    assert mount["target"] == service["environment"]["VIDEO_GATEWAY_CONFIG"]
    assert (mount["read_only"], mount["bind"]["create_host_path"]) == (True, False)
    loaded = settings(ROOT / mount["source"], VIDEO_GATEWAY_HOST="0.0.0.0")
    assert str(loaded.database.path).startswith("/data/"), "outside of the volume nothing can be written"
    assert str(loaded.artifacts.path).startswith("/data/")
    commented = (ROOT / mount["source"]).read_text()
    uncommented = re.sub(r"(?m)^# (?=\[|\w+ = )", "", commented)
    keys = {"RELAY_B_KEY": "a-key-of-the-second-account", "VIDEO_GATEWAY_HOST": "0.0.0.0"}
    path = tmp_path / "all.toml"
    path.write_text(uncommented)
    assert settings(path, **keys).providers["relay_b"].adapter == "kling_relay"


def test_the_base_image_is_named_by_its_digest() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    (image,) = re.findall(r"^ARG PYTHON=(.*)$", dockerfile, re.MULTILINE)
    assert re.fullmatch(r"python:3\.\d+-slim@sha256:[0-9a-f]{64}", image)
    assert set(re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE)) == {"${PYTHON}"}
    assert '--require-hashes --requirement "$REQUIREMENTS"' in dockerfile


@pytest.mark.parametrize(("current", "code"), [("pinned", 0), ("newer", 1), ("silent", 2)])
def test_make_base_image_says_whether_the_digest_is_old(tmp_path: Path, current: str, code: int) -> None:
    pinned = "sha256:" + "a" * 64
    (tmp_path / "Dockerfile").write_text(f"ARG PYTHON=python:3.11-slim@{pinned}\nFROM ${{PYTHON}}\n")
    reply = {"pinned": f"echo {pinned}", "newer": f"echo sha256:{'b' * 64}", "silent": "exit 1"}[current]
    docker = tmp_path / "docker"
    docker.write_text(f'#!/bin/sh\n[ "$4" = python:3.11-slim ] || exit 9\n{reply}\n')
    docker.chmod(0o755)
    done = subprocess.run(  # noqa: S603  # a program that is named here
        [ROOT / "tools" / "base_image.sh", tmp_path / "Dockerfile"],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    if current == "newer":
        assert "b" * 64 in done.stderr


# --- what is in it ----------------------------------------------------------------------------------------------------


def locked(name: str) -> dict[str, str]:
    """The packages of a lock file: name → version."""
    return dict(re.findall(r"^([\w.-]+)==([^ ;]+)", (ROOT / name).read_text(), re.MULTILINE))


def test_the_larger_image_has_the_smaller_one_and_av() -> None:
    small, large = locked("requirements.lock"), locked("requirements-demo.lock")
    assert small.items() < large.items()
    assert large.keys() - small.keys() == {"av"}
    assert locked("requirements-dev.lock").items() >= large.items(), "the tests run with what the image has"


def test_the_bill_of_materials_has_every_locked_package(tmp_path: Path) -> None:
    (command,) = re.findall(r"^SBOM := cyclonedx-py (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    output, lock = tmp_path / "sbom.json", "requirements-demo.lock"
    subprocess.run(  # noqa: S603  # as above
        [sys.executable, "-m", "cyclonedx_py", *command.split(), "--output-file", output, lock],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    bill = json.loads(output.read_text())
    assert (bill["bomFormat"], bill["metadata"]["component"]["name"]) == ("CycloneDX", "video-gateway")
    assert {part["name"]: part["version"] for part in bill["components"]} == locked(lock)
    assert all(part["purl"].startswith("pkg:pypi/") for part in bill["components"])


# --- systemd ----------------------------------------------------------------------------------------------------------


def unit_lines() -> dict[str, list[str]]:
    """The settings of the unit: name → values."""
    values: dict[str, list[str]] = {}
    for name, value in re.findall(r"^([A-Za-z]+)=(.*)$", UNIT.read_text(), re.MULTILINE):
        values.setdefault(name, []).append(value)
    return values


def test_the_unit_starts_again_and_its_stop_lasts_long_enough(drain_seconds: float) -> None:
    unit = unit_lines()
    assert unit["Restart"] == ["always"]
    assert unit["RestartPreventExitStatus"] == ["2"]
    assert int(unit["TimeoutStopSec"][0]) > drain_seconds
    assert unit["KillMode"] == ["mixed"]
    assert unit["OOMPolicy"] == ["continue"]
    assert unit["ExecStart"] == ["/opt/video-gateway/bin/video-gateway serve"]
    assert unit["NoNewPrivileges"] == ["yes"]
    assert unit["CapabilityBoundingSet"] == [""]


def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd is not installed; with it, `systemd-analyze verify` reads the unit")
    copied = tmp_path / UNIT.name
    copied.write_text(UNIT.read_text().replace("/opt/video-gateway/bin/video-gateway", sys.executable))
    done = subprocess.run(  # noqa: S603  # a program that is named here
        [analyze, "verify", "--man=no", copied], capture_output=True, text=True, check=False, timeout=30
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


# --- nginx ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def nginx(tmp_path: Path) -> list[dict[str, Any]]:
    """The directives of the example, each of which nginx knows in its place: inside of `http`."""
    whole = tmp_path / "nginx.conf"
    whole.write_text(f"events {{ }}\nhttp {{\n{(DEPLOY / 'nginx.conf').read_text()}\n}}\n")
    read = crossplane.parse(str(whole), strict=True, single=True)
    assert read["errors"] == []
    (http,) = [line["block"] for line in read["config"][0]["parsed"] if line["directive"] == "http"]
    directives: list[dict[str, Any]] = http
    return directives


def test_nginx_passes_streams_and_large_bodies_on_and_repeats_nothing(nginx: list[dict[str, Any]]) -> None:
    servers = [directive["block"] for directive in nginx if directive["directive"] == "server"]
    (secure,) = [block for block in servers if ["443", "ssl", "http2"] in [line["args"] for line in block]]
    (location,) = [line for line in secure if line["args"] == ["/video-gateway/"]]
    values = {line["directive"]: line["args"] for line in location["block"]}
    assert values["proxy_pass"] == ["http://video_gateway/"]
    assert values["proxy_buffering"] == values["proxy_request_buffering"] == values["proxy_next_upstream"] == ["off"]
    assert values["proxy_redirect"] == ["off"]
    assert values["client_max_body_size"] == ["0"], "the gateway refuses in its own words, whatever its limit is"
    assert int(values["proxy_read_timeout"][0].removesuffix("s")) > ServerSettings().blocking_seconds
    ((zone, per_client),) = [line["args"] for line in location["block"] if line["directive"] == "limit_conn"]
    assert any(line["args"] == ["$binary_remote_addr", f"zone={zone}:10m"] for line in nginx)
    assert int(per_client) * 2 < ServerSettings().max_connections  # one address leaves connections to the others
    text = (DEPLOY / "nginx.conf").read_text()
    assert f"max_connections_per_address = {ServerSettings().max_connections}\n" in text
