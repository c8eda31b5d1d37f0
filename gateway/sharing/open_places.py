"""How many generations may be open at once, and how many of one client while others want to create some."""

from gateway.domain.errors import Overloaded
from gateway.sharing.room import has_share_left

FULL_SECONDS = 15.0  # `Retry-After` while too many generations are open


def no_place(own: int, taken: int, open_max: int) -> Overloaded | None:
    """The refusal of a client with `own` of the `taken` open generations; None if it may create one more."""
    if taken >= open_max:
        return Overloaded(
            f"{open_max:,} generations are open already, as many as server.max_open_generations allows.",
            retry_after=FULL_SECONDS,
        )
    if not has_share_left(own, taken, open_max):
        return Overloaded(
            f"Your key has {own:,} open generations, and the rest of {open_max:,} is for other clients.",
            retry_after=FULL_SECONDS,
        )
    return None
