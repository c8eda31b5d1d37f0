"""`models`: lists the models of a running gateway, or of the configuration."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec
import rich_click as click
from msgspec import Struct
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from gateway.api.models.views import CapabilityView, ModelList, ModelView, model_view
from gateway.commands.client import DEFAULT_URL, Client, Refused, Unreachable
from gateway.commands.configuration import configured
from gateway.commands.generate import Server
from gateway.commands.terminal import plain, warn
from gateway.domain.errors import ConfigurationError, ModelNotFound
from gateway.generations.catalog import Catalog
from gateway.upstream.provider import accepting, providers_of

_WIDE = 200  # columns, if standard output is not a terminal


class Models(Struct, frozen=True):
    """The part of `GET /v1/models` that is shown."""

    data: tuple[ModelView, ...]


def models(name: str | None, server: Server | None, config: Path | None, *, as_json: bool) -> int:
    """Print all models, or the one with this name. Returns the exit code."""
    try:
        listed = _local(name, config) if server is None else _remote(name, server)
    except (ModelNotFound, Refused, Unreachable, msgspec.ValidationError) as error:
        warn(str(error))
        return 2
    if as_json:
        answer = listed[0] if name is not None else ModelList(data=tuple(listed))
        click.echo(msgspec.json.format(msgspec.json.encode(answer), indent=2).decode())
    else:
        console = Console()
        if not console.is_terminal:
            console = Console(width=_WIDE)
        console.print(_table(listed))
    return 0


def summary(capability: CapabilityView) -> str:
    """What a route can do, on one line."""
    parts = [
        "" if capability.kind == "video" else capability.kind,
        " or ".join(capability.inputs).replace("_", " "),
        f"{_span(capability.durations)} s" if capability.durations else "",
        _list(capability.resolutions),
        _list(capability.qualities),
        _list(capability.aspect_ratios),
        f"prompt up to {capability.prompt_max}" if capability.prompt_max else "no prompt",
        *_extras(capability),
    ]
    return "; ".join(filter(None, parts))


def _local(name: str | None, config: Path | None) -> list[ModelView]:
    settings, source = configured(config)
    try:
        providers = accepting(providers_of(settings, source.adapters))
    except ConfigurationError as error:
        raise ConfigurationError(f"{error}; the models of a running gateway: --url {DEFAULT_URL}") from error
    catalog = Catalog(providers, settings)
    models = catalog.listed() if name is None else [catalog.resolve(name)]
    return [model_view(model, 0) for model in models]


def _remote(name: str | None, server: Server) -> list[ModelView]:
    client: Client = server.client()
    try:
        if name is None:
            return list(msgspec.json.decode(client.raw("/v1/models"), type=Models).data)
        return [msgspec.json.decode(client.raw(f"/v1/models/{name}"), type=ModelView)]
    finally:
        client.close()


def _table(models: Iterable[ModelView]) -> Table:
    """One row for each model: what it can do, or, if it has several routes, their names."""
    table = Table(Column("Model", overflow="fold"), Column("What it can do", overflow="fold"))
    for model in models:
        names = [f"{route.provider}/{route.provider_model}" for route in model.routes]
        lines = [f"→ {name}" for name in names if name != model.id]
        if len(names) == 1:
            lines += [summary(capability) for capability in model.routes[0].capabilities]
        table.add_row(Text(plain(model.id)), Text("\n".join(map(plain, lines))))
    return table


def _list(values: Iterable[object]) -> str:
    return " ".join(map(str, values))


def _span(values: Sequence[int]) -> str:
    """`3–15` if the values have no gap, else every value."""
    if len(values) > 2 and values[-1] - values[0] == len(values) - 1:
        return f"{values[0]}–{values[-1]}"
    return _list(values)


def _extras(capability: CapabilityView) -> list[str]:
    extras = {
        "last image": capability.last_image,
        f"{capability.reference_images_max} reference images": capability.reference_images_max > 0,
        "audio": capability.generate_audio,
        "negative prompt": capability.negative_prompt,
        "cfg scale": capability.cfg_scale is not None,
        f"modes {' '.join(capability.modes)}": bool(capability.modes),
        f"n up to {capability.n_per_submit} a submit": capability.n_per_submit > 1,
    }
    return [name for name, has in extras.items() if has]
