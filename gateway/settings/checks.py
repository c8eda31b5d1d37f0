"""The rules across sections: what each key is by itself may be right, and not beside another one."""

import re
from collections.abc import Collection, Iterator, Mapping
from urllib.parse import urlsplit

from msgspec import structs

from gateway.domain.keyless_access import is_loopback
from gateway.settings.clients import CLIENT_KEY_MIN, check_clients
from gateway.settings.sections import (
    ArtifactSettings,
    DatabaseSettings,
    ModelSettings,
    PollingSettings,
    ProviderModel,
    ProviderSettings,
    ServerSettings,
    WebhookSettings,
)
from gateway.settings.tables import Sections
from gateway.settings.toml import KeyPath, TomlReader, nearest, show_path

# Headers that the gateway sets itself, or that would change the meaning of a body.
OWN_HEADERS = frozenset(
    {"accept-encoding", "authorization", "connection", "content-encoding", "content-length", "content-type", "expect"}
    | {"host", "te", "trailer", "transfer-encoding", "upgrade"}
)


def check_sections(
    sections: Sections, providers: Collection[str], reader: TomlReader, warnings: list[str]
) -> ServerSettings:
    """Report to `reader` what does not fit together, and add to `warnings`. Returns the server with its `auth` decided.

    `providers` are the names of the installed adapters and of the accounts.
    """
    server = _check_server(sections, reader, warnings)
    _check_artifacts(sections.artifacts, sections.database, reader)
    _check_webhooks(sections.webhooks, reader)
    _check_providers(sections.providers, reader, warnings)
    _check_models(sections, providers, reader, warnings)
    return server


def _check_webhooks(webhooks: WebhookSettings, reader: TomlReader) -> None:
    if webhooks.previous_secret is not None and webhooks.secret is None and not reader.has_faults("webhooks"):
        reader.report(("webhooks", "previous_secret"), "expected only beside secret; set webhooks.secret as well")


def _check_server(sections: Sections, reader: TomlReader, warnings: list[str]) -> ServerSettings:
    """The server with its `auth` decided. A wrong key ends the check, because its default could cause false reports."""
    server = sections.server
    if reader.has_faults("server") or reader.has_faults("clients"):
        return server
    lists = {"api_keys": server.api_keys, "admin_keys": server.admin_keys}
    for name, keys in lists.items():
        for place, key in enumerate(keys):
            if key in keys[:place]:
                first = show_path(("server", name, keys.index(key)))
                reader.report(("server", name, place), f"the same key is listed twice, also as {first}; remove one")
    for place, key in enumerate(server.admin_keys):
        if key in server.api_keys:
            client = show_path(("server", "api_keys", server.api_keys.index(key)))
            reader.report(("server", "admin_keys", place), f"the same key is a client's, {client}; use another one")
    _check_kling_keys(server, reader, warnings)
    check_clients(server, sections.clients, reader, warnings)
    # With an admin key alone, clients and their keys are made at run time.
    has_keys = bool(server.api_keys or server.kling_keys or server.admin_keys or sections.clients)
    auth = server.auth or ("keys" if has_keys else "none")
    configured = any(client.keys or client.kling_keys for client in sections.clients.values())
    if auth == "keys" and not (server.api_keys or server.kling_keys or server.admin_keys or configured):
        reader.report(
            ("server", "auth"),
            '"keys" needs server.api_keys, keys of a client, or server.admin_keys; or VIDEO_GATEWAY_API_KEY',
        )
    if auth == "none" and server.kling_keys:
        warnings.append('server.auth: "none" lets everybody in; server.kling_keys are ignored')
    if auth == "none" and sections.clients:
        warnings.append('server.auth: "none" lets everybody in; clients and their limits are ignored')
    if auth == "none" and not is_loopback(server.host):
        reader.report(
            ("server", "auth"),
            '"none" is allowed on a loopback host only; set server.api_keys or VIDEO_GATEWAY_API_KEY',
        )
    if auth == "none":
        _check_keyless(server, reader)
    if server.max_bodies_bytes < server.max_body_bytes:
        reader.report(("server", "max_bodies_bytes"), "expected at least max_body_bytes")
    if server.max_connections_per_address is not None and server.max_connections_per_address > server.max_connections:
        reader.report(("server", "max_connections_per_address"), "expected at most max_connections")
    for name, keys in lists.items():
        if auth == "none" and name == "api_keys" and keys:
            warnings.append('server.auth: "none" lets everybody in; server.api_keys are ignored')
        for place, key in enumerate(keys):
            if len(key.reveal()) < CLIENT_KEY_MIN:
                warnings.append(
                    f"server.{name}[{place}]: under {CLIENT_KEY_MIN} characters, which can be guessed; use a longer key"
                )
    if server.public_url is None and not is_loopback(server.host):
        warnings.append(
            "server.public_url: missing; webhooks contain paths instead of URLs, and no provider can call back"
        )
    return structs.replace(server, auth=auth)


