"""The manifests for Kubernetes and `compose.replicas.yaml`, as the tests read them."""

import functools
import re
from pathlib import Path
from typing import Any

import yaml

from gateway.drain import drain_of
from gateway.settings.load import Settings, load
from gateway.upstream.provider import providers_of
from gateway.upstream.registry import load_adapters

ROOT = Path(__file__).parents[2]
KUBERNETES = ROOT / "deploy" / "kubernetes"
NAME = "app.kubernetes.io/name"
STOP_MARGIN_SECONDS = 10
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


def of_names(kind: str) -> list[str]:
    return [entry["metadata"]["name"] for entry in documents() if entry["kind"] == kind]


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


def service_port(host: str) -> int:
    (port,) = of_kind("Service")[host]["ports"]
    number: int = port["port"]
    return number
