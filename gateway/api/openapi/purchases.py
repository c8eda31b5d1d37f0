"""The operation on purchases in the OpenAPI document."""

from gateway.api.openapi.operation import PAGE, Operation
from gateway.api.purchases import AdminPurchaseList

OPERATIONS = (
    Operation(
        method="get",
        path="/v1/admin/purchases",
        id="listPurchases",
        summary="List the attempts of deleted generations that may have been billed, of all keys; needs an admin key",
        query={
            "generation": {"type": "string", "description": "the id of one deleted generation"},
            "limit": PAGE["limit"],
            "after": PAGE["after"],
        },
        answer=AdminPurchaseList,
        errors=(400, 503),
    ),
)
