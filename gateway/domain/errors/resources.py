"""What the request names does not exist, or its state does not allow this."""

from gateway.domain.errors.base import GatewayError


class NotFound(GatewayError):
    """The resource does not exist, or belongs to another API key: the answer is the same for both."""

    code, status, type, title = "not_found", 404, "invalid_request_error", "The resource does not exist."
    remedy = "Check the path and the id."


class ModelNotFound(NotFound):
    """No model with this name is configured."""

    code, title = "model_not_found", "The model does not exist."
    remedy = "`GET /v1/models` lists the names."


class Conflict(GatewayError):
    """The state of the resource does not allow the operation, for example the deletion of an open generation."""

    code, status, type = "conflict", 409, "invalid_request_error"
    title = "The state of the resource does not allow this now."
    remedy = "Wait, or cancel it first."


class IdempotencyKeyInUse(Conflict):
    """The first request with this idempotency key is still being handled: repeat it later to get its answer."""

    code, title = "idempotency_key_in_use", "A request with this idempotency key is still being handled."
    remedy = "Send the same request again later."


class FileInUse(Conflict):
    """The file cannot be deleted, because a generation that has not ended still needs it."""

    code, title = "file_in_use", "A generation still uses the file."
    remedy = "Delete it after the generation has ended."


class GenerationDeleted(Conflict):
    """The repeated request had made a generation that was deleted since. To make it again would be paid again."""

    code, title = "generation_deleted", "The generation that this request made was deleted."
    remedy = "Use a new key, if you want to buy it again."


class ArtifactExpired(GatewayError):
    """The result was archived for a limited time, which is over."""

    code, status, type, title = "artifact_expired", 410, "invalid_request_error", "The file has expired."
    remedy = "Make it again."


class ArtifactMissing(GatewayError):
    """The result should be in the artifact store but is not there: it was removed from outside."""

    code, status, type, title = "artifact_missing", 410, "api_error", "The file is lost."
    remedy = "Tell the operator."


class IdempotencyKeyReused(GatewayError):
    """The idempotency key was used with another body, so the client has mixed up two requests."""

    code, status, type = "idempotency_key_reused", 422, "invalid_request_error"
    title = "The idempotency key was used with another body."
    remedy = "Use one key for one request."
