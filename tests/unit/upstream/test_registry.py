"""Adapters are loaded by entry point. A broken one stops the start, and the error names its distribution."""

import sys
from pathlib import Path

import pytest

from gateway.domain.errors import ConfigurationError
from gateway.upstream.registry import load_adapters

GROUP = "video_gateway.tests.registry"
ADAPTER = """
from gateway.domain.adapter.contract import Adapter, Capability, HttpCall, Polling

ROW = Capability(inputs=frozenset(), prompt_max=9, options=frozenset({{"style"}}))

def _nothing(*values):
    raise NotImplementedError

ADAPTER = Adapter(
    name={name!r}, base_url="https://api.acme.example", capabilities={{}},
    polling=Polling(first_poll_seconds=1, poll_seconds=1, poll_max_seconds=1),
    to_upstream=_nothing, task_refs=_nothing, poll=_nothing, from_upstream=_nothing, classify=_nothing,
)
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Installs a distribution with one entry point, in the same form on disk as pip does."""
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)

    def put(distribution: str, entry: str, source: str, attribute: str = "ADAPTER") -> None:
        module = f"registry_case_{distribution}"
        (tmp_path / f"{module}.py").write_text(source)
        info = tmp_path / f"{distribution}-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.2\n")
        (info / "entry_points.txt").write_text(f"[{GROUP}]\n{entry} = {module}:{attribute}\n")

    yield put
    for module in set(sys.modules) - before:
        if module.startswith("registry_case_"):
            del sys.modules[module]


def test_an_installed_adapter_is_found_by_its_name(install) -> None:
    install("acme", "acme", ADAPTER.format(name="acme"))
    install("zeta", "zeta", ADAPTER.format(name="zeta"))

    assert {name: adapter.name for name, adapter in load_adapters(GROUP).items()} == {"acme": "acme", "zeta": "zeta"}


def test_no_adapter_is_an_error_not_an_empty_table() -> None:
    with pytest.raises(ConfigurationError, match=r"^providers: no adapter is installed.*video_gateway\.tests"):
        load_adapters(GROUP)


@pytest.mark.parametrize(
    ("source", "attribute", "message"),
    [
        ("import a_module_that_is_not_there", "ADAPTER", "ModuleNotFoundError"),
        ("1 / 0", "ADAPTER", "ZeroDivisionError"),
        ("", "ADAPTER", "AttributeError"),
        ("ADAPTER = 'acme'", "ADAPTER", "of type str, expected an Adapter"),
        (ADAPTER.format(name="other"), "ADAPTER", "an adapter named 'other'"),
        (
            ADAPTER.format(name="acme").replace("capabilities={}", "capabilities={'acme-2': (ROW,)}"),
            "ADAPTER",
            "the options of 'acme-2' are names only; expected the shape of each",
        ),
    ],
    ids=["import", "exception", "attribute", "type", "name", "options"],
)
def test_a_broken_adapter_stops_the_start_with_its_distribution(
    install, source: str, attribute: str, message: str
) -> None:
    install("acme", "acme", source, attribute)

    with pytest.raises(ConfigurationError, match=r"^providers\.acme: .*acme 1\.2") as caught:
        load_adapters(GROUP)
    assert message in str(caught.value)


def test_two_adapters_of_one_name_are_refused(install) -> None:
    install("acme", "acme", ADAPTER.format(name="acme"))
    install("bolt", "acme", ADAPTER.format(name="acme"))

    with pytest.raises(ConfigurationError, match=r"^providers\.acme: two adapters .*acme 1\.2.*bolt 1\.2"):
        load_adapters(GROUP)
