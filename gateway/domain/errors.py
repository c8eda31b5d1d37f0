"""The errors that a client or an operator can meet. `api/web/errors.py` is the only place that renders them.

    GatewayError                    500 internal
    ├── BadRequest                  400 bad_request
    │   ├── InvalidJson             400 invalid_json
    │   ├── InvalidParameter        400 invalid_parameter
    │   ├── UnknownParameter        400 unknown_parameter
    │   ├── InvalidImage            400 invalid_image
    │   ├── InvalidForm             400 invalid_form
    │   ├── FileLimitReached        400 file_limit_reached
    │   └── RequestTimeout          408 request_timeout
    ├── Unauthenticated             401 invalid_api_key
    │   ├── InvalidJwt              401 invalid_jwt
    │   ├── JwtNotYetValid          401 jwt_not_yet_valid
    │   └── JwtExpired              401 jwt_expired
    ├── InvalidToken                401 invalid_token
    ├── ForbiddenHost               403 forbidden_host
    ├── ForbiddenOrigin             403 forbidden_origin
    ├── ForbiddenProxy              403 forbidden_proxy
    ├── NotFound                    404 not_found
    │   └── ModelNotFound           404 model_not_found
    ├── MethodNotAllowed            405 method_not_allowed
    ├── Conflict                    409 conflict
    │   ├── IdempotencyKeyInUse     409 idempotency_key_in_use
    │   ├── FileInUse               409 file_in_use
    │   └── GenerationDeleted       409 generation_deleted
    ├── ArtifactExpired             410 artifact_expired
    ├── ArtifactMissing             410 artifact_missing
    ├── PreconditionFailed          412 precondition_failed
    ├── BodyTooLarge                413 body_too_large
    ├── UnsupportedMediaType        415 unsupported_media_type
    ├── RangeNotSatisfiable         416 range_not_satisfiable
    ├── UnsupportedParameter        422 unsupported_parameter
    ├── IdempotencyKeyReused        422 idempotency_key_reused
    ├── ProviderUnavailable         502 provider_unavailable
    ├── ReceiverNotReached          502 receiver_not_reached
    ├── Overloaded                  503 overloaded
    ├── ShuttingDown                503 shutting_down
    ├── StoreUnavailable            503 store_unavailable
    ├── SearchTooLong               503 search_too_long
    ├── UsageNotReady               503 usage_not_ready
    ├── ImageNotReadable            502 image_not_readable
    ├── StillRunning                504 still_running
    └── InsufficientStorage         507 insufficient_storage
    ConfigurationError              the gateway does not start
    UnreadableReply                 internal: a provider's reply could not be understood

Errors that only one module raises are defined there: `AdminRequired` (403 admin_required) in `api/web/auth.py`,
`BudgetExceeded` (402 budget_exceeded) in `domain/money/budgets.py`,
`DamagedImage` (as InvalidImage) in `media/image_structure.py`, and `GenerationFailed` (the code of the failure) in
`api/images/blocking.py`.

A `title` is sent when the code that raises the error says nothing more exact. Codes are stable: programs read them.
"""

from collections.abc import Mapping
from typing import ClassVar


class GatewayError(Exception):
    """The gateway has a defect: an error that no other class describes. It is the root of all errors of clients."""

    code: str = "internal"  # stable: programs read it
    status: int = 500
    type: str = "api_error"  # the class of the error in OpenAI's vocabulary
    title: ClassVar[str] = "The gateway failed."
    remedy: ClassVar[str] = "Report it with the `request_id`."  # what a client can do about it; the pages show it

    def __init__(self, detail: str = "", *, param: str | None = None, retry_after: float | None = None) -> None:
        """`detail` is the message for this case, `param` the parameter at fault, `retry_after` is in seconds."""
        super().__init__(detail or self.title)
        self.detail = detail or self.title
        self.param = param
        self.retry_after = retry_after
        self.headers: Mapping[str, str] = {}  # additional headers of the answer
        self.members: Mapping[str, object] = {}  # additional members of the error object in the answer


class BadRequest(GatewayError):
    """The request cannot be understood, for a reason that no other code names."""

    code, status, type, title = "bad_request", 400, "invalid_request_error", "The request is not valid."
    remedy = "Correct the request."


class InvalidJson(BadRequest):
    """The body is not JSON, is not a JSON object, or is over one of the limits of bodies."""

    code, title = "invalid_json", "The body is not valid JSON."
    remedy = "Correct the body."


class InvalidParameter(BadRequest):
    """A parameter has the wrong type, or a value that no model accepts."""

    code, title = "invalid_parameter", "A parameter is not valid."
    remedy = "Correct the parameter that `param` names."


