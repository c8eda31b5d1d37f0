"""What an output costs on a route, from the prices in the configuration. Pure."""

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Annotated, TypeVar

from msgspec import Meta, Struct
from msgspec.structs import replace

from gateway.domain.adapter.contract import Capability
from gateway.domain.adapter.request import Settings

T = TypeVar("T")
Usd = Annotated[float, Meta(ge=0, le=100_000)]


class Price(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """A row of a price table, in USD for one output. It applies to outputs that match every condition that it has."""

    per_clip: Usd | None = None  # USD for each output
    per_second: Usd | None = None  # USD for each second of an output
    per_failure: Usd | None = None  # USD for each output whose task the provider reports as failed; None: not known
    per_refusal: Usd | None = None  # USD for each output whose submit is refused for its content; None: nothing
    resolution: str | None = None  # only with this resolution
    quality: str | None = None  # of an image
    mode: str | None = None  # only with this mode
    generate_audio: bool | None = None  # only with or without sound

    def covers(self, other: "Price") -> bool:
        """True if this row matches everything that `other` matches: listed first, it makes `other` unusable."""
        return all(
            mine is None or mine == theirs
            for mine, theirs in (
                (self.resolution, other.resolution),
                (self.quality, other.quality),
                (self.mode, other.mode),
                (self.generate_audio, other.generate_audio),
            )
        )


def cost_usd(
    prices: Sequence[Price], settings: Settings, capability: Capability, *, alike: bool = False
) -> float | None:
    """The price of one output in USD; `None` if no row applies.

    The provider decides about settings that are not sent. If its choice is not known, the highest price is returned, so
    that `max_cost` holds. `alike`: the model only follows the capability of another model, so whether it adds sound by
    itself is not known.
    """
    if not prices:
        return None
    costs = [_price_of(prices, outcome) for outcome in _outcomes(settings, capability, alike=alike)]
    return None if None in costs else max(cost for cost in costs if cost is not None)


class SideCosts(Struct, frozen=True):
    """What an output costs that is not made, in USD."""

    failure: float | None = None  # its task failed; None: perhaps the full price
    refusal: float = 0.0  # its submit was refused


def side_costs(
    prices: Sequence[Price], settings: Settings, capability: Capability, *, alike: bool = False
) -> SideCosts:
    """What a failed task and a refusal cost, by the rows that `cost_usd` uses; the highest if several may apply."""
    if not any(price.per_failure is not None or price.per_refusal for price in prices):
        return SideCosts()  # the usual case, without a look at every outcome
    rows = [_row_of(prices, outcome) for outcome in _outcomes(settings, capability, alike=alike)]
    failures = [None if row is None else row.per_failure for row in rows]
    return SideCosts(
        failure=None if None in failures else max(cost for cost in failures if cost is not None),
        refusal=max((row.per_refusal or 0.0 for row in rows if row is not None), default=0.0),
    )


def _outcomes(settings: Settings, capability: Capability, *, alike: bool) -> Iterator[Settings]:
    """Every combination of settings that the provider may choose; at least one."""
    assumed = capability.assumes
    lengths = _possible(settings.duration_seconds, assumed.get("duration_seconds"), sorted(capability.durations))
    sounds = (False, True) if capability.generate_audio else (False,)
    sound = _possible(settings.generate_audio, None if alike else assumed.get("generate_audio"), sounds)
    qualities = _possible(settings.quality, assumed.get("quality"), sorted(capability.qualities))
    for length, audio, quality, (mode, resolution) in product(lengths, sound, qualities, _modes(settings, capability)):
        yield replace(
            settings, duration_seconds=length, generate_audio=audio, quality=quality, mode=mode, resolution=resolution
        )


def _modes(settings: Settings, capability: Capability) -> list[tuple[str | None, str | None]]:
    """The possible pairs of mode and resolution. A mode that means a resolution is paired with that one alone."""
    mode = settings.mode or (None if settings.resolution else capability.assumes.get("mode"))
    resolutions = _possible(settings.resolution, capability.assumes.get("resolution"), sorted(capability.resolutions))
    if mode is not None:
        made = capability.modes.get(mode)
        return [(mode, resolution) for resolution in (resolutions if made is None else (made,))]
    meant = [
        (mode, resolution)
        for mode, made in capability.modes.items()
        for resolution in (resolutions if made is None else (made,))
        if resolution in resolutions or resolutions == (None,)
    ]
    return [*meant] or [(None, resolution) for resolution in resolutions]


def _possible(sent: T | None, assumed: T | None, supported: Sequence[T]) -> tuple[T | None, ...]:
    """The values that a setting can get: the one that is sent, else the provider's known default, else any."""
    if sent is not None:
        return (sent,)
    return (assumed,) if assumed is not None else tuple(supported) or (None,)


def _price_of(prices: Sequence[Price], settings: Settings) -> float | None:
    """The price by the first row that applies; `None` if no row does, or if the length is not known but needed."""
    price = _row_of(prices, settings)
    if price is None or (price.per_second and settings.duration_seconds is None):
        return None
    by_length = (price.per_second or 0.0) * (settings.duration_seconds or 0)
    return round((price.per_clip or 0.0) + by_length, 6)


def _row_of(prices: Sequence[Price], settings: Settings) -> Price | None:
    """The first row that applies."""
    return next((price for price in prices if _applies(price, settings)), None)


def _applies(price: Price, settings: Settings) -> bool:
    return (
        price.resolution in {None, settings.resolution}
        and price.quality in {None, settings.quality}
        and price.mode in {None, settings.mode}
        and price.generate_audio in {None, settings.generate_audio}
    )
