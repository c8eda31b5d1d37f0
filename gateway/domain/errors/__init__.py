"""The errors that a client or an operator can meet. `api/web/errors.py` is the only place that renders them.

    GatewayError                        500 internal                     base.py
    ├── BadRequest                      400 bad_request                  requests.py
    │   ├── InvalidJson                 400 invalid_json
    │   ├── InvalidParameter            400 invalid_parameter
    │   ├── UnknownParameter            400 unknown_parameter
    │   ├── InvalidImage                400 invalid_image
    │   ├── InvalidForm                 400 invalid_form
    │   ├── FileLimitReached            400 file_limit_reached           limits.py
    │   └── RequestTimeout              408 request_timeout              requests.py
    ├── MethodNotAllowed                405 method_not_allowed
    ├── PreconditionFailed              412 precondition_failed
    ├── BodyTooLarge                    413 body_too_large
    ├── UnsupportedMediaType            415 unsupported_media_type
    ├── RangeNotSatisfiable             416 range_not_satisfiable
    ├── UnsupportedParameter            422 unsupported_parameter
    ├── Unauthenticated                 401 invalid_api_key              access.py
    │   ├── InvalidJwt                  401 invalid_jwt
    │   ├── JwtNotYetValid              401 jwt_not_yet_valid
    │   ├── JwtExpired                  401 jwt_expired
    │   ├── ApiKeyRevoked               401 api_key_revoked
    │   └── ApiKeyExpired               401 api_key_expired
    ├── InvalidToken                    401 invalid_token
    ├── ForbiddenHost                   403 forbidden_host
    ├── ForbiddenOrigin                 403 forbidden_origin
    ├── ForbiddenProxy                  403 forbidden_proxy
    ├── ScopeMissing                    403 scope_missing
    │   └── AdminRequired               403 admin_required
    ├── ModelNotAllowed                 403 model_not_allowed
    ├── NotShown                        403 not_shown
    ├── NotFound                        404 not_found                    resources.py
    │   └── ModelNotFound               404 model_not_found
    ├── Conflict                        409 conflict
    │   ├── IdempotencyKeyInUse         409 idempotency_key_in_use
    │   ├── FileInUse                   409 file_in_use
    │   └── GenerationDeleted           409 generation_deleted
    ├── ArtifactExpired                 410 artifact_expired
    ├── ArtifactMissing                 410 artifact_missing
    ├── IdempotencyKeyReused            422 idempotency_key_reused
    ├── RequestsPerMinuteReached        429 requests_per_minute_reached  limits.py
    ├── OpenGenerationsReached          429 open_generations_reached
    ├── OutputsPerDayReached            429 outputs_per_day_reached
    ├── ProviderUnavailable             502 provider_unavailable         service.py
    ├── ReceiverNotReached              502 receiver_not_reached
    ├── ImageNotReadable                502 image_not_readable
    ├── Overloaded                      503 overloaded
    ├── ShuttingDown                    503 shutting_down
    ├── StoreUnavailable                503 store_unavailable
    ├── SearchTooLong                   503 search_too_long
    ├── UsageNotReady                   503 usage_not_ready
    ├── StillRunning                    504 still_running
    └── InsufficientStorage             507 insufficient_storage
    ConfigurationError                  the gateway does not start       internal.py
    UnreadableReply                     a provider's reply could not be understood

Errors that only one module raises are defined there: `BudgetExceeded` (402 budget_exceeded) in
`domain/money/budgets.py`, `ConfigurationRefused` (422 configuration_refused) in `api/configuration.py`, `DamagedImage`
(as InvalidImage) in `media/image_structure.py`, and `GenerationFailed` (the code of the failure) in
`api/images/blocking.py`.

A `title` is sent when the code that raises the error says nothing more exact. Codes are stable: programs read them.
A module is named where it begins. Other packages import from this one, not from its modules.
"""

from gateway.domain.errors.access import (
    AdminRequired,
    ApiKeyExpired,
    ApiKeyRevoked,
    ForbiddenHost,
    ForbiddenOrigin,
    ForbiddenProxy,
    InvalidJwt,
    InvalidToken,
    JwtExpired,
    JwtNotYetValid,
    ModelNotAllowed,
    NotShown,
    ScopeMissing,
    Unauthenticated,
)
from gateway.domain.errors.base import GatewayError
from gateway.domain.errors.internal import ConfigurationError, UnreadableReply
from gateway.domain.errors.limits import (
    FileLimitReached,
    OpenGenerationsReached,
    OutputsPerDayReached,
    RequestsPerMinuteReached,
)
from gateway.domain.errors.requests import (
    BadRequest,
    BodyTooLarge,
    InvalidForm,
    InvalidImage,
    InvalidJson,
    InvalidParameter,
    MethodNotAllowed,
    PreconditionFailed,
    RangeNotSatisfiable,
    RequestTimeout,
    UnknownParameter,
    UnsupportedMediaType,
    UnsupportedParameter,
)
from gateway.domain.errors.resources import (
    ArtifactExpired,
    ArtifactMissing,
    Conflict,
    FileInUse,
    GenerationDeleted,
    IdempotencyKeyInUse,
    IdempotencyKeyReused,
    ModelNotFound,
    NotFound,
)
from gateway.domain.errors.service import (
    ImageNotReadable,
    InsufficientStorage,
    Overloaded,
    ProviderUnavailable,
    ReceiverNotReached,
    SearchTooLong,
    ShuttingDown,
    StillRunning,
    StoreUnavailable,
    UsageNotReady,
)

__all__ = [
    "AdminRequired",
    "ApiKeyExpired",
    "ApiKeyRevoked",
    "ArtifactExpired",
    "ArtifactMissing",
    "BadRequest",
    "BodyTooLarge",
    "ConfigurationError",
    "Conflict",
    "FileInUse",
    "FileLimitReached",
    "ForbiddenHost",
    "ForbiddenOrigin",
    "ForbiddenProxy",
    "GatewayError",
    "GenerationDeleted",
    "IdempotencyKeyInUse",
    "IdempotencyKeyReused",
    "ImageNotReadable",
    "InsufficientStorage",
    "InvalidForm",
    "InvalidImage",
    "InvalidJson",
    "InvalidJwt",
    "InvalidParameter",
    "InvalidToken",
    "JwtExpired",
    "JwtNotYetValid",
    "MethodNotAllowed",
    "ModelNotAllowed",
    "ModelNotFound",
    "NotFound",
    "NotShown",
    "OpenGenerationsReached",
    "OutputsPerDayReached",
    "Overloaded",
    "PreconditionFailed",
    "ProviderUnavailable",
    "RangeNotSatisfiable",
    "ReceiverNotReached",
    "RequestTimeout",
    "RequestsPerMinuteReached",
    "ScopeMissing",
    "SearchTooLong",
    "ShuttingDown",
    "StillRunning",
    "StoreUnavailable",
    "Unauthenticated",
    "UnknownParameter",
    "UnreadableReply",
    "UnsupportedMediaType",
    "UnsupportedParameter",
    "UsageNotReady",
]
