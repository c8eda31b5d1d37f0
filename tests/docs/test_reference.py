"""The tables of the pages say what the code says: configuration, errors, providers."""

import re
from collections.abc import Iterator
from itertools import chain

import pytest

from gateway.api.configuration import ConfigurationRefused
from gateway.api.generations.image_parameters import PARAMETERS_OF
from gateway.api.generations.parameter import Parameters
from gateway.api.images.blocking import OTHER_FAILURE, STATUS_OF_FAILURE, GenerationFailed
from gateway.api.openapi.errors import error_codes, failure_rows
from gateway.commands.client import DEFAULT_URL
from gateway.domain.adapter.failure import PUBLIC_CODE
from gateway.domain.errors import GatewayError, ScopeMissing
from gateway.settings.changes import RESTART
from gateway.settings.environment import CONFIG_VARIABLE, ENVIRONMENT
from gateway.upstream.registry import load_adapters

from ..cases import every
from .pages import ROOT, TESTED, table_below
from .reference import SECTIONS, image_models_of, models_of, options_of, rows_of

DOCS = ROOT / "docs"
CONFIGURATION, ERRORS, PROVIDERS = DOCS / "configuration.md", DOCS / "errors.md", DOCS / "providers.md"
CLIENTS, IMAGES = DOCS / "clients.md", DOCS / "images.md"
ADAPTERS = load_adapters()
HEADINGS = {"keevx": "## Keevx", "kling_relay": "## Kling relay", "foxapi": "## FoxAPI"}


@every(("heading", "section", "without"), SECTIONS, ids=[heading for heading, *_ in SECTIONS])
def test_every_configuration_key_is_documented(heading, section, without) -> None:
    rows = table_below(CONFIGURATION, heading)

    assert [tuple(row[:3]) for row in rows] == list(rows_of(section, without))
    assert all(row[3] for row in rows)


def test_what_needs_a_new_start_is_documented() -> None:
    rows = table_below(CONFIGURATION, "## The file")

    assert {name for row in rows for name in re.findall(r"`([a-z0-9_.*]+)`", row[0])} == RESTART
    assert all(row[1] for row in rows)


def test_every_variable_is_documented() -> None:
    rows = table_below(CONFIGURATION, "## Environment")

    documented = set(re.findall(r"`([A-Z_]+)`", "".join(row[0] for row in rows)))
    of_providers = {f"{name.upper()}_{key}" for name in ADAPTERS for key in ("API_KEY", "BASE_URL")}
    assert documented == {CONFIG_VARIABLE, *ENVIRONMENT, *of_providers}
    assert DEFAULT_URL.endswith(":8080")


@pytest.mark.parametrize("table", PARAMETERS_OF.values(), ids=PARAMETERS_OF)
def test_every_field_of_a_create_is_documented_with_its_other_names(table: Parameters) -> None:
    rows = table_below({"video": CLIENTS, "image": IMAGES}[table.kind], "## Fields")

    names = [(row[0].strip("`"), tuple(re.findall(r"`(\w+)`", row[1]))) for row in rows]
    assert names == [(parameter.name, parameter.aliases) for parameter in table.rows]
    assert all(row[2] for row in rows)


def request_errors(root: type[GatewayError] = GatewayError) -> Iterator[type[GatewayError]]:
    yield root
    for inner in root.__subclasses__():
        yield from request_errors(inner)


def test_every_error_code_is_documented_with_its_status() -> None:
    # These are defined in modules of their own, which must be imported.
    assert {ConfigurationRefused, ScopeMissing} <= set(GatewayError.__subclasses__())
    rows = table_below(ERRORS, "## Errors of requests")

    assert [tuple(row) for row in rows] == [
        (f"`{code.code}`", str(code.status), code.meaning, code.remedy) for code in error_codes()
    ]
    # The code of a `GenerationFailed` is that of the failure.
    listed = {error.code for error in request_errors() if error is not GenerationFailed}
    assert {code.code for code in error_codes()} == listed


def test_every_error_says_its_own_remedy() -> None:
    own = {error.code for error in request_errors() if "remedy" in vars(error)}
    assert own == {error.code for error in request_errors()}


def test_every_failure_kind_is_documented_with_its_remedy_and_cost() -> None:
    rows = table_below(ERRORS, "## Errors of generations")

    assert [tuple(row) for row in rows] == [(f"`{code}`", *rest) for code, *rest in failure_rows()]


@pytest.mark.parametrize("provider", ADAPTERS)
def test_the_models_of_a_provider_are_documented(provider) -> None:
    assert [tuple(row) for row in table_below(PROVIDERS, HEADINGS[provider])] == list(models_of(ADAPTERS[provider]))


def test_the_models_that_make_images_are_documented() -> None:
    documented = {name: list(image_models_of(adapter)) for name, adapter in ADAPTERS.items()}

    assert {name for name, rows in documented.items() if rows} == {"keevx"}
    assert [tuple(row) for row in table_below(PROVIDERS, "### Images of Keevx")] == documented["keevx"]


@pytest.mark.parametrize("provider", [name for name, adapter in ADAPTERS.items() if options_of(adapter)])
def test_the_options_of_a_provider_are_documented(provider) -> None:
    section = PROVIDERS.read_text().partition(f"\n{HEADINGS[provider]}\n")[2].partition("\n## ")[0]
    _, _, table = section.partition("| option | values |\n|---|---|\n")

    assert set(re.findall(r"^\| `(\w+)` \| .+ \|$", table, re.MULTILINE)) == options_of(ADAPTERS[provider])


def test_addresses_and_polling_of_providers_are_documented() -> None:
    rows = table_below(PROVIDERS, "## Addresses and polling")

    assert [[row[0].strip("`"), row[1].strip("`"), *map(float, row[2:])] for row in rows] == [
        [
            name,
            adapter.base_url,
            polling.first_poll_seconds,
            polling.poll_seconds,
            polling.poll_max_seconds,
            polling.submit_timeout_seconds,
            polling.attempt_timeout_seconds,
            polling.grace_seconds,
        ]
        for provider, adapter in sorted(ADAPTERS.items())
        for name, polling in {
            provider: adapter.polling,
            **{f"{provider}/{model}": polling for model, polling in adapter.polling_by_model.items()},
        }.items()
    ]


def test_the_status_of_each_failure_of_a_call_that_waits_is_documented() -> None:
    [text] = re.findall(r"one of the next table: (.*?)\.\n\n", ERRORS.read_text(), re.DOTALL)
    said = {
        code: int(status)
        for names, status in re.findall(r"((?:`\w+`(?: and\s+)?)+) with(?: status)? (\d+)", " ".join(text.split()))
        for code in re.findall(r"`(\w+)`", names)
    }
    assert said == STATUS_OF_FAILURE
    assert text.endswith(f"all others with {OTHER_FAILURE}")


def test_every_error_code_that_a_page_names_exists() -> None:
    codes = {error.code for error in request_errors()} | set(PUBLIC_CODE.values())
    texts = chain.from_iterable(re.findall(r"\b[45]\d\d `(\w+)`", page.read_text()) for page in TESTED)

    assert set(texts) <= codes
