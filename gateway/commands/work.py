"""`list`, `get`, `cancel`, `providers`, `deliveries`: what a running gateway works on.

With an operator's key they see all clients, by `/v1/admin/…`; with a client's key that client's own, by the paths that
every client has.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

import msgspec
import rich_click as click
from msgspec import Struct

from gateway.commands.client import DEFAULT_URL, ROOTS, Client, Refused, Unreachable
from gateway.commands.terminal import say, warn
from gateway.commands.work_lines import (
    DeliveryEntry,
    GenerationEntry,
    ProviderEntry,
    delivery_lines,
    generation_details,
    generation_lines,
    provider_lines,
)

_ADMIN = "/v1/admin"
_PAGE = 100
Raw = msgspec.Raw
Lines = Callable[[Raw], Iterator[str]]


class _Page(Struct, frozen=True):
    data: list[Raw]
    has_more: bool = False


class _Id(Struct, frozen=True):
    id: str


class WorkClient(Client):
    """Talks to one gateway with an operator's key, or with that of a client."""

    is_admin = False

    def generations(self, params: Mapping[str, Any], limit: int) -> tuple[list[Raw], bool]:
        """The newest generations, and whether there are more."""
        if self.is_admin:
            return self._listed(f"{_ADMIN}/generations", params, limit)
        kinds = [params["kind"]] if "kind" in params else list(ROOTS)
        own = {name: value for name, value in params.items() if name != "kind"}
        lists = [self._listed(ROOTS[kind], own, limit) for kind in kinds]
        merged = sorted((raw for raws, _ in lists for raw in raws), key=_id_of, reverse=True)
        return merged[:limit], len(merged) > limit or any(has_more for _, has_more in lists)

    def generation(self, generation_id: str, action: str = "") -> Raw:
        """One generation, after the action, which is the end of a path such as `/cancel`."""
        roots = [f"{_ADMIN}/generations"] if self.is_admin else list(ROOTS.values())
        for root in roots:
            try:
                return self.call(f"{root}/{quote(generation_id, safe='')}{action}", "POST" if action else "GET")
            except Refused as error:
                if root == roots[-1] or f"{roots[-1]}/" not in str(error):  # else it names the path of images
                    raise
        raise AssertionError("there is a path")

    def providers(self) -> tuple[list[Raw], bool]:
        """All accounts of the configuration."""
        return self._listed(f"{_ADMIN}/providers", {}, None)

    def deliveries(self, params: Mapping[str, Any], limit: int) -> tuple[list[Raw], bool]:
        """The newest deliveries, and whether there are more."""
        return self._listed(self._deliveries, params, limit)

    def delivery(self, delivery_id: str, action: str = "") -> Raw:
        """One delivery, after the action."""
        path = f"{self._deliveries}/{quote(delivery_id, safe='')}{action}"
        return self.call(path, "POST" if action else "GET")

    def call(self, path: str, method: str = "GET", body: Mapping[str, Any] | None = None) -> Raw:
        """The JSON that a path answers with. A call that changes something is sent only once."""
        if method == "GET":
            return Raw(self.raw(path))
        headers = {**self._key, "Content-Type": "application/json"}
        return Raw(self._send(method, path, headers=headers, content=msgspec.json.encode(body or {})).content)

    @property
    def _deliveries(self) -> str:
        return f"{_ADMIN if self.is_admin else '/v1'}/webhook_deliveries"

    def _listed(self, path: str, params: Mapping[str, Any], limit: int | None) -> tuple[list[Raw], bool]:
        """At most `limit` entries over as many pages as that needs; without a limit, a list that has no pages."""
        entries: list[Raw] = []
        while True:
            query = dict(params)
            if limit is not None:
                query["limit"] = min(limit - len(entries), _PAGE)
            if entries:
                query["after"] = _id_of(entries[-1])
            page = msgspec.json.decode(self.raw(f"{path}?{urlencode(query)}" if query else path), type=_Page)
            entries += page.data
            if not page.has_more or not page.data or limit is None or len(entries) >= limit:
                return entries, page.has_more


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkServer:
    """The gateway to talk to. The operator's key counts before that of a client."""

    url: str = DEFAULT_URL
    admin_key: str | None = None
    api_key: str | None = None
    as_operator: bool = False  # also without an operator's key: a gateway without keys lets everybody in

    def client(self) -> WorkClient:
        """A client for it. Raises a usage error if the URL or the key cannot be right."""
        try:
            client = WorkClient(self.url, self.admin_key or self.api_key)
        except ValueError as error:
            raise click.UsageError(f"--url or the key: {error}") from error
        client.is_admin = bool(self.admin_key) or self.as_operator
        return client

    def run(self, work: Callable[[WorkClient], None]) -> int:
        """Do the work with a client. Returns the exit code, after the reason of a failure is printed."""
        client = self.client()
        try:
            work(client)
        except (Refused, Unreachable, msgspec.DecodeError) as error:
            warn(str(error))
            if client.is_admin and not self.admin_key:
                warn("this needs an operator's key: --admin-key-file or VIDEO_GATEWAY_ADMIN_KEY, as the gateway has it")
            return 2
        finally:
            client.close()
        return 0


