"""What the OpenAPI document tells of the models."""

from gateway.api.model_views import ModelList, ModelView
from gateway.api.openapi.operation import Operation

OPERATIONS = (
    Operation(
        method="get", path="/v1/models", id="listModels", summary="List the models", answer=ModelList, errors=(400,)
    ),
    Operation(
        method="get",
        path="/v1/models/{name}",
        id="readModel",
        summary="Read a model, by any of its names; a name may contain a slash",
        answer=ModelView,
        errors=(400, 404),
    ),
)
