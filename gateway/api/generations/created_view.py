"""The answer to a create at `POST /v1/videos/generations`, which clients of xAI and of FoxAPI call as well.

Nothing in a body tells whose client sent it, so one answer serves all: ours, with the fields beside it by which those
clients read what they have started.
"""

from typing import Literal

from msgspec.structs import asdict

from gateway.api.generations.public_ids import XAI, public_id
from gateway.api.generations.views import GenerationView, generation_view
from gateway.api.web.answers import unix
from gateway.api.web.links import Links
from gateway.domain.generation.model import Generation
from gateway.domain.health.route_health import HealthOf, unknown_health


class CreatedView(GenerationView, frozen=True, kw_only=True):
    """A generation that was just created, or that the request repeats."""

    request_id: str  # for clients of xAI: `GET /v1/videos/{request_id}` answers in xAI's words
    created: int  # the same as `created_at`, for clients of FoxAPI: `GET /v1/tasks/{id}` answers in its words
    type: Literal["video", "image"]  # for clients of FoxAPI: the kind of the files
    task_info: dict[str, bool]  # for clients of FoxAPI: `can_cancel` says whether the generation can be cancelled


def created_view(generation: Generation, links: Links, health: HealthOf = unknown_health) -> CreatedView:
    """The public object, with what clients of other APIs look for in the answer to a create."""
    view = generation_view(generation, links, health)
    return CreatedView(
        **asdict(view),
        request_id=public_id(XAI, generation.id),
        created=unix(generation.created_at),
        type=generation.kind,
        task_info={"can_cancel": not generation.status.terminal},
    )
