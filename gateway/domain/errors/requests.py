"""The request is wrong by itself, for every client."""

from gateway.domain.errors.base import GatewayError


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


class RequestTimeout(BadRequest):
    """The client sent the body of its request too slowly, or stopped sending."""

    code, status, title = "request_timeout", 408, "The body did not arrive in time."
    remedy = "Send the request again."


class MethodNotAllowed(GatewayError):
    """The path exists, but not for this HTTP method."""

    code, status, type, title = (
        "method_not_allowed",
        405,
        "invalid_request_error",
        "The path does not have this HTTP method.",
    )
    remedy = "Use a method that `Allow` names."


class PreconditionFailed(GatewayError):
    """The file has changed since the client read it, so the precondition that it sent does not hold."""

    code, status, type = "precondition_failed", 412, "invalid_request_error"
    title = "The file does not match If-Match or If-Unmodified-Since."
    remedy = "Read it from the beginning."


class BodyTooLarge(GatewayError):
    """The body of the request has more bytes than the limit allows."""

    code, status, type, title = "body_too_large", 413, "invalid_request_error", "The body is too large."
    remedy = "Send a URL or an uploaded file instead of the bytes."


class UnsupportedMediaType(GatewayError):
    """The `Content-Type`, charset or `Content-Encoding` of the body is not one that the operation takes."""

    code, status, type = "unsupported_media_type", 415, "invalid_request_error"
    title = "The body's media type is not supported."
    remedy = "Send JSON or a form, uncompressed."


class RangeNotSatisfiable(GatewayError):
    """The file has none of the bytes that the `Range` header asks for."""

    code, status, type = "range_not_satisfiable", 416, "invalid_request_error"
    title = "The file has none of the requested bytes."
    remedy = "`Content-Range` has the size of the file."

    def __init__(self, detail: str = "", *, param: str | None = "Range", size: int = 0) -> None:
        """`size` is the size of the file in bytes, which the client needs for a correct range."""
        super().__init__(detail, param=param)
        self.headers = {"Content-Range": f"bytes */{size}"}


class UnsupportedParameter(GatewayError):
    """The parameters are valid, but no route of the model can honour all of them."""

    code, status, type = "unsupported_parameter", 422, "invalid_request_error"
    title = "The model does not support this request."
    remedy = "`error.routes` has the reasons of each route; `'adapt': 'nearest'` may help."
