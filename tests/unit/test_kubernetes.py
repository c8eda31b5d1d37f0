"""The manifests for Kubernetes: the published schemas accept them, and what one names is in another."""

import functools
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml
from kubernetes_validate import utils as kubernetes_validate

from gateway.settings.environment import ENVIRONMENT

from ..cases import every
from .manifests import (
    KEYS,
    KUBERNETES,
    NAME,
    OF_THE_IMAGE,
    PROVIDER_KEYS,
    ROOT,
    Document,
    container,
    documents,
    generated,
    kustomization,
    of_kind,
    of_names,
    pod,
    ports,
    service_port,
    settings,
    variables,
    workloads,
)

VERSIONS = ("1.30", "1.37")  # the oldest that the manifests are for, and the newest that has schemas in the package
KUBECTL = shutil.which("kubectl")


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
    for name in workloads():
        volumes = {volume["name"]: volume for volume in pod(name)["volumes"]}
        templates = [claim["metadata"]["name"] for claim in workloads()[name].get("volumeClaimTemplates", [])]
        mounted = [mount["name"] for mount in container(name)["volumeMounts"]]
        assert sorted(mounted) == sorted([*volumes, *templates]), name
        for volume in volumes.values():
            assert volume.get("configMap", {"name": "nginx"})["name"] in generated("configMap"), volume
            assert "persistentVolumeClaim" not in volume, volume
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
