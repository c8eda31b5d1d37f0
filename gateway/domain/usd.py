"""US dollars as whole millionths, so that sums are exact: prices are floats of at most six decimals. Pure."""

_MICROS = 1_000_000


def micros(usd: float | None) -> int:
    """A price in millionths of a US dollar; 0 without a price."""
    return 0 if usd is None else round(usd * _MICROS)


def usd(amount: int) -> float:
    """An amount in millionths as US dollars."""
    return round(amount / _MICROS, 6)
