"""What a format of webhooks is: how the body of a delivery is made, and which headers it has beside the common ones."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from msgspec import Struct

from gateway.domain.generation.model import Generation
from gateway.domain.webhooks import Delivery


def no_headers(_delivery: Delivery, _body: str, _secrets: Sequence[str], _now: datetime) -> Mapping[str, str]:
    """No header beside those that every delivery has."""
    return {}


class Format(Struct, frozen=True):
    """The words of one API in which deliveries are made. The functions are pure, so equal input gives equal bytes."""

    body: Callable[[Delivery, Generation | None], object]  # the generation as it is stored now; None: a test
    # Of the delivery, its encoded body, the secrets that sign now (the newest first), and the time of this machine.
    headers: Callable[[Delivery, str, Sequence[str], datetime], Mapping[str, str]] = no_headers
