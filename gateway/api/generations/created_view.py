"""The answer to a create at `POST /v1/videos/generations`, which clients of xAI and of FoxAPI call as well.

Nothing in a body tells whose client sent it, so one answer serves all: ours, with the fields beside it by which those
clients read what they have started.
"""

from typing import Literal

from msgspec import Struct
from msgspec.structs import asdict

from gateway.api.generations.public_ids import XAI, public_id
from gateway.api.generations.views import GenerationView, generation_view
from gateway.api.web.links import Links
from gateway.api.web.moments import unix
from gateway.domain.generation.model import Generation
from gateway.domain.health.route_health import HealthOf, unknown_health


class TaskInfo(Struct, frozen=True):
    """What clients of FoxAPI look for before they read a task."""

    can_cancel: bool  # by `POST /v1/videos/generations/{id}/cancel`
    estimated_time: int  # seconds that such a generation takes as a rule, as measured at its route; else a guess


class CreatedView(GenerationView, frozen=True, kw_only=True):
    """A generation that was just created, or that the request repeats."""

    request_id: str  # for clients of xAI: `GET /v1/videos/{request_id}` answers in xAI's words
    created: int  # the same as `created_at`, for clients of FoxAPI: `GET /v1/tasks/{id}` answers in its words
    type: Literal["video", "image"]  # for clients of FoxAPI: the kind of the files
    task_info: TaskInfo  # for clients of FoxAPI


def created_view(
    generation: Generation, links: Links, usual_seconds: int, health: HealthOf = unknown_health
) -> CreatedView:
    """The public object, with what clients of other APIs look for in the answer to a create.

    `usual_seconds` is the time that such a generation takes as a rule.
    """
    view = generation_view(generation, links, health)
    return CreatedView(
        **asdict(view),
        request_id=public_id(XAI, generation.id),
        created=unix(generation.created_at),
        type=generation.kind,
        task_info=TaskInfo(can_cancel=not generation.status.terminal, estimated_time=usual_seconds),
    )
