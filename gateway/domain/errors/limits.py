"""The client has reached one of its limits."""

from gateway.domain.errors.base import GatewayError
from gateway.domain.errors.requests import BadRequest


class FileLimitReached(BadRequest):
    """The API key has as many files, or as many bytes in files, as it may have."""

    code, title = "file_limit_reached", "The API key cannot have another file."
    remedy = "Delete files."


class RequestsPerMinuteReached(GatewayError):
    """The client has sent as many requests as it may send in a minute."""

    code, status, type, title = (
        "requests_per_minute_reached",
        429,
        "rate_limit_error",
        "The client sends too many requests.",
    )
    remedy = "Send the request again after `Retry-After`; the limit is `requests_per_minute` of the client."


class OpenGenerationsReached(GatewayError):
    """The client has as many open generations as it may have. A repeat of an earlier request is still answered."""

    code, status, type = "open_generations_reached", 429, "rate_limit_error"
    title = "The client has too many open generations."
    remedy = "Wait until one has ended, or cancel one; the limit is `open_generations` of the client."


class OutputsPerDayReached(GatewayError):
    """The client has created as many outputs as it may create on one day of UTC."""

    code, status, type = "outputs_per_day_reached", 429, "rate_limit_error"
    title = "The client has created too many outputs today."
    remedy = "Send the request again after `Retry-After`, the end of the day in UTC; the limit is `outputs_per_day`."
