"""The errors that clients meet because of their keys and their limits."""

from gateway.domain.errors import GatewayError, Unauthenticated


class ApiKeyRevoked(Unauthenticated):
    """The key was made at run time, and an operator has revoked it."""

    code, title = "api_key_revoked", "The API key was revoked."
    remedy = "Ask the operator for another key."


class ApiKeyExpired(Unauthenticated):
    """The key was made with an end, which has passed."""

    code, title = "api_key_expired", "The API key has ended."
    remedy = "Ask the operator for another key."


class ScopeMissing(GatewayError):
    """The key is valid, and its scopes do not allow this request."""

    code, status, type, title = "scope_missing", 403, "permission_error", "The key does not have the scope."
    remedy = "Use a key that has the scope which the message names."


class AdminRequired(ScopeMissing):
    """The key belongs to a client, and the path is for operators."""

    code, title = "admin_required", "The path needs an admin key."
    remedy = "Send a key of `server.admin_keys`, or one with the scope `admin`."


class ModelNotAllowed(GatewayError):
    """The model exists, and the client may not use it."""

    code, status, type, title = "model_not_allowed", 403, "permission_error", "The client may not use this model."
    remedy = "Use a model that `GET /v1/models` lists, or ask the operator: `models` of the client."


class NotShown(GatewayError):
    """The request asks about something that the client may not see."""

    code, status, type, title = "not_shown", 403, "permission_error", "The client may not see this."
    remedy = "Leave the parameter out, or ask the operator: `sees` of the client."


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
