"""The cells of tables in the pages that follow from the code: configuration keys, and the models of providers."""

import json
from collections.abc import Iterator, Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta, Struct, structs

from gateway.domain.adapter.contract import Adapter, Capability
from gateway.domain.adapter.request import InputKind, Kind
from gateway.domain.clients import Budgets
from gateway.domain.routing.price import Price
from gateway.settings import sections
from gateway.settings.clients import ClientSettings
from gateway.settings.toml import HeaderValue, Host, HttpUrl, Network, Origin

# The heading of a table, the Struct that the table describes, and fields that another table describes.
SECTIONS: tuple[tuple[str, type[Struct], type[Struct] | None], ...] = (
    ("## server", sections.ServerSettings, None),
    ("### Kling keys", sections.KlingKey, None),
    ("## clients", ClientSettings, None),
    ("## budgets", Budgets, None),
    ("## database", sections.DatabaseSettings, None),
    ("## providers", sections.ProviderSettings, sections.PollingSettings),
    ("### Polling", sections.PollingSettings, None),
    ("### Models of a provider", sections.ProviderModel, sections.PollingSettings),
    ("### Prices", Price, None),
    ("## models", sections.ModelSettings, None),
    ("## fetch", sections.FetchSettings, None),
    ("## files", sections.FileSettings, None),
    ("## artifacts", sections.ArtifactSettings, None),
    ("## retention", sections.RetentionSettings, None),
    ("## webhooks", sections.WebhookSettings, None),
)
_BY_READER: dict[Any, str] = {
    sections.ApiKey: "secret",
    sections.AccessKey: "secret",
    sections.JwtSecret: "secret",
    sections.WebhookSecret: "secret",
    sections.DatabaseUrl: "URL",
    sections.ArtifactsUrl: "URL",
    HttpUrl: "URL",
    Host: "host",
    Network: "network",
    Origin: "origin",
    HeaderValue: "text or secret",
}
_NAMES = {str: "text", int: "integer", float: "number", bool: "true, false"}


def rows_of(section: type[Struct], without: type[Struct] | None) -> Iterator[tuple[str, str, str]]:
    """(key, values, default) of each field of a section, as cells of a table in Markdown."""
    types = get_type_hints(section, include_extras=True)
    inherited = set() if without is None else {field.name for field in structs.fields(without)}
    for field in structs.fields(section):
        if field.name not in inherited:
            yield f"`{field.name}`", _values(types[field.name]), _default(field)


def _default(field: structs.FieldInfo) -> str:
    if field.default is msgspec.NODEFAULT and field.default_factory is msgspec.NODEFAULT:
        return "required"
    value = field.default_factory() if field.default is msgspec.NODEFAULT else field.default
    is_empty = value is None or value in ((), {}) or isinstance(value, Struct)  # a secret is a Struct, too
    return "" if is_empty else f"`{json.dumps(value)}`"


def _values(kind: Any) -> str:
    """The values that a type allows."""
    if kind in _BY_READER:
        return _BY_READER[kind]
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in {Union, UnionType}:
        (only,) = (argument for argument in arguments if argument is not NoneType)
        return _values(only)
    if origin is Literal:
        return ", ".join(f"`{json.dumps(argument)}`" for argument in arguments)
    if origin is tuple:
        return f"list of {_values(arguments[0])}"
    if origin is Mapping:
        return f"table of {_values(arguments[1])}"
    if origin is Annotated:
        limits = [mark for mark in arguments[1:] if isinstance(mark, Meta)]
        return " ".join([_values(arguments[0]), *map(_limits, limits)]).strip()
    if isinstance(kind, type) and issubclass(kind, Struct):
        return "table"
    return _NAMES[kind]


def _limits(meta: Meta) -> str:
    if meta.ge is not None or meta.gt is not None:
        low = f"from {meta.ge:,}" if meta.ge is not None else f"over {meta.gt:,}"
        return f"{low} to {meta.le:,}"
    return ""


def models_of(adapter: Adapter) -> Iterator[tuple[str, ...]]:
    """(model, from, seconds, resolution, aspect ratio, prompt, besides) of each row of a model that makes videos."""
    for model, capability in _rows(adapter, "video"):
        yield (
            model,
            ", ".join(_INPUTS[kind] for kind in InputKind if kind in capability.inputs),
            _numbers(capability.durations),
            ", ".join(sorted(capability.resolutions, key=RESOLUTIONS.index)) or "–",
            ", ".join(sorted(capability.aspect_ratios, key=RATIOS.index)) or "–",
            str(capability.prompt_max or "–"),
            ", ".join(_besides(capability)) or "–",
        )


def image_models_of(adapter: Adapter) -> Iterator[tuple[str, ...]]:
    """(model, from, quality, aspect ratio, prompt, besides) of each row of a model that makes images."""
    for model, capability in _rows(adapter, "image"):
        yield (
            model,
            ", ".join(_INPUTS[kind] for kind in InputKind if kind in capability.inputs),
            ", ".join(sorted(capability.qualities)) or "–",
            ", ".join(sorted(capability.aspect_ratios, key=RATIOS.index)) or "–",
            str(capability.prompt_max or "–"),
            ", ".join(_besides(capability)) or "–",
        )


def _rows(adapter: Adapter, kind: Kind) -> Iterator[tuple[str, Capability]]:
    """The model as the page writes it, and the row, of each capability of this kind."""
    for models in (adapter.capabilities, adapter.configurable):
        for model, capabilities in models.items():
            for capability in capabilities:
                if capability.kind == kind:
                    yield f"`{model}`" + (" *" if models is adapter.configurable else ""), capability


_INPUTS = {InputKind.TEXT: "text", InputKind.IMAGE: "first frame", InputKind.REFERENCES: "references"}
RESOLUTIONS = ("720p", "1080p", "4k")
RATIOS = ("16:9", "9:16", "1:1", "4:3", "3:4", "3:2", "2:3", "5:4", "4:5", "21:9")


def _numbers(numbers: frozenset[int]) -> str:
    ordered = sorted(numbers)
    if len(ordered) > 3 and ordered == list(range(ordered[0], ordered[-1] + 1)):
        return f"{ordered[0]} to {ordered[-1]}"
    return ", ".join(map(str, ordered)) or "–"


def _besides(capability: Capability) -> Iterator[str]:
    if capability.last_frame:
        yield "last frame"
    if capability.references_max:
        yield f"up to {capability.references_max} references"
    if capability.generate_audio:
        yield "audio"
    if capability.negative_prompt_max:
        yield "negative prompt"
    if capability.cfg_scale is not None:
        yield "`cfg_scale` {:g} to {:g}".format(*capability.cfg_scale)
    if capability.modes:
        yield "mode " + " or ".join(f"`{mode}`" for mode in capability.modes)
    if capability.count_max > 1:
        yield f"`n` up to {capability.count_max} in one submit"
    if capability.prompt_or is not None:
        yield f"`{capability.prompt_or}` instead of a prompt"


def options_of(adapter: Adapter) -> set[str]:
    """The names of all `provider_options` of an adapter."""
    tables = (adapter.capabilities, adapter.configurable)
    return {option for table in tables for rows in table.values() for row in rows for option in row.options}