class UnknownParameter(BadRequest):
    """The request has a field that the API does not know. It is refused, because to ignore it would surprise."""

    code, title = "unknown_parameter", "The request has an unknown parameter."
    remedy = "Remove it, or use the name that the message suggests."


class InvalidImage(BadRequest):
    """An input image is not an image, is damaged, or is not within the limits of the gateway."""

    code, title = "invalid_image", "The image cannot be used."
    remedy = "Send another image."


class InvalidForm(BadRequest):
    """The body is declared as `multipart/form-data` and cannot be read as such."""

    code, title = "invalid_form", "The body is not a valid form."
    remedy = "Correct the form."


class FileLimitReached(BadRequest):
    """The API key has as many files, or as many bytes in files, as it may have."""

    code, title = "file_limit_reached", "The API key cannot have another file."
    remedy = "Delete files."


class Unauthenticated(GatewayError):
    """The request has no API key, or one that is not configured."""

    code, status, type, title = "invalid_api_key", 401, "authentication_error", "The API key is missing or not known."
    remedy = "Send `Authorization: Bearer KEY` with a configured key."


class InvalidJwt(Unauthenticated):
    """The key is a JWT that no configured pair of Kling keys has signed, or that lacks a claim."""

    code, title = "invalid_jwt", "The JWT in `Authorization` is not valid."
    remedy = "Sign it with HS256 and the secret key of a configured pair; set `iss` and `exp`."


class JwtNotYetValid(Unauthenticated):
    """The JWT is signed well, and its `nbf` is in the future: the clock of the client is ahead."""

    code, title = "jwt_not_yet_valid", "The JWT in `Authorization` is not valid yet."
    remedy = "Check the clock of the client."


class JwtExpired(Unauthenticated):
    """The JWT is signed well, and its `exp` has passed: the client has to sign a new one."""

    code, title = "jwt_expired", "The JWT in `Authorization` has expired."
    remedy = "Sign a new one. If it has just been signed, check the clock of the client."


class InvalidToken(GatewayError):
    """The token in the URL was not signed for this use or has expired, and no API key was sent instead."""

    code, status, type, title = "invalid_token", 401, "authentication_error", "The token is not valid."
    remedy = "Read the generation again: `data[].url` has a new one."


class ForbiddenHost(GatewayError):
    """A gateway without API keys was called by a host name that is not a loopback name.

    Otherwise a web page could use the gateway through the visitor's browser (DNS rebinding).
    """

    code, status, type = "forbidden_host", 403, "invalid_request_error"
    title = "Without API keys the gateway answers only to a loopback name, such as localhost."
    remedy = "Configure `server.api_keys`."


class ForbiddenOrigin(GatewayError):
    """A web page of another origin wanted to change something at a gateway without API keys.

    Every page that a user of the machine opens could buy there without the user's knowledge.
    """

    code, status, type = "forbidden_origin", 403, "invalid_request_error"
    title = "Without API keys a web page of another origin may change nothing."
    remedy = "Configure `server.api_keys`, and name the page's origin in `server.cors_origins`."


class ForbiddenProxy(GatewayError):
    """A gateway without API keys was called through a proxy, which lets in callers from other machines."""

    code, status, type = "forbidden_proxy", 403, "invalid_request_error"
    title = "Without API keys the gateway answers no request that came through a proxy."
    remedy = "Configure `server.api_keys`, or call the gateway without the proxy."


class NotFound(GatewayError):
    """The resource does not exist, or belongs to another API key: the answer is the same for both."""

    code, status, type, title = "not_found", 404, "invalid_request_error", "The resource does not exist."
    remedy = "Check the path and the id."


class ModelNotFound(NotFound):
    """No model with this name is configured."""

    code, title = "model_not_found", "The model does not exist."
    remedy = "`GET /v1/models` lists the names."


class MethodNotAllowed(GatewayError):
    """The path exists, but not for this HTTP method."""

    code, status, type, title = (
        "method_not_allowed",
        405,
        "invalid_request_error",
        "The path does not have this HTTP method.",
    )
    remedy = "Use a method that `Allow` names."


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


class PreconditionFailed(GatewayError):
    """The file has changed since the client read it, so the precondition that it sent does not hold."""

    code, status, type = "precondition_failed", 412, "invalid_request_error"
    title = "The file does not match If-Match or If-Unmodified-Since."
    remedy = "Read it from the beginning."


class RangeNotSatisfiable(GatewayError):
    """The file has none of the bytes that the `Range` header asks for."""

    code, status, type = "range_not_satisfiable", 416, "invalid_request_error"
    title = "The file has none of the requested bytes."
    remedy = "`Content-Range` has the size of the file."

    def __init__(self, detail: str = "", *, param: str | None = "Range", size: int = 0) -> None:
        """`size` is the size of the file in bytes, which the client needs for a correct range."""
        super().__init__(detail, param=param)
        self.headers = {"Content-Range": f"bytes */{size}"}


