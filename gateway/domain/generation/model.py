"""A generation, its outputs and its attempts, as the ledger knows them."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

from msgspec import Struct

from gateway.domain.adapter.failure import Billed
from gateway.domain.adapter.request import Input, Settings
from gateway.domain.adapter.task import Artifact, Failed, Status, TaskRef
from gateway.domain.adapter.upstream_answer import UpstreamAnswer


class GenerationRequest(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the client asked for, normalised. Two requests with equal values ask for the same thing."""

    model: str
    input: Input
    prompt: str = ""
    settings: Settings = Settings()
    count: int = 1
    provider_options: Mapping[str, Mapping[str, Any]] = {}
    adapt: Literal["none", "nearest"] | None = None  # None: as the model's configuration says
    fallback: bool | tuple[str, ...] = True
    deadline_seconds: int = 3600
    max_cost: float | None = None  # USD
    webhook_url: str | None = None
    metadata: Mapping[str, str] = {}
    user: str | None = None


class Adaptation(Struct, frozen=True, kw_only=True):
    """A value that a route changed to the nearest it supports, because the client allowed it."""

    param: str
    asked: Any
    given: Any


class Route(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One (provider, upstream model) that can do what was asked."""

    provider: str
    model: str  # the upstream's own name
    row: str  # the entry of the adapter's tables that the model follows
    settings: Settings = Settings()  # as they will be sent: asked for, adapted, or the route's own defaults
    count_max: int = 1  # outputs that one attempt may ask for
    adaptations: tuple[Adaptation, ...] = ()
    attempt_timeout_seconds: float | None = None  # over the provider's own
    cost_usd: float | None = None  # of one output, by the prices in the configuration; None: it has none


class Policy(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a model's configuration says about failures that have no single right answer."""

    on_ambiguous: Literal["fall_back", "fail", "hold"] = "fall_back"
    on_content_policy: Literal["stop", "fall_back"] = "stop"


class Plan(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The routes of a generation, in order, fixed when it was created."""

    routes: tuple[Route, ...]
    policy: Policy = Policy()


class AttemptState(StrEnum):
    """How far an attempt is. `ATTEMPT_MOVES` in `transitions.py` has the legal transitions."""

    RESERVED = "reserved"  # nothing sent; inputs may be uploaded, also repeatedly
    SUBMITTING = "submitting"  # entered once; bytes may be on their way
    ACCEPTED = "accepted"  # the provider has a task
    NOT_SENT = "not_sent"  # proved: nothing reached the provider
    REFUSED = "refused"  # a documented refusal: no task
    UNKNOWN = "unknown"  # sent, no clear answer: a task may exist
    COMPLETED = "completed"
    FAILED = "failed"
    ABANDONED = "abandoned"  # given up while a task may still run


class Task(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One task of an attempt, as last read."""

    ref: TaskRef
    slot: int  # the index of the output it fills
    status: Status = Status.QUEUED
    raw_status: str = ""
    progress: float | None = None
    failure: Failed | None = None


class Attempt(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One submit, on one route, for one or more outputs."""

    id: str
    number: int  # from 1, within the generation
    route: int  # index into `Plan.routes`
    slots: tuple[int, ...]  # indices of the outputs it was made for
    state: AttemptState
    reserved_at: datetime
    form: str = ""  # the form of the submit, where the adapter has several
    sent_at: datetime | None = None
    accepted_at: datetime | None = None
    ended_at: datetime | None = None
    tasks: tuple[Task, ...] = ()
    failure: Failed | None = None
    billed: Billed | None = None
    retry_after_seconds: float | None = None  # the provider's own wait
    amend_form: str | None = None  # refused without effect: the same may be sent once in this form
    decision: Literal["fail", "resubmit"] | None = None  # an operator's, about an unclear answer that was held
    adopted: Literal["callback", "operator"] | None = None  # who told of its tasks, where no reply did
    upstream: UpstreamAnswer | None = None  # what the provider's answer to the submit said beside its meaning


class Kept(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A file that the gateway itself keeps, checked to be what it was asked for."""

    name: str  # in the artifact store
    bytes: int
    sha256: str  # hex
    content_type: str
    kept_until: datetime
    duration_seconds: float | None = None
    width: int | None = None
    height: int | None = None
    thumbnail: str | None = None  # its name in the artifact store
    thumbnail_type: str | None = None


class Output(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One of the results of a generation."""

    index: int
    status: Status = Status.QUEUED
    extra: bool = False  # beyond the number asked for: the provider made more
    late: bool = False  # its place was taken, or its generation at an end, when it came
    attempt_id: str | None = None
    artifact: Artifact | None = None  # of an open output: found, and on its way into the artifact store
    kept: Kept | None = None
    expires_at: datetime | None = None  # when the provider's link ends
    failure: Failed | None = None


class Generation(Struct, frozen=True, kw_only=True):
    """What a client asked for and reads back."""

    id: str
    key: str  # the API key that owns it
    kind: Literal["video", "image"]
    request: GenerationRequest
    plan: Plan
    status: Status
    created_at: datetime
    deadline_at: datetime
    outputs: tuple[Output, ...]
    attempts: tuple[Attempt, ...] = ()
    progress: float = 0.0
    provider: str | None = None
    provider_model: str | None = None
    failure: Failed | None = None
    completed_at: datetime | None = None
    fence: int = 0
    version: int = 1

    def attempt(self, attempt_id: str) -> Attempt:
        """The attempt of this id, which must be one of this generation."""
        return next(attempt for attempt in self.attempts if attempt.id == attempt_id)

    def route(self, attempt: Attempt) -> Route:
        """The route of one of its attempts."""
        return self.plan.routes[attempt.route]

    def output(self, index: int) -> Output:
        """The output at this index, which must exist."""
        return next(output for output in self.outputs if output.index == index)


def untold(attempt: Attempt) -> list[int]:
    """The slots whose tasks callbacks have yet to tell of: a first one proves that the whole submit was accepted."""
    if attempt.state is not AttemptState.ACCEPTED or attempt.adopted != "callback":
        return []
    told = {task.slot for task in attempt.tasks}
    return [slot for slot in attempt.slots if slot not in told]


def serves(attempt: Attempt) -> frozenset[int]:
    """The outputs that a live attempt is expected to fill: those of its tasks, or all until its tasks are known.

    A reply that names fewer tasks than outputs were asked for leaves the others to the next route.
    """
    match attempt.state:
        case AttemptState.RESERVED | AttemptState.SUBMITTING:
            return frozenset(attempt.slots)
        case AttemptState.ACCEPTED:
            return frozenset({*(task.slot for task in attempt.tasks), *untold(attempt)})
        case _:
            return frozenset()