def _check_keyless(server: ServerSettings, reader: TomlReader) -> None:
    """Refuse what a gateway without client keys would give to strangers: it serves its own machine alone."""
    purposes = {
        "public_url": "a URL for others",
        "admin_keys": "rights of operators",
        "cors_origins": "web pages of other origins",
    }
    for name, purpose in purposes.items():
        if getattr(server, name):
            reader.report(
                ("server", name),
                f"{purpose}, beside a gateway without client keys, which lets everybody in and serves its own machine"
                " alone; set server.api_keys or VIDEO_GATEWAY_API_KEY, or remove this",
            )


def _check_kling_keys(server: ServerSettings, reader: TomlReader, warnings: list[str]) -> None:
    access_keys = [pair.access_key for pair in server.kling_keys]
    for place, access_key in enumerate(access_keys):
        path = ("server", "kling_keys", place, "access_key")
        if access_key in access_keys[:place]:
            reader.report(path, "the same access key is listed twice; remove one")
        if access_key in server.admin_keys:
            reader.report(path, "the same key is an operator's, in server.admin_keys; use another one")
        if access_key in server.api_keys:
            warnings.append(
                f"{show_path(path)}: the same key is in server.api_keys, and everybody who sees a JWT reads it there;"
                " use another one, unless the two have to share their generations"
            )


def _check_artifacts(artifacts: ArtifactSettings, database: DatabaseSettings, reader: TomlReader) -> None:
    if reader.has_faults("artifacts"):
        return
    if problem := artifacts.problem():
        key, message = problem
        reader.report(("artifacts", key), message)
    elif database.path is None and not (artifacts.is_bucket or artifacts.shared):
        reader.report(
            ("artifacts", "url"),
            "with PostgreSQL each gateway has to find the files of all; name a bucket, or set artifacts.shared = true"
            " if every gateway has this folder, for example over the network",
        )


def _check_providers(accounts: Mapping[str, ProviderSettings], reader: TomlReader, warnings: list[str]) -> None:
    if not any(account.enabled for account in accounts.values()) and not reader.has_faults("providers"):
        state, remedy = ("enabled", "remove enabled = false") if accounts else ("configured", "set the key of one")
        warnings.append(f"providers: none is {state}; no generation can be made; {remedy}")
    for name, account in accounts.items():
        if reader.has_faults("providers", name):
            continue
        _check_intervals(account, ("providers", name), reader)
        for model, polling in account.models.items():
            _check_intervals(polling, ("providers", name, "models", model), reader)
        for header in account.headers:
            path = ("providers", name, "headers", header)
            if not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", header):
                reader.report(path, "expected the name of a header")
            if header.lower() in OWN_HEADERS:
                reader.report(path, "the gateway sets this header itself; remove it")
        url = urlsplit(account.base_url or "")
        if (account.enabled or account.has_key) and url.scheme == "http" and not is_loopback(url.hostname or ""):
            warnings.append(
                f"providers.{name}.base_url: http; the key and every prompt travel unencrypted to {url.hostname}"
            )


def _check_intervals(polling: PollingSettings, path: KeyPath, reader: TomlReader) -> None:
    interval, ceiling = polling.poll_seconds, polling.poll_max_seconds
    if interval is not None and ceiling is not None and ceiling < interval:
        reader.report((*path, "poll_max_seconds"), "expected at least poll_seconds")


def _check_models(sections: Sections, providers: Collection[str], reader: TomlReader, warnings: list[str]) -> None:
    for name, model in sections.models.items():
        if reader.has_faults("models", name):
            continue
        path = ("models", name)
        if not name.strip() or name.partition("/")[0] in providers:
            reader.report(path, "expected a name of its own, not that of a provider's model")
        _check_order(model, path, reader)
        if model.order == "cheapest":
            warnings += [
                f"{show_path((*path, 'routes', place))}: has no price, so it comes last; set prices for it"
                for place in _unpriced(sections, model)
            ]
        for place, route in enumerate(model.routes):
            where = (*path, "routes", place)
            if (problem := _route_problem(route, providers)) is not None:
                reader.report(where, problem)
                continue
            if route in model.routes[:place]:
                reader.report(where, "the same route is listed twice; remove one")
            provider = route.partition("/")[0]
            account = sections.providers.get(provider)
            if (account is None or not account.enabled) and not reader.has_faults("providers", provider):
                warnings.append(
                    f"{show_path(where)}: {provider} is not configured, so the route is left out; set its key"
                )


def _check_order(model: ModelSettings, path: KeyPath, reader: TomlReader) -> None:
    if model.weights and model.order != "weighted":
        reader.report((*path, "weights"), 'expected only beside order = "weighted"')
    elif model.order == "weighted" and (len(model.weights) != len(model.routes) or not any(model.weights)):
        count = len(model.routes)
        reader.report((*path, "weights"), f"expected a number for each of the {count} routes, not all of them 0")


def _unpriced(sections: Sections, model: ModelSettings) -> Iterator[int]:
    """The positions of the routes without a price."""
    for place, route in enumerate(model.routes):
        provider, _, upstream_model = route.partition("/")
        account = sections.providers.get(provider)
        if account is not None and not account.models.get(upstream_model, ProviderModel()).prices:
            yield place


def _route_problem(route: str, providers: Collection[str]) -> str | None:
    provider, _, upstream_model = route.partition("/")
    if not provider or not upstream_model:
        return 'expected "PROVIDER/MODEL"'
    if provider not in providers:
        return f"no such provider; {nearest(provider, providers)}"
    return None