class BodyTooLarge(GatewayError):
    """The body of the request has more bytes than the limit allows."""

    code, status, type, title = "body_too_large", 413, "invalid_request_error", "The body is too large."
    remedy = "Send a URL or an uploaded file instead of the bytes."


class UnsupportedMediaType(GatewayError):
    """The `Content-Type`, charset or `Content-Encoding` of the body is not one that the operation takes."""

    code, status, type = "unsupported_media_type", 415, "invalid_request_error"
    title = "The body's media type is not supported."
    remedy = "Send JSON or a form, uncompressed."


class UnsupportedParameter(GatewayError):
    """The parameters are valid, but no route of the model can honour all of them."""

    code, status, type = "unsupported_parameter", 422, "invalid_request_error"
    title = "The model does not support this request."
    remedy = "`error.routes` has the reasons of each route; `'adapt': 'nearest'` may help."


class IdempotencyKeyReused(GatewayError):
    """The idempotency key was used with another body, so the client has mixed up two requests."""

    code, status, type = "idempotency_key_reused", 422, "invalid_request_error"
    title = "The idempotency key was used with another body."
    remedy = "Use one key for one request."


class RequestTimeout(BadRequest):
    """The client sent the body of its request too slowly, or stopped sending."""

    code, status, title = "request_timeout", 408, "The body did not arrive in time."
    remedy = "Send the request again."


class Overloaded(GatewayError):
    """A limit of the gateway is reached. The client can send the request again later (`Retry-After`)."""

    code, status, type, title = "overloaded", 503, "api_error", "The gateway is at its limit; send the request later."
    remedy = "Send the request again after `Retry-After`."


class ShuttingDown(GatewayError):
    """The process is stopping and takes no new work."""

    code, status, type, title = "shutting_down", 503, "api_error", "The gateway is stopping; send the request again."
    remedy = "Send the request again after `Retry-After`."


class InsufficientStorage(GatewayError):
    """The disk is nearly full. What is left is for the ledger and for the results of work that was paid for."""

    code, status, type, title = "insufficient_storage", 507, "api_error", "The gateway has no room for input images."
    remedy = "Send the image as a URL, or send the request again when the operator has made room."


class StoreUnavailable(GatewayError):
    """The ledger or a file store cannot be read or written now."""

    code, status, type, title = "store_unavailable", 503, "api_error", "The store is not available."
    remedy = "Send the request again; the operator finds the remedy at `/health/ready`."

    def __init__(
        self,
        detail: str = "",
        *,
        param: str | None = None,
        retry_after: float | None = None,
        reason: str | None = None,
    ) -> None:
        """`reason` is for the operator only: the configuration key, what is wrong with the store, and the remedy."""
        super().__init__(detail, param=param, retry_after=retry_after)
        self.reason = reason


class SearchTooLong(GatewayError):
    """A list with several filters, or a page far behind, could not be read within the bounds for one request."""

    code, status, type, title = "search_too_long", 503, "api_error", "The search takes too long."
    remedy = "Send the cursor that the message names, or narrow the search: a shorter time, fewer filters."


class UsageNotReady(GatewayError):
    """After an update, the generations of before are still being counted: sums would lack a part of them."""

    code, status, type, title = "usage_not_ready", 503, "api_error", "The usage is still being counted."
    remedy = "Send the request again after `Retry-After`. Until then the lists of generations have their costs."


class ProviderUnavailable(GatewayError):
    """The provider did not hand over the file of a result that only it has."""

    code, status, type, title = "provider_unavailable", 502, "api_error", "The provider did not answer."
    remedy = "Try again later."


class ReceiverNotReached(GatewayError):
    """A test of a webhook endpoint got no answer from the receiver."""

    code, status, type, title = "receiver_not_reached", 502, "api_error", "The receiver of the webhook did not answer."
    remedy = "Read the message; correct the `url` of the endpoint or the receiver, and test again."


class ImageNotReadable(GatewayError):
    """A call asked for the bytes of an image in its answer, and the provider did not give the file that only it has."""

    code, status, type, title = "image_not_readable", 502, "api_error", "The file of an image could not be fetched."
    remedy = "Read the generation: it has the `url`."


class StillRunning(GatewayError):
    """A call that waits for its result has waited as long as it may. The generation goes on."""

    code, status, type, title = "still_running", 504, "api_error", "The generation has not ended yet."
    remedy = "Read `error.generation_id`, or send the same call with its key to wait again."


class ConfigurationError(Exception):
    """Settings are missing or wrong, so the gateway does not start. Each argument begins with the path of a key."""

    def __str__(self) -> str:
        return "\n".join(self.args)


class UnreadableReply(Exception):
    """A provider's reply cannot be understood. It proves nothing about the task that it is about."""
