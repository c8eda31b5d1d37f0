"""A yardstick: what Litestar costs with one typed handler for `POST` and one for `GET`, on the gateway's server."""

from litestar import Litestar, get, post
from msgspec import Struct


class Body(Struct, forbid_unknown_fields=True):
    """The typed body."""

    model: str
    prompt: str
    duration: int | None = None
    resolution: str | None = None


class Answer(Struct):
    """The typed answer."""

    id: str
    status: str
    model: str


@post("/v1/videos/generations", status_code=200)
async def create(data: Body) -> Answer:
    """Litestar's own way from a JSON body to a JSON answer."""
    return Answer("gen_1", "queued", data.model)


@get("/v1/videos/generations/{name:str}")
async def read(name: str) -> Answer:
    """Litestar's own way from a path to a JSON answer."""
    return Answer(name, "queued", "kling")


@get("/health/live")
async def live() -> dict[str, str]:
    """Answer at once."""
    return {}


app = Litestar([create, read, live], openapi_config=None, logging_config=None)
