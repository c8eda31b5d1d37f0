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
    """A row of a price table, in USD an output; it applies where everything that it names is so."""

    per_clip: Usd | None = None
    per_second: Usd | None = None
    resolution: str | None = None
    mode: str | None = None
    generate_audio: bool | None = None

    def covers(self, other: "Price") -> bool:
        """Whether it applies wherever the other does: behind it the other never counts."""
        return all(
            mine is None or mine == theirs
            for mine, theirs in (
                (self.resolution, other.resolution),
                (self.mode, other.mode),
                (self.generate_audio, other.generate_audio),
            )
        )


def cost_usd(
    prices: Sequence[Price], settings: Settings, capability: Capability, *, alike: bool = False
) -> float | None:
    """The price of one output; `None` when no row applies.

    What was not asked for is what the upstream makes of it, and the dearest that it may be where that is not known.
    `alike`: the model only follows the capability of another, so whether it makes sound unasked is not known.
    """
    if not prices:
        return None
    costs = [_of_row(prices, one) for one in _as_made(settings, capability, alike=alike)]
    return None if None in costs else max(cost for cost in costs if cost is not None)


def _as_made(settings: Settings, capability: Capability, *, alike: bool) -> Iterator[Settings]:
    """Everything that the settings may come to, never nothing."""
    assumed = capability.assumes
    lengths = _known(settings.duration_seconds, assumed.get("duration_seconds"), sorted(capability.durations))
    sounds = (False, True) if capability.generate_audio else (False,)
    sound = _known(settings.generate_audio, None if alike else assumed.get("generate_audio"), sounds)
    for length, audio, (mode, resolution) in product(lengths, sound, _looks(settings, capability)):
        yield replace(settings, duration_seconds=length, generate_audio=audio, mode=mode, resolution=resolution)


def _looks(settings: Settings, capability: Capability) -> list[tuple[str | None, str | None]]:
    """Mode and resolution: where a model has modes, either means the other."""
    mode = settings.mode or (None if settings.resolution else capability.assumes.get("mode"))
    if mode is not None:
        return [(mode, capability.modes.get(mode, settings.resolution))]
    resolutions = _known(settings.resolution, capability.assumes.get("resolution"), sorted(capability.resolutions))
    meant = [(mode, made) for mode, made in capability.modes.items() if made in resolutions or resolutions == (None,)]
    return [*meant] or [(None, resolution) for resolution in resolutions]


def _known(asked: T | None, assumed: T | None, possible: Sequence[T]) -> tuple[T | None, ...]:
    if asked is not None:
        return (asked,)
    return (assumed,) if assumed is not None else tuple(possible) or (None,)


def _of_row(prices: Sequence[Price], settings: Settings) -> float | None:
    """By the first row that applies; `None` when none does, or the length is not known."""
    for price in prices:
        if not _applies(price, settings):
            continue
        if price.per_second and settings.duration_seconds is None:
            return None
        by_length = (price.per_second or 0.0) * (settings.duration_seconds or 0)
        return round((price.per_clip or 0.0) + by_length, 6)
    return None


def _applies(price: Price, settings: Settings) -> bool:
    return (
        price.resolution in {None, settings.resolution}
        and price.mode in {None, settings.mode}
        and price.generate_audio in {None, settings.generate_audio}
    )
