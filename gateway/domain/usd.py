"""US dollars as whole millionths, so that sums are exact: prices are floats of at most six decimals. Pure."""

_MICROS = 1_000_000
# The largest amount either way. Only a limit can be larger, such as a `max_cost` of 1e305, whose millionths are beyond
# every float; and each amount fits into a column of 64 bits.
_USD_MAX = 9e12


def micros(usd: float | None) -> int:
    """A price or a limit in millionths of a US dollar, at most 9e18; 0 without one."""
    return 0 if usd is None else round(max(-_USD_MAX, min(usd, _USD_MAX)) * _MICROS)


def usd(amount: int) -> float:
    """An amount in millionths as US dollars."""
    return round(amount / _MICROS, 6)
