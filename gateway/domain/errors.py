"""The errors a client can meet: one hierarchy, rendered in one place (`api/web/errors.py`)."""

from collections.abc import Mapping
from typing import ClassVar


class GatewayError(Exception):
    """Root of every error a client can meet."""

    code: ClassVar[str] = "internal"  # stable, read by programs
    status: ClassVar[int] = 500
    type: ClassVar[str] = "api_error"  # OpenAI's word for the class of error
    title: ClassVar[str] = "The gateway failed."

    def __init__(self, detail: str = "", *, param: str | None = None, retry_after: float | None = None) -> None:
        """`detail` tells of this occurrence; `retry_after` is in seconds."""
        super().__init__(detail or self.title)
        self.detail = detail or self.title
        self.param = param
        self.retry_after = retry_after
        self.headers: Mapping[str, str] = {}  # of the answer, besides those of every error
        self.members: Mapping[str, object] = {}  # of the error object in the answer, besides those of every error


class BadRequest(GatewayError):
    """The request cannot be read."""

    code, status, type, title = "bad_request", 400, "invalid_request_error", "The request is not valid."


class InvalidJson(BadRequest):
    """The body is not the JSON that the gateway takes."""

    code, title = "invalid_json", "The body is not valid JSON."


class InvalidParameter(BadRequest):
    """A parameter has the wrong type or a value that nothing accepts."""

    code, title = "invalid_parameter", "A parameter is not valid."


class UnknownParameter(BadRequest):
    """A field that the API does not have."""

    code, title = "unknown_parameter", "The request has an unknown parameter."


class InvalidImage(BadRequest):
    """An input image is not an image, or not one that can be used."""

    code, title = "invalid_image", "The image cannot be used."


class InvalidForm(BadRequest):
    """The body is declared as a form and cannot be read as one."""

    code, title = "invalid_form", "The body is not a valid form."


class FileLimitReached(BadRequest):
    """A key has as many files as it may have."""

    code, title = "file_limit_reached", "There is no room for another file."


class Unauthenticated(GatewayError):
    """No key, or one that the gateway does not know."""

    code, status, type, title = "invalid_api_key", 401, "authentication_error", "The API key is missing or not known."


class InvalidToken(GatewayError):
    """A token that was not signed for this, or has expired, and no key that would do."""

    code, status, type, title = "invalid_token", 401, "authentication_error", "The token is not valid."


class ForbiddenHost(GatewayError):
    """A gateway without keys was called by a name that is not this machine's own."""

    code, status, type = "forbidden_host", 403, "invalid_request_error"
    title = "Without API keys the gateway answers to a loopback name alone."


class NotFound(GatewayError):
    """The resource does not exist, or belongs to another key."""

    code, status, type, title = "not_found", 404, "invalid_request_error", "There is no such resource."


class ModelNotFound(NotFound):
    """No configured model has this name."""

    code, title = "model_not_found", "There is no such model."


class MethodNotAllowed(GatewayError):
    """The path exists; the method does not."""

    code, status, type, title = (
        "method_not_allowed",
        405,
        "invalid_request_error",
        "The path does not take this method.",
    )


class Conflict(GatewayError):
    """The resource is not in a state that allows this."""

    code, status, type, title = "conflict", 409, "invalid_request_error", "The resource does not allow this now."


class IdempotencyKeyInUse(Conflict):
    """The first request with this key is still being handled."""

    code, title = "idempotency_key_in_use", "A request with this idempotency key is still being handled."


class FileInUse(Conflict):
    """A generation that is not at its end still needs the file."""

    code, title = "file_in_use", "The file is in use."


class GenerationDeleted(Conflict):
    """The request was carried out before, and its generation deleted: to repeat it would pay for it again."""

    code, title = "generation_deleted", "The generation that this request made was deleted."


class ArtifactExpired(GatewayError):
    """The time that a result was to be kept for is over."""

    code, status, type, title = "artifact_expired", 410, "invalid_request_error", "The file is kept no longer."


class ArtifactMissing(GatewayError):
    """A result is not in the artifact store, though its time is not over."""

    code, status, type, title = "artifact_missing", 410, "api_error", "The file is lost."


class PreconditionFailed(GatewayError):
    """The file is not the one that the client means."""

    code, status, type, title = "precondition_failed", 412, "invalid_request_error", "The file is another one."


class RangeNotSatisfiable(GatewayError):
    """The file has none of the bytes asked for."""

    code, status, type = "range_not_satisfiable", 416, "invalid_request_error"
    title = "The file has none of the bytes asked for."

    def __init__(self, detail: str = "", *, param: str | None = "Range", size: int = 0) -> None:
        """`size` is the file's, in bytes."""
        super().__init__(detail, param=param)
        self.headers = {"Content-Range": f"bytes */{size}"}


class BodyTooLarge(GatewayError):
    """The body is over the limit."""

    code, status, type, title = "body_too_large", 413, "invalid_request_error", "The body is too large."


class UnsupportedMediaType(GatewayError):
    """The body is not declared as plain JSON."""

    code, status, type = "unsupported_media_type", 415, "invalid_request_error"
    title = "The body's media type is not supported."


class UnsupportedParameter(GatewayError):
    """No route of this model can honour the parameter."""

    code, status, type = "unsupported_parameter", 422, "invalid_request_error"
    title = "The model does not support what was asked for."


class IdempotencyKeyReused(GatewayError):
    """The same key came with another body."""

    code, status, type = "idempotency_key_reused", 422, "invalid_request_error"
    title = "The idempotency key was used with another body."


class RequestTimeout(BadRequest):
    """The client took too long over the body of its request."""

    code, status, title = "request_timeout", 408, "The body did not arrive in time."


class Overloaded(GatewayError):
    """A bound is reached: come back later."""

    code, status, type, title = "overloaded", 503, "api_error", "The gateway is at its limit."


class ShuttingDown(GatewayError):
    """The process is about to end and takes nothing new."""

    code, status, type, title = "shutting_down", 503, "api_error", "The gateway is stopping; send the request again."


class StoreUnavailable(GatewayError):
    """The store cannot be read or written now."""

    code, status, type, title = "store_unavailable", 503, "api_error", "The store is not available."

    def __init__(
        self,
        detail: str = "",
        *,
        param: str | None = None,
        retry_after: float | None = None,
        reason: str | None = None,
    ) -> None:
        """`reason` is for the operator: the key of the configuration, what is wrong with the store, the remedy."""
        super().__init__(detail, param=param, retry_after=retry_after)
        self.reason = reason


class ProviderUnavailable(GatewayError):
    """The provider did not hand over a result it holds."""

    code, status, type, title = "provider_unavailable", 502, "api_error", "The provider did not answer."


class ConfigurationError(Exception):
    """A setting is missing or wrong; the message starts with the path of the key. Stops the start."""


class UnreadableReply(Exception):
    """An upstream's reply cannot be understood. Says nothing about the task it was about."""
