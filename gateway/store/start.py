"""What a start reads from the ledger once, before anything is served."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from msgspec import Struct

from gateway.domain.health.hold import Hold
from gateway.store.clients import Adopted

SECRETS = ("tokens", "webhooks")  # the names of what the gateway signs with


class Start(Struct, frozen=True, kw_only=True):
    """The services of a gateway are built of it."""

    newest: datetime | None  # the latest moment that is in the ledger or that `Store.keep_time` has noted
    adopted: tuple[Adopted, ...]  # the keys whose things another owner has; a running gateway adds none
    secrets: Mapping[str, bytes]  # 32 random bytes for each of `SECRETS`; the first start has made them
    holds: tuple[Hold, ...]  # see `Holds.now`
    ahead: timedelta = timedelta()  # how far the clock of the database is ahead of that of this process
    warning: str | None = None  # what an operator should know of the ledger as long as the gateway runs
