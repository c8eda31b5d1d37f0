"""What an output costs on a route, from the prices in the configuration. Pure."""

from collections.abc import Sequence
from typing import Annotated

from msgspec import Meta, Struct

from gateway.domain.request import Settings

Usd = Annotated[float, Meta(ge=0, le=100_000)]


class Price(Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """A row of a price table, in USD an output; it applies where everything that it names is so."""

    per_clip: Usd | None = None
    per_second: Usd | None = None
    resolution: str | None = None
    mode: str | None = None
    generate_audio: bool | None = None


def cost_usd(prices: Sequence[Price], settings: Settings) -> float | None:
    """The price of one output by the first row that applies; `None` when none does, or the length is not known."""
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
        and price.generate_audio in {None, bool(settings.generate_audio)}
    )
