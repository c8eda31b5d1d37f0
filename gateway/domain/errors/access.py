"""The caller is not recognised, or may not do this."""

from gateway.domain.errors.base import GatewayError


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


class ApiKeyRevoked(Unauthenticated):
    """The key was made at run time, and an operator has revoked it."""

    code, title = "api_key_revoked", "The API key was revoked."
    remedy = "Ask the operator for another key."


class ApiKeyExpired(Unauthenticated):
    """The key was made with an end, which has passed."""

    code, title = "api_key_expired", "The API key has ended."
    remedy = "Ask the operator for another key."


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
