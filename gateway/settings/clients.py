"""`[clients.<name>]` and `[budgets]`: who may call the gateway, with which keys, and how much each may use.

A client owns generations and files, so its keys may change without a loss. The same limits can be given to a client
that is made at run time, so that `gateway.domain.clients` has their meaning.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from gateway.settings.sections import ApiKey, KlingKey

BudgetUsd = Annotated[float, Meta(ge=0, le=1_000_000_000)]  # USD
ModelPattern = Annotated[str, Meta(min_length=1, max_length=200)]
OwnerId = Annotated[str, Meta(pattern=r"^key_[0-9a-f]{24}$")]


class BudgetSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[budgets]` and `budgets` of a client: what may be spent, in USD. `None`: no limit; 0: nothing may be spent."""

    day: BudgetUsd | None = None  # a day of UTC
    month: BudgetUsd | None = None  # a month of UTC
    total: BudgetUsd | None = None  # in all, since the ledger counts


class ClientSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[clients.<name>]`: a client, its keys and its limits. `None` is no limit."""

    keys: tuple[ApiKey, ...] = ()  # each may generate and read; more can be made at run time
    kling_keys: tuple[KlingKey, ...] = ()  # for a JWT, as in `server.kling_keys`
    models: tuple[ModelPattern, ...] = ()  # names of models, or patterns such as `keevx/*`; empty: all models
    requests_per_minute: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
    open_generations: Annotated[int, Meta(ge=1, le=10_000_000)] | None = None  # that have not ended
    outputs_per_day: Annotated[int, Meta(ge=1, le=100_000_000)] | None = None  # of generations created on a day of UTC
    budgets: BudgetSettings = BudgetSettings()
    # Owner ids of keys that were clients by themselves. What they owned belongs to this client after the next start.
    adopt: tuple[OwnerId, ...] = ()
    sees: tuple[Literal["provider", "attempts", "costs"], ...] = ("provider", "attempts", "costs")
