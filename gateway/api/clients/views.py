"""The JSON of clients and keys, and how their bodies are read."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from gateway.api.web.moments import LATEST_MOMENT, unix
from gateway.domain.clients import (
    LABEL_MAX,
    NAME,
    NAME_RULE,
    OF_CLIENTS,
    PATTERNS_MAX,
    SCOPES,
    Budgets,
    BudgetUsd,
    Client,
    ClientKey,
    Limits,
    ModelPattern,
    Scope,
    Sight,
)
from gateway.domain.errors import InvalidParameter

Models = Annotated[tuple[ModelPattern, ...], Meta(max_length=PATTERNS_MAX)]
Requests = Annotated[int, Meta(ge=1, le=1_000_000)]
Generations = Annotated[int, Meta(ge=1, le=10_000_000)]
Outputs = Annotated[int, Meta(ge=1, le=100_000_000)]
T = TypeVar("T", bound=Struct)


class BudgetsBody(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a client may spend, in USD. Null or absent: no limit; 0: nothing."""

    day: BudgetUsd | None = None  # on a day of UTC
    month: BudgetUsd | None = None  # in a month of UTC
    total: BudgetUsd | None = None  # in all


class ChangeClient(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The limits to change. What is absent stays; null removes a limit."""

    models: Models | UnsetType | None = UNSET  # names of models, or patterns such as `keevx/*`; null or empty: all
    requests_per_minute: Requests | UnsetType | None = UNSET  # in all APIs together
    open_generations: Generations | UnsetType | None = UNSET  # that have not ended
    outputs_per_day: Outputs | UnsetType | None = UNSET  # of generations that are created on a day of UTC
    budgets: BudgetsBody | UnsetType | None = UNSET  # replaces all budgets
    sees: tuple[Sight, ...] | UnsetType | None = UNSET  # what its answers and webhooks have; null: everything


class CreateClient(ChangeClient, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A new client."""

    name: Annotated[str, Meta(pattern=f"^{NAME.pattern}$")]  # up to 63 lower case letters, digits, - and _


class CreateClientKey(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A new key."""

    label: Annotated[str, Meta(max_length=LABEL_MAX)] = ""  # what it is for, for operators
    # what it may do: `generate` and `read` unless it is given
    scopes: Annotated[tuple[Scope, ...], Meta(min_length=1, max_length=len(SCOPES))] = OF_CLIENTS
    # Unix seconds from which on it is refused; null or absent: never
    expires_at: Annotated[int, Meta(ge=0, le=LATEST_MOMENT)] | None = None


class BudgetsView(Struct, frozen=True, kw_only=True):
    """What a client may spend, in USD."""

    day: float | None  # on a day of UTC; null: no limit
    month: float | None  # in a month of UTC; null: no limit
    total: float | None  # in all; null: no limit


class ClientView(Struct, frozen=True, kw_only=True):
    """A client."""

    name: str  # its name, by which it owns generations
    object: Literal["client"] = "client"  # the kind of this object
    owner: str  # its owner id, by which the ledger names it
    configured: bool  # in the configuration, whose file alone changes it
    models: tuple[str, ...]  # names and patterns of the models that it may use; empty: all
    requests_per_minute: int | None  # null: no limit
    open_generations: int | None  # null: no limit
    outputs_per_day: int | None  # null: no limit
    budgets: BudgetsView  # what it may spend
    sees: tuple[Sight, ...]  # what its answers and webhooks have


class ClientList(Struct, frozen=True, kw_only=True):
    """A page of clients, by name."""

    object: Literal["list"] = "list"  # the kind of this object
    data: tuple[ClientView, ...]  # the clients of this page
    has_more: bool  # whether there are clients after this page


class ClientKeyView(Struct, frozen=True, kw_only=True):
    """A key that was made at run time."""

    id: str  # names the key; not secret
    object: Literal["client_key"] = "client_key"  # the kind of this object
    client: str  # the name of its client
    label: str  # what it is for
    scopes: tuple[Scope, ...]  # what it may do
    status: Literal["active", "ended", "revoked"]  # whether it is accepted
    created_at: int  # Unix seconds
    expires_at: int | None  # Unix seconds; null: never
    revoked_at: int | None  # Unix seconds; null unless it was revoked
    key: str | UnsetType = UNSET  # the key itself; only in the answer that makes it


class ClientKeyList(Struct, frozen=True, kw_only=True):
    """All keys of a client that were made at run time, the oldest first."""

    object: Literal["list"] = "list"  # the kind of this object
    data: tuple[ClientKeyView, ...]  # the keys
    has_more: bool = False  # always false


def client_view(client: Client) -> ClientView:
    """A client as operators see it."""
    limits = client.limits
    budgets = limits.budgets
    return ClientView(
        name=client.name or "",
        owner=client.owner,
        configured=client.configured,
        models=limits.models,
        requests_per_minute=limits.requests_per_minute,
        open_generations=limits.open_generations,
        outputs_per_day=limits.outputs_per_day,
        budgets=BudgetsView(day=budgets.day, month=budgets.month, total=budgets.total),
        sees=limits.sees,
    )


def key_view(key: ClientKey, now: datetime, text: str | UnsetType = UNSET) -> ClientKeyView:
    """A key as operators see it; with `text`, the key itself."""
    status: Literal["active", "ended", "revoked"] = "active"
    if key.revoked_at is not None:
        status = "revoked"
    elif key.expires_at is not None and key.expires_at <= now:
        status = "ended"
    return ClientKeyView(
        id=key.id,
        client=key.client,
        label=key.label,
        scopes=key.scopes,
        status=status,
        created_at=unix(key.created_at),
        expires_at=unix(key.expires_at),
        revoked_at=unix(key.revoked_at),
        key=text,
    )


def read_body(body: Mapping[str, object], kind: type[T]) -> T:
    """The fields of a body with their types checked; `InvalidParameter` names the field at fault."""
    name = body.get("name")
    if "name" in kind.__struct_fields__ and not (isinstance(name, str) and NAME.fullmatch(name)):
        raise InvalidParameter(f"`name` must have {NAME_RULE}.", param="name")
    try:
        return msgspec.convert(body, kind)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `$")
        param = path.rstrip("`").lstrip(".") or None
        shown = f"`{param}`: " if param else ""
        raise InvalidParameter(f"{shown}{message[:1].lower()}{message[1:]}.", param=param) from None


def changed(limits: Limits, body: ChangeClient) -> Limits:
    """The limits with the values that a body has."""
    values: dict[str, Any] = {name: getattr(limits, name) for name in Limits.__struct_fields__}
    for name in values:
        given = getattr(body, name)
        if given is UNSET:
            continue
        if name == "budgets":
            given = None if given is None else Budgets(day=given.day, month=given.month, total=given.total)
        values[name] = getattr(Limits(), name) if given is None else given
    return Limits(**values)


def moment_of(seconds: int | None, now: datetime) -> datetime | None:
    """The end of a new key. Raises `InvalidParameter` if it has passed."""
    if seconds is None:
        return None
    moment = datetime.fromtimestamp(seconds, UTC)
    if moment <= now:
        raise InvalidParameter("`expires_at` must be a time in the future, in Unix seconds.", param="expires_at")
    return moment