def list_generations(params: Mapping[str, Any], limit: int, server: WorkServer, *, as_json: bool) -> int:
    """Print generations, the newest first. Returns the exit code."""
    return server.run(
        lambda client: _print_list(
            client.generations(params, limit), _lines(GenerationEntry, generation_lines), "generation", as_json=as_json
        )
    )


def show_generation(generation_id: str, action: str, server: WorkServer, *, as_json: bool) -> int:
    """Print one generation, after the action on it. Returns the exit code."""
    return server.run(
        lambda client: _print(
            client.generation(generation_id, action), _lines(GenerationEntry, generation_details), as_json=as_json
        )
    )


def list_providers(server: WorkServer, *, as_json: bool) -> int:
    """Print all accounts. Returns the exit code."""
    return server.run(
        lambda client: _print_list(
            client.providers(), _lines(ProviderEntry, provider_lines), "provider", as_json=as_json
        )
    )


def change_provider(name: str, action: str, body: Mapping[str, Any], server: WorkServer, *, as_json: bool) -> int:
    """Hold, release or reset a provider, and print it as it is then. Returns the exit code."""
    path = f"{_ADMIN}/providers/{quote(name, safe='')}/{action}"
    return server.run(
        lambda client: _print(client.call(path, "POST", body), _lines(ProviderEntry, provider_lines), as_json=as_json)
    )


def list_deliveries(params: Mapping[str, Any], limit: int, server: WorkServer, *, as_json: bool) -> int:
    """Print deliveries, the newest first. Returns the exit code."""
    return server.run(
        lambda client: _print_list(
            client.deliveries(params, limit), _lines(DeliveryEntry, delivery_lines), "delivery", as_json=as_json
        )
    )


def show_delivery(delivery_id: str, action: str, server: WorkServer, *, as_json: bool) -> int:
    """Print one delivery, after the action on it. Returns the exit code."""
    return server.run(
        lambda client: _print(
            client.delivery(delivery_id, action), _lines(DeliveryEntry, delivery_lines), as_json=as_json
        )
    )


def _lines(kind: type[Struct], lines: Callable[[Any], Iterator[str]]) -> Lines:
    return lambda raw: lines(msgspec.json.decode(raw, type=kind))


def _print(raw: Raw, lines: Lines, *, as_json: bool) -> None:
    if as_json:
        click.echo(msgspec.json.format(bytes(raw), indent=2).decode())
        return
    for line in lines(raw):
        say(line)


def _print_list(page: tuple[Sequence[Raw], bool], lines: Lines, what: str, *, as_json: bool) -> None:
    entries, has_more = page
    if as_json:
        answer = {"object": "list", "data": list(entries), "has_more": has_more}
        click.echo(msgspec.json.format(msgspec.json.encode(answer), indent=2).decode())
        return
    for entry in entries:
        _print(entry, lines, as_json=False)
    if not entries:
        warn(f"no {what} was found")
    elif has_more:
        warn(f"there are more; the next page: --after {_id_of(entries[-1])}, or a greater --limit")


def _id_of(raw: Raw) -> str:
    return msgspec.json.decode(raw, type=_Id).id
