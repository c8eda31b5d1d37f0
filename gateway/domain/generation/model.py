"""A generation, its outputs and its attempts, as they are stored in the ledger.

Field names are encoded: they are part of the stored JSON, and the fields of `GenerationRequest` are also part of the
idempotency digest. Renaming one would make stored generations unreadable.
"""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

from msgspec import Struct, field

from gateway.domain.adapter.failure import Billed
from gateway.domain.adapter.request import Input, Kind, Settings
from gateway.domain.adapter.task import Artifact, Failed, Status, TaskRef
from gateway.domain.adapter.upstream_answer import UpstreamAnswer
from gateway.domain.trace_context import TraceContext

WebhookFormat = Literal["keevx", "kling", "openrouter", "foxapi"]  # the APIs whose callbacks the gateway can send


class GenerationRequest(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """What the client asked for, normalised: two requests with equal values ask for the same thing."""

    model: str
    input: Input
    kind: Kind = "video"
    prompt: str = ""
    settings: Settings = Settings()
    size: str | None = None  # of an image: WIDTHxHEIGHT as it was asked for; `settings` have what a model can be asked
    plain_quality: str | None = None  # of an image: OpenAI's word beside a size, such as `high`
    count: int = 1
    provider_options: Mapping[str, Mapping[str, Any]] = {}
    adapt: Literal["none", "nearest"] | None = None  # None: the model's configuration decides
    fallback: bool | tuple[str, ...] = True  # False: the first route only; names: the models to fall back to
    deadline_seconds: int = 3600
    max_cost: float | None = None  # USD
    webhook_url: str | None = None
    webhook_format: WebhookFormat | None = None  # in whose words `webhook_url` is called; None: in the gateway's own
    metadata: Mapping[str, str] = {}
    user: str | None = None


class Adaptation(Struct, frozen=True, kw_only=True, gc=False):
    """A value that a route changed to the nearest one that it supports. The client allowed that with `adapt`."""

    param: str  # the public name of the parameter
    asked: Any  # the client's value
    given: Any  # the value that is sent; None: the parameter is left out


class Route(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One provider and one of its models that can serve the request."""

    provider: str
    model: str  # the provider's own name
    capability_name: str = field(name="row")  # the entry of the adapter's capability table that the model follows
    settings: Settings = Settings()  # as they will be sent: requested, adapted, or required by the model
    count_max: int = 1  # outputs that one submit may ask for
    adaptations: tuple[Adaptation, ...] = ()
    attempt_timeout_seconds: float | None = None  # replaces that of the provider
    cost_usd: float | None = None  # of one output, by the prices in the configuration; None: it has no price
    # The account that represents all accounts at the same service, an adapter at one base URL. "": this provider.
    service: str = ""
    failure_usd: float | None = None  # of an output whose task failed; None: perhaps the full price
    refusal_usd: float = 0.0  # of an output whose submit was refused for its content or its parameters


class Policy(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """What the model's configuration decides about failures that have no single right answer."""

    on_ambiguous: Literal["fall_back", "fail", "hold"] = "fall_back"
    on_content_policy: Literal["stop", "fall_back"] = "stop"


class Plan(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The routes of a generation in their order. It is made once, at the create: later settings do not change it."""

    routes: tuple[Route, ...]
    policy: Policy = Policy()


class AttemptState(StrEnum):
    """How far an attempt is. `ATTEMPT_MOVES` in `transitions.py` has the legal transitions."""

    RESERVED = "reserved"  # nothing was sent; inputs may be uploaded, also repeatedly
    SUBMITTING = "submitting"  # entered once; the submit may be on its way
    ACCEPTED = "accepted"  # the provider has a task
    NOT_SENT = "not_sent"  # it is certain that nothing reached the provider
    REFUSED = "refused"  # the provider refused clearly, so it has no task
    UNKNOWN = "unknown"  # it was sent without a clear answer: a task may exist and may be billed
    COMPLETED = "completed"
    FAILED = "failed"
    ABANDONED = "abandoned"  # no longer waited for, while a task may still run and may be billed


class Task(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One task of an attempt, as it was when it was last polled."""

    ref: TaskRef
    slot: int  # the index of the output it fills
    status: Status = Status.QUEUED
    raw_status: str = ""
    progress: float | None = None
    failure: Failed | None = None
    cancel_sent: bool = False  # the provider was asked to cancel it; that is done at most once
    billed: Billed | None = None  # what its answer to that proved about the charge; None: nothing
    # Graces. They are stored, so that they go on where another process, or the next one, goes on with the generation.
    not_found: int = 0  # replies that said that the task does not exist, as far as they are counted
    not_found_since: datetime | None = None
    missing: int = 0  # fetches that found no sound file of the completed task, as far as they are counted
    missing_since: datetime | None = None  # since when there is no file, or it is not named, although the task is done


class Attempt(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One submit to one route, for one or more outputs."""

    id: str
    number: int  # from 1, within the generation
    route: int  # index into `Plan.routes`
    slots: tuple[int, ...]  # indices of the outputs it was made for
    state: AttemptState
    reserved_at: datetime
    variant: str = field(default="", name="form")  # which variant of the submit is used, if the adapter has several
    sent_at: datetime | None = None
    accepted_at: datetime | None = None
    ended_at: datetime | None = None
    tasks: tuple[Task, ...] = ()
    failure: Failed | None = None
    billed: Billed | None = None
    retry_after_seconds: float | None = None  # the wait that the provider asked for
    # The attempt was refused because of the variant of its submit: it may be sent once more in this one.
    next_variant: str | None = field(default=None, name="amend_form")
    # An operator's decision about an unclear answer; `release`: what a restored ledger held is sent again.
    decision: Literal["fail", "resubmit", "release"] | None = None
    adopted: Literal["callback", "operator"] | None = None  # who named its tasks, if no reply to the submit did
    upstream: UpstreamAnswer | None = None  # facts from the answer to the submit that the provider's support needs


class ArchivedFile(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The gateway's own copy of a result, which was checked to be a file of the right kind."""

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


class Output(Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One of the results of a generation."""

    index: int
    status: Status = Status.QUEUED
    extra: bool = False  # beyond the number asked for: the provider made more
    late: bool = False  # it arrived after another result had filled its output, or after the generation had ended
    attempt_id: str | None = None
    artifact: Artifact | None = None  # the file at the provider; while the output is open, it is being archived
    kept: ArchivedFile | None = None
    expires_at: datetime | None = None  # when the provider's link ends
    failure: Failed | None = None


class Generation(Struct, frozen=True, kw_only=True, gc=False):
    """One request of a client with its plan, its attempts and its outputs."""

    id: str
    owner: str  # the API key that owns it
    kind: Kind  # that of the request, in a column of its own: lists select by it
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
    # When an older ledger was restored in which it was open. Nothing is bought until an operator releases it.
    restored_at: datetime | None = None
    trace: TraceContext | None = None  # the client's span that created it, from the request

    def attempt(self, attempt_id: str) -> Attempt:
        """The attempt with this id, which must be one of this generation's."""
        return next(attempt for attempt in self.attempts if attempt.id == attempt_id)

    def route(self, attempt: Attempt) -> Route:
        """The route of one of this generation's attempts."""
        return self.plan.routes[attempt.route]

    def output(self, index: int) -> Output:
        """The output with this index, which must exist."""
        return next(output for output in self.outputs if output.index == index)


def unnamed_slots(attempt: Attempt) -> list[int]:
    """The slots whose task ids are still missing, because callbacks name the tasks of this attempt one by one.

    The first callback proves that the provider accepted the whole submit, so the other tasks exist as well.
    """
    if attempt.state is not AttemptState.ACCEPTED or attempt.adopted != "callback":
        return []
    named = {task.slot for task in attempt.tasks}
    return [slot for slot in attempt.slots if slot not in named]


def expected_outputs(attempt: Attempt) -> frozenset[int]:
    """The outputs that an attempt is expected to fill: those of its tasks, or all of its outputs before a reply.

    If the reply names fewer tasks than outputs, the other outputs are tried on the next route.
    """
    match attempt.state:
        case AttemptState.RESERVED | AttemptState.SUBMITTING:
            return frozenset(attempt.slots)
        case AttemptState.ACCEPTED:
            return frozenset({*(task.slot for task in attempt.tasks), *unnamed_slots(attempt)})
        case _:
            return frozenset()
