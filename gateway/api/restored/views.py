"""What operators read of generations that a restored ledger holds."""

from typing import Literal

from msgspec import Struct

from gateway.api.attempts.views import AdminAttempt
from gateway.domain.adapter.request import Kind
from gateway.domain.adapter.task import Status


class RestoredGeneration(Struct, frozen=True, kw_only=True):
    """An open generation for which nothing is bought, because an older ledger was restored."""

    id: str  # names the generation
    client: str  # who owns it: the name of the client, or the id of a key
    kind: Kind  # what it makes
    model: str  # the model as the request named it
    status: Status  # how far it is
    created_at: int  # Unix seconds
    deadline_at: int  # Unix seconds; it expires then
    restored_at: int | None  # when the restore was noticed; null: it was released
    attempts: tuple[AdminAttempt, ...]  # its submits; what the ledger does not know is not among them
    object: Literal["restored_generation"] = "restored_generation"  # the kind of this object


class RestoredGenerationList(Struct, frozen=True, kw_only=True):
    """Held generations, oldest first."""

    data: tuple[RestoredGeneration, ...]  # the generations of this page
    has_more: bool  # whether there are generations after this page
    object: Literal["list"] = "list"  # the kind of this object


class Released(Struct, frozen=True, kw_only=True):
    """What the release of all held generations has done."""

    released: int  # how many generations buy again
