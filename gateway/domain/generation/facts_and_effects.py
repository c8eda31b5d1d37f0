"""What a driver and `advance` hand to one another: facts, which were learnt, and effects, which are to be carried out.

Those about files are in `archiving.py`, those about a cancel at the provider in `task_cancels.py`, beside their rules.
"""

from datetime import datetime
from typing import Literal

from msgspec import Struct

from gateway.domain.adapter.task import Failed
from gateway.domain.adapter.task import TaskSnapshot as Snapshot
from gateway.domain.adapter.upstream_answer import UpstreamAnswer
from gateway.domain.generation.archiving import ArchiveFile, FileFact
from gateway.domain.generation.model import AttemptState, Generation
from gateway.domain.generation.task_cancels import CancelTask, TaskCancelled
from gateway.domain.generation.task_polling import How


class SubmitEnded(Struct, frozen=True, kw_only=True):
    """Fact: a submit ended without a task."""

    attempt_id: str
    state: Literal[AttemptState.NOT_SENT, AttemptState.REFUSED, AttemptState.UNKNOWN]
    failure: Failed | None  # None: it was not sent because it was no longer wanted
    retry_after_seconds: float | None = None
    next_variant: str | None = None
    upstream: UpstreamAnswer | None = None


class TaskRead(Struct, frozen=True, kw_only=True):
    """Fact: a task was polled and the reply was understood."""

    attempt_id: str
    index: int  # of the task within its attempt
    snapshot: Snapshot
    asked_at: datetime  # when the poll began: the reply may not show what happened at the provider after that


class TaskUnread(Struct, frozen=True, kw_only=True):
    """Fact: a poll proved nothing about its task. `not_found` counts against the task once it is repeated enough."""

    attempt_id: str
    index: int  # of the task within its attempt
    asked_at: datetime  # when the poll began
    not_found: bool = False
    unreadable: bool = False  # no key for the provider is configured, so no call was made
    adapter_failed: bool = False  # the adapter raised
    retry_after_seconds: float | None = None


class CallbackReceived(Struct, frozen=True):
    """Fact: a callback arrived for an attempt. Its contents are not trusted; it only makes the gateway poll now."""

    attempt_id: str


class SubmitAccepted(Struct, frozen=True, kw_only=True):
    """What a submit has stored: the ledger has `generation` if nothing has changed it since `began_with`."""

    began_with: int  # the version of the generation with which the submit was started
    generation: Generation


Fact = SubmitEnded | TaskRead | TaskUnread | CallbackReceived | TaskCancelled | FileFact


class Submit(Struct, frozen=True, gc=False):
    """Effect: prepare and send this reserved attempt. This is the purchase."""

    attempt_id: str


class Poll(Struct, frozen=True, kw_only=True, gc=False):
    """Effect: read a task from its provider."""

    attempt_id: str
    index: int  # of the task within its attempt
    how: How = "poll"


Effect = Submit | Poll | CancelTask | ArchiveFile
