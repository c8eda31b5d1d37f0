"""What a generation contributes to the usage of its client: a function of its stored state alone. Pure.

Every transaction that changes a generation adds the difference between its contribution after and before to the rows of
usage. So each generation counts once in its newest state, and what it counted before is taken back. After a change of
these rules the stored rows would no longer fit what is taken back: such a change needs a migration of the rows.

Two changes of a generation are not reported to the rows: a submit that begins, and the usual reply to it. So nothing
here may depend on them; money under way therefore counts as reserved until its attempt has ended.
"""

from collections.abc import Iterator, Mapping, Sequence
from operator import add, sub

from msgspec import Struct
from msgspec.structs import astuple, replace

from gateway.domain.adapter.failure import Billed
from gateway.domain.adapter.task import Status
from gateway.domain.generation.cost_limit import billed_of, cost, maybe
from gateway.domain.generation.model import Generation, Output, Task
from gateway.domain.money.account import Account, account, settled_attempts
from gateway.domain.usage.completion_times import bucket_of

NO_PROVIDER = ""  # in place of a provider: none was tried


class Counts(Struct, frozen=True):
    """Numbers that add up. Amounts are in millionths of a US dollar."""

    queued: int = 0  # generations by status: these and the next five
    in_progress: int = 0
    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    expired: int = 0
    fallbacks: int = 0  # generations with an attempt on another route than that of the first attempt
    attempts: int = 0  # in any state
    outputs: int = 0  # delivered: completed ones, also extra and late ones
    milliseconds: int = 0  # of the delivered videos
    cost: int = 0  # what the ended attempts cost or may have cost, by the prices
    maybe: int = 0  # the part of `cost` of which no provider has said whether it was billed
    reserved: int = 0  # what may still be added to `cost`
    unpriced: int = 0  # ended attempts that were billed, or may have been, on a route without a price


NONE = Counts()


class Contribution(Struct, frozen=True):
    """What one generation counts for."""

    counts: Mapping[str, Counts]  # by provider; `NO_PROVIDER` where none was tried
    time: tuple[str, int] | None  # of a completed one: its provider, and the bucket of the time that it took


NOTHING = Contribution({}, None)


def contribution(generation: Generation, money: Account | None = None) -> Contribution:
    """What a generation contributes now. `money` is its account, if that is computed already.

    Its status, its fallback, its time and what it has reserved count for one provider, that of `provider_of`. An
    attempt and what it cost count for the provider of the attempt, and so do the outputs that it delivered.
    """
    own = provider_of(generation)
    counts: dict[str, dict[str, int]] = {
        own: {
            generation.status.value: 1,
            "fallbacks": int(has_fallen_back(generation)),
            "reserved": (money or account(generation)).reserved,
        }
    }

    def count(provider: str, **more: int) -> None:
        of_provider = counts.setdefault(provider, {})
        for name, number in more.items():
            of_provider[name] = of_provider.get(name, 0) + number

    for attempt in generation.attempts:
        count(generation.route(attempt).provider, attempts=1)
    for attempt in settled_attempts(generation):
        route = generation.route(attempt)
        has_no_price = route.cost_usd is None and billed_of(route, attempt) is not Billed.NO
        count(
            route.provider,
            cost=cost(generation, attempt),
            maybe=maybe(generation, attempt),
            unpriced=int(has_no_price),
        )
    for output in generation.outputs:
        if output.status is Status.COMPLETED:
            count(_maker(generation, output) or own, outputs=1, milliseconds=_milliseconds(generation, output))
    return Contribution({provider: Counts(**numbers) for provider, numbers in counts.items()}, _time(generation, own))


def counts_alike(before: Generation, after: Generation) -> bool:
    """True if a change of a generation is progress alone, which neither its account nor its contribution depends on.

    So it is for most polls that change something. Every other change is taken for one that counts.
    """
    if len(before.attempts) != len(after.attempts):
        return False
    if replace(after, attempts=before.attempts, progress=before.progress) != before:
        return False
    return all(
        old is new or (replace(new, tasks=old.tasks) == old and _progress_alone(old.tasks, new.tasks))
        for old, new in zip(before.attempts, after.attempts, strict=True)
    )


def _progress_alone(before: Sequence[Task], after: Sequence[Task]) -> bool:
    """Whether these are the same tasks, and those with another status or progress run as they did before."""
    return len(before) == len(after) and all(
        old == new
        or (
            not (old.status.terminal or new.status.terminal)
            and replace(new, status=old.status, raw_status=old.raw_status, progress=old.progress) == old
        )
        for old, new in zip(before, after, strict=True)
    )


def provider_of(generation: Generation) -> str:
    """The provider for which a generation counts.

    It is the one that the generation is listed under: the provider that delivered, else the newest one that accepted
    work. If none has accepted any, it is the one that was tried last; `NO_PROVIDER` if none was tried.
    """
    if generation.provider is not None:
        return generation.provider
    return generation.route(generation.attempts[-1]).provider if generation.attempts else NO_PROVIDER


def has_fallen_back(generation: Generation) -> bool:
    """True if an attempt was made on another route than that of the first attempt. Tries on one route do not count."""
    return len({attempt.route for attempt in generation.attempts}) > 1


def differences(before: Contribution, after: Contribution) -> Iterator[tuple[str, Counts]]:
    """By provider, what has to be added to the rows; nothing for a provider whose numbers stay."""
    for provider in dict.fromkeys((*before.counts, *after.counts)):
        old, new = before.counts.get(provider, NONE), after.counts.get(provider, NONE)
        if old != new:
            yield provider, new if old is NONE else Counts(*map(sub, astuple(new), astuple(old)))


def time_differences(before: Contribution, after: Contribution) -> Iterator[tuple[tuple[str, int], int]]:
    """By provider and bucket, what has to be added to the counted times."""
    if before.time == after.time:
        return
    if before.time is not None:
        yield before.time, -1
    if after.time is not None:
        yield after.time, 1


def added(left: Counts, right: Counts) -> Counts:
    """The sums of all numbers."""
    return Counts(*map(add, astuple(left), astuple(right)))


NAMES = Counts.__struct_fields__
_SECONDS_MAX = 1_000_000  # no video lasts for eleven days


def _maker(generation: Generation, output: Output) -> str | None:
    """The provider that made an output; None if no attempt is named."""
    return None if output.attempt_id is None else generation.route(generation.attempt(output.attempt_id)).provider


def _milliseconds(generation: Generation, output: Output) -> int:
    """The length of a delivered video: as it was measured, else as the provider says, else as it was asked for."""
    if generation.kind != "video":
        return 0
    for file in (output.kept, output.artifact):
        if file is not None and file.duration_seconds is not None:
            return _bounded(file.duration_seconds)
    if output.attempt_id is None:
        return 0
    wanted = generation.route(generation.attempt(output.attempt_id)).settings.duration_seconds
    return _bounded(wanted or 0)


def _bounded(seconds: float) -> int:
    """Milliseconds of a length that a provider may have named: a sum of them must fit into 64 bits."""
    return round(1000 * min(max(seconds, 0), _SECONDS_MAX))


def _time(generation: Generation, own: str) -> tuple[str, int] | None:
    if generation.status is not Status.COMPLETED or generation.completed_at is None:
        return None
    return own, bucket_of((generation.completed_at - generation.created_at).total_seconds())
