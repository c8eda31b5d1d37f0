"""Which keys of a configuration differ, and which of them need a new start."""

from collections.abc import Mapping
from typing import Any

from msgspec import structs

from gateway.domain.routing.price import Price
from gateway.settings.changes import RESTART, changed_keys, needs_restart
from gateway.settings.load import (
    FetchSettings,
    ModelSettings,
    ProviderModel,
    ProviderSettings,
    Secret,
    ServerSettings,
    Settings,
)

from ...cases import every

PLAIN = Settings(
    server=ServerSettings(api_keys=(Secret.of("one"),)),
    providers={
        "foxapi": ProviderSettings(api_key=Secret.of("two"), models={"a b": ProviderModel(prices=(Price(per_clip=1),))})
    },
)


def with_provider(**changes: Any) -> Settings:
    return structs.replace(PLAIN, providers={"foxapi": structs.replace(PLAIN.providers["foxapi"], **changes)})


@every(
    ("new", "paths"),
    [
        (structs.replace(PLAIN, warnings=("x",), sha256="y"), ()),
        (structs.replace(PLAIN, server=ServerSettings(api_keys=(Secret.of("one"),))), ()),
        (structs.replace(PLAIN, server=ServerSettings(port=1)), ("server.port", "server.api_keys")),
        (with_provider(api_key=Secret.of("two")), ()),
        (with_provider(api_key=Secret.of("three")), ("providers.foxapi.api_key",)),
        (with_provider(headers={"x": Secret.of("y")}), ("providers.foxapi.headers.x",)),
        (with_provider(models={"a b": ProviderModel()}), ('providers.foxapi.models."a b".prices',)),
        (with_provider(models={}), ('providers.foxapi.models."a b"',)),
        (structs.replace(PLAIN, providers={}), ("providers.foxapi",)),
        (structs.replace(PLAIN, models={"m": ModelSettings(routes=("foxapi/a b",))}), ("models.m",)),
        (structs.replace(PLAIN, fetch=FetchSettings(allow=())), ()),
    ],
)
def test_the_paths_of_what_differs(new: Settings, paths: tuple[str, ...]) -> None:
    assert changed_keys(PLAIN, new) == paths
    assert changed_keys(new, new) == ()


def test_what_needs_a_start_exists_and_nothing_else_does() -> None:
    described = structs.asdict(Settings())
    for key in RESTART:
        table, _, name = key.partition(".")
        fields = ProviderSettings.__struct_fields__ if table == "providers" else described[table].__struct_fields__
        assert name.removeprefix("*.") in fields, key
        assert needs_restart(key.replace("*", "relay_b"))
    assert not any(map(needs_restart, ("server.ports", "server", "server.api_keys", "providers.foxapi.host")))
    assert isinstance(Settings().providers, Mapping)
