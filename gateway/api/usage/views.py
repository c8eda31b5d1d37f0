"""Usage as clients and operators read it: sums by day, client, model and provider."""

from collections.abc import Sequence
from functools import reduce
from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType
from msgspec.structs import asdict, replace

from gateway.api.web.owners import client_shown
from gateway.domain.usage.completion_times import seconds_of
from gateway.domain.usage.contribution import NO_PROVIDER, NONE, Counts, added
from gateway.domain.usd import usd
from gateway.store.usage import Group, UsageQuery, UsageRow

Day = Annotated[str, Meta(pattern=r"^\d{4}-\d\d-\d\d$", examples=["2026-05-17"])]


class UsageSums(Struct, frozen=True, kw_only=True):
    """The numbers of one group, or of all. A generation counts for the day of its create, in its newest state."""

    generations: int  # how many were created, also those that were deleted since
    queued: int  # generations in this state now
    in_progress: int  # generations in this state now
    completed: int  # generations that ended so
    failed: int  # generations that ended so
    cancelled: int  # generations that ended so
    expired: int  # generations that ended so
    success_rate: float | None  # completed ones divided by ended ones; null: none has ended
    outputs: int  # videos and images that were delivered, also late and extra ones
    seconds: float  # the length of the delivered videos together
    # What ended attempts cost or may have cost, by the prices in the configuration. Null, as the next three: the client
    # may not see costs.
    cost_usd: float | None
    maybe_usd: float | None  # the part of it of which no provider has said whether it was billed
    reserved_usd: float | None  # what open generations may still add to the cost, at most
    unpriced: int | None  # attempts that may have been billed on a route without a price, which `cost_usd` lacks
    # Tries to have something made, also those that were not sent. Null, as the next one: the client may not
    # see attempts.
    attempts: int | None
    fallbacks: int | None  # generations that tried another route than the first one
    p50_seconds: float | None  # half of the completed ones took at most so long; less than 3 % off; null: none
    p95_seconds: float | None  # 95 % of the completed ones took at most so long; less than 3 % off; null: none


class UsageGroup(UsageSums, frozen=True, kw_only=True):
    """The numbers of one group. It names only what the rows are grouped by."""

    day: Day | UnsetType = UNSET  # in UTC
    client: str | UnsetType = UNSET  # the name of the client, or the id of a key
    model: str | UnsetType = UNSET  # the model as the requests named it
    provider: str | UnsetType | None = UNSET  # the provider that made it or was tried; null: none was tried


class UsageAnswer(Struct, frozen=True, kw_only=True):
    """Sums by group, and the sums of all groups."""

    first_day: Day  # in UTC; it belongs to the range
    last_day: Day  # in UTC; it belongs to the range
    group_by: tuple[Group, ...]  # what the rows are grouped by
    data: tuple[UsageGroup, ...]  # the groups in the order of their names, without those in which all is 0
    total: UsageSums  # of all groups together
    object: Literal["usage"] = "usage"  # the kind of this object


def usage_view(query: UsageQuery, rows: Sequence[UsageRow], total: UsageRow | None) -> UsageAnswer:
    """The answer with these groups; `total` has the quantiles of all, None if nothing was completed."""
    sums = reduce(added, (row.counts for row in rows), NONE)
    return UsageAnswer(
        first_day=query.first_day.isoformat(),
        last_day=query.last_day.isoformat(),
        group_by=tuple(query.group_by),
        data=tuple(map(_group, rows)),
        total=_sums(sums, total),
    )


def without(answer: UsageAnswer, *, costs: bool, attempts: bool) -> UsageAnswer:
    """The answer without the costs, the attempts or both, for a client that may not see them."""
    names = (("cost_usd", "maybe_usd", "reserved_usd", "unpriced") if costs else ()) + (
        ("attempts", "fallbacks") if attempts else ()
    )
    hidden = dict.fromkeys(names)
    data = tuple(replace(group, **hidden) for group in answer.data)
    return replace(answer, data=data, total=replace(answer.total, **hidden))


def _group(row: UsageRow) -> UsageGroup:
    return UsageGroup(
        day=_named(row.day),
        client=UNSET if row.client is None else client_shown(row.client),
        model=_named(row.model),
        provider=None if row.provider == NO_PROVIDER else _named(row.provider),
        **asdict(_sums(row.counts, row)),
    )


def _named(name: str | None) -> str | UnsetType:
    return UNSET if name is None else name


def _sums(counts: Counts, times: UsageRow | None) -> UsageSums:
    """The numbers as they are shown; `times` has the buckets of the quantiles."""
    ended = counts.completed + counts.failed + counts.cancelled + counts.expired
    return UsageSums(
        generations=counts.queued + counts.in_progress + ended,
        queued=counts.queued,
        in_progress=counts.in_progress,
        completed=counts.completed,
        failed=counts.failed,
        cancelled=counts.cancelled,
        expired=counts.expired,
        success_rate=round(counts.completed / ended, 4) if ended else None,
        outputs=counts.outputs,
        seconds=counts.milliseconds / 1000,
        cost_usd=usd(counts.cost),
        maybe_usd=usd(counts.maybe),
        reserved_usd=usd(counts.reserved),
        unpriced=counts.unpriced,
        attempts=counts.attempts,
        fallbacks=counts.fallbacks,
        p50_seconds=_seconds(None if times is None else times.median_bucket),
        p95_seconds=_seconds(None if times is None else times.slow_bucket),
    )


def _seconds(bucket: int | None) -> float | None:
    return None if bucket is None else seconds_of(bucket)
