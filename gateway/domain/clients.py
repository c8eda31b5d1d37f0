"""Clients: who owns generations and files, with which keys they may do what, within which limits. Pure.

An *owner id* is a text that every stored thing names its owner by: `client_<name>` for a client with a name,
`key_<24 hexadecimal digits>` for a key that is a client by itself, and `anonymous` at a gateway without keys.
"""

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Annotated, Literal

from msgspec import Meta, Struct

from gateway.domain.errors import ApiKeyExpired, ApiKeyRevoked, OpenGenerationsReached, OutputsPerDayReached

ANONYMOUS = "anonymous"  # the owner of all generations and files when `server.auth` is "none"
# Not an owner id: filters take both, and could not tell which of the two is meant.
NAME = re.compile(r"(?!anonymous$|client_|key_)[a-z0-9][a-z0-9_-]{0,62}")
NAME_RULE = (
    "1 to 63 lower case letters, digits, - and _, with a letter or a digit first; `anonymous` and what begins with"
    " `client_` or `key_` are taken, because owner ids look like that"
)
LABEL_MAX = 200  # characters
PATTERNS_MAX = 1000  # names and patterns of models for one client
_NAMED = "client_"

Scope = Literal["generate", "read", "admin"]
SCOPES: tuple[Scope, ...] = ("generate", "read", "admin")
OF_CLIENTS: tuple[Scope, ...] = ("generate", "read")  # of a key that names no scopes
Sight = Literal["provider", "attempts", "costs"]
SIGHTS: tuple[Sight, ...] = ("provider", "attempts", "costs")

BudgetUsd = Annotated[float, Meta(ge=0, le=1_000_000_000)]  # USD
ModelPattern = Annotated[str, Meta(min_length=1, max_length=200)]


class Budgets(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What may be spent, in USD. `None`: no limit; 0: nothing may be spent."""

    day: BudgetUsd | None = None  # a day of UTC
    month: BudgetUsd | None = None  # a month of UTC
    total: BudgetUsd | None = None  # in all, since the ledger counts


class Limits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """How much a client may use, and what it may see. `None`: no limit."""

    models: Annotated[tuple[ModelPattern, ...], Meta(max_length=PATTERNS_MAX)] = ()  # such as `keevx/*`; empty: all
    requests_per_minute: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
    open_generations: Annotated[int, Meta(ge=1, le=10_000_000)] | None = None  # that have not ended
    outputs_per_day: Annotated[int, Meta(ge=1, le=100_000_000)] | None = None  # of creates on a day of UTC
    budgets: Budgets = Budgets()
    sees: tuple[Sight, ...] = SIGHTS  # what its answers, events and webhooks may have


NO_LIMITS = Limits()


class Client(Struct, frozen=True, kw_only=True):
    """The owner of generations."""

    owner: str  # the owner id
    name: str | None = None  # None: a key that is a client by itself
    limits: Limits = NO_LIMITS
    configured: bool = True  # in the configuration; False: it was made at run time


class ClientKey(Struct, frozen=True, kw_only=True):
    """A key of a client, as far as it may be known: its hash."""

    id: str
    client: str  # the name of the client
    sha256: bytes
    label: str = ""
    scopes: tuple[Scope, ...] = OF_CLIENTS
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None


class Caller(Struct, frozen=True, kw_only=True):
    """Who has sent a request."""

    client: Client
    key_id: str
    scopes: tuple[Scope, ...] = OF_CLIENTS


def key_digest(key: str) -> bytes:
    """The SHA-256 of a key. Keys have at least 128 random bits, so that no slow hash is needed."""
    return sha256(key.encode()).digest()


def owner_of_key(digest: bytes) -> str:
    """The owner id of a key that is a client by itself."""
    return f"key_{digest.hex()[:24]}"


def owner_of(name: str) -> str:
    """The owner id of a client with a name."""
    return _NAMED + name


def name_of(owner: str) -> str | None:
    """The name of the client that an owner id belongs to; None if it has no name."""
    return owner.removeprefix(_NAMED) if owner.startswith(_NAMED) else None


def check_valid(key: ClientKey, now: datetime) -> None:
    """Raise `ApiKeyRevoked` or `ApiKeyExpired` for a key that may not be used any more."""
    if key.revoked_at is not None:
        raise ApiKeyRevoked(f"The API key {key.id} was revoked. Ask the operator for another one.")
    if key.expires_at is not None and key.expires_at <= now:
        raise ApiKeyExpired(f"The API key {key.id} ended at {key.expires_at.isoformat(timespec='seconds')}.")


def matches(patterns: Iterable[str], names: Iterable[str]) -> bool:
    """Whether one of the names has one of the patterns, in which `*` matches any characters."""
    expressions = [re.compile(re.escape(pattern).replace(r"\*", ".*"), re.DOTALL) for pattern in patterns]
    return any(expression.fullmatch(name) for name in names for expression in expressions)


# --- limits -----------------------------------------------------------------------------------------------------------


OPEN_RETRY_SECONDS = 15.0  # `Retry-After` while too many generations of a client are open


class CreateLimits(Struct, frozen=True):
    """The limits that are counted in the transaction of a create. `None`: no limit."""

    open_generations: int | None = None
    outputs_per_day: int | None = None

    def check_open(self, taken: int) -> None:
        """Raise `OpenGenerationsReached` if no further generation fits beside `taken` open ones."""
        if self.open_generations is not None and taken >= self.open_generations:
            raise OpenGenerationsReached(
                f"Your client may have {self.open_generations:,} open generations at once (`open_generations`), and has"
                f" {taken:,}. Wait until one has ended, or cancel one.",
                retry_after=OPEN_RETRY_SECONDS,
            )

    def check_outputs(self, taken: int, wanted: int, now: datetime) -> None:
        """Raise `OutputsPerDayReached` if `wanted` outputs do not fit beside the `taken` ones of the day."""
        if self.outputs_per_day is not None and taken + wanted > self.outputs_per_day:
            left = max(self.outputs_per_day - taken, 0)
            raise OutputsPerDayReached(
                f"Your client may create {self.outputs_per_day:,} outputs on a day of UTC (`outputs_per_day`), and"
                f" {left:,} of them are left; this request asks for {wanted:,}.",
                retry_after=(day_after(now) - now).total_seconds(),
            )


def create_limits(limits: Limits) -> CreateLimits | None:
    """The limits that a create has to count; None if the client has none of them."""
    if limits.open_generations is None and limits.outputs_per_day is None:
        return None
    return CreateLimits(limits.open_generations, limits.outputs_per_day)


def day_of(moment: datetime) -> str:
    """The day of UTC, as `2026-03-02`."""
    return moment.astimezone(UTC).date().isoformat()


def day_begin(moment: datetime) -> datetime:
    """When the day of UTC has begun."""
    return moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def day_after(moment: datetime) -> datetime:
    """When the next day of UTC begins."""
    return day_begin(moment) + timedelta(days=1)


class Bucket(Struct, frozen=True):
    """How many requests a client may send at a moment. The number grows evenly, up to the limit of a minute."""

    left: float
    at: datetime

    def now(self, moment: datetime, per_minute: int) -> "Bucket":
        """The bucket at a later moment; a moment before `at` changes nothing."""
        seconds = max((moment - self.at).total_seconds(), 0.0)
        return Bucket(min(self.left + seconds * per_minute / 60, float(per_minute)), max(moment, self.at))

    def seconds_until(self, wanted: float, per_minute: int) -> float:
        """How long it takes until at least `wanted` requests may be sent."""
        return max(wanted - self.left, 0.0) * 60 / per_minute
