"""`/v1/models`: what clients can ask for, in OpenAI's list shape, with the routes and capabilities of each model."""

from typing import Any

from litestar import Controller, Request, route
from litestar.datastructures import State
from litestar.response.base import ASGIResponse

from gateway.api.models.views import ModelList, ModelView, model_view, seen
from gateway.api.web.answers import GET, json_answer
from gateway.api.web.context import context_of
from gateway.api.web.operation import Operation
from gateway.api.web.query import Params, path_id

Call = Request[Any, Any, State]


class ModelController(Controller):
    """Handlers of `/v1/models`."""

    path = "/v1/models"

    @route(
        http_method=GET,
        operation=Operation(id="listModels", summary="List the models", answer=ModelList, errors=(400,)),
    )
    async def page(self, request: Call) -> ASGIResponse:
        """List every model."""
        context, key = await context_of(request)
        Params.of(request).done()
        limits = context.clients.limits_of(key)
        models = (
            seen(model_view(model, context.started_at, context.health), limits.sees)
            for model in context.catalog.listed(limits.models)
        )
        return json_answer(ModelList(data=tuple(models)))

    @route(
        "/{name:path}",
        http_method=GET,
        operation=Operation(
            id="readModel",
            summary="Read a model by any of its names; a name may contain a slash",
            answer=ModelView,
            errors=(400, 404),
        ),
    )
    async def read(self, request: Call) -> ASGIResponse:
        """Read one model by any of its names."""
        context, key = await context_of(request)
        Params.of(request).done()
        limits = context.clients.limits_of(key)
        model = context.catalog.resolve(path_id(request, "name").strip("/"), allowed=limits.models)
        return json_answer(seen(model_view(model, context.started_at, context.health), limits.sees))
