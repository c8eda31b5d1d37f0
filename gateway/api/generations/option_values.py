"""Reads the values of `provider_options` by the shapes that the adapters declare."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from gateway.domain.adapter.options import URL_MAX, Option, OptionFault, read_option
from gateway.domain.errors import InvalidParameter
from gateway.domain.public_addresses import Network, addresses_of, is_allowed, port_is_open, refusal
from gateway.fetch.fetcher import FetchRefused, target_of
from gateway.fetch.urls import url_fault

Shapes = Mapping[str, Mapping[str, tuple[Option, ...]]]  # by provider and option; several if its models differ
_FIELD = "provider_options"


def read_options(
    given: Mapping[str, Mapping[str, object]], shapes: Shapes, names: Mapping[str, str], allowed: Sequence[Network]
) -> dict[str, dict[str, Any]]:
    """The options as they are sent. Raises `InvalidParameter`, which names the exact value in the client's own words.

    Providers and options that no shape is for are returned as they are: the planner refuses them, because it knows
    which model was asked for. `names` has the client's names of fields, `allowed` the networks of `fetch.allow`.
    """
    check_url = partial(_url_fault, allowed=allowed)
    options: dict[str, dict[str, Any]] = {}
    for provider, own in given.items():
        for name, value in own.items():
            path = f"{_FIELD}.{provider}.{name}"
            options.setdefault(provider, {})[name] = _read(
                shapes.get(provider, {}).get(name, ()), value, path, partial(_client_path, names=names), check_url
            )
    return options


def _read(shapes: Sequence[Option], value: object, path: str, shown: Any, check_url: Any) -> Any:
    """The value in the first shape that takes it; the fault of the first shape, if none does."""
    first: OptionFault | None = None
    for shape in shapes:
        try:
            return read_option(shape, value, path, check_url)
        except OptionFault as fault:
            first = first or fault
    if first is None:
        return value
    param = shown(first.path)
    raise InvalidParameter(first.message.replace(f"`{first.path}`", f"`{param}`"), param=param) from first


def _client_path(path: str, names: Mapping[str, str]) -> str:
    """The path with the client's own name of the field in which the option came, such as `elements[0].video_url`."""
    fields = [field for field in names if field.startswith(_FIELD) and path.startswith(field)]
    field = max((field for field in fields if path[len(field) : len(field) + 1] in {"", ".", "["}), key=len, default="")
    return names[field] + path[len(field) :] if field else path


def _url_fault(url: str, allowed: Sequence[Network]) -> str | None:
    """Why a provider is not given this URL, or `None`. The rules are those of URLs that the gateway itself fetches."""
    if (fault := url_fault(url, URL_MAX)) is not None:
        return fault
    try:
        target = target_of(url)
    except FetchRefused:
        return "is not the URL of a public address"
    addresses = addresses_of(target.host)
    if any(is_allowed(address, allowed) for address in addresses):
        return None
    if addresses and all(refusal(address) is not None for address in addresses):
        return "is not the URL of a public address"
    return None if port_is_open(target.port) else "is a URL with a port that is not for the web"
