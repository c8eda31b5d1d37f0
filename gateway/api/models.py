"""`/v1/models`: what can be asked for."""

from typing import Any

from litestar import Controller, Request, route
from litestar.datastructures import State
from litestar.response.base import ASGIResponse

from gateway.api.model_views import ModelList, model_view
from gateway.api.web.answers import GET, json_answer
from gateway.api.web.context import context_of
from gateway.api.web.query import Params


class ModelController(Controller):
    """OpenAI's list shape, each model with its routes and capabilities."""

    path = "/v1/models"

    @route(http_method=GET)
    async def page(self, request: Request[Any, Any, State]) -> ASGIResponse:
        """List every model."""
        context, _ = context_of(request)
        Params.of(request).done()
        return json_answer(
            ModelList(
                data=tuple(model_view(one, context.started_at, context.health) for one in context.catalog.listed())
            )
        )

    @route("/{name:path}", http_method=GET)
    async def read(self, request: Request[Any, Any, State]) -> ASGIResponse:
        """Read one, by any of its names."""
        context, _ = context_of(request)
        Params.of(request).done()
        name: str = request.path_params["name"]
        model = context.catalog.resolve(name.strip("/"))
        return json_answer(model_view(model, context.started_at, context.health))
