"""The gateway, its store or a service that it calls cannot do this now."""

from gateway.domain.errors.base import GatewayError


class ProviderUnavailable(GatewayError):
    """The provider did not hand over the file of a result that only it has."""

    code, status, type, title = "provider_unavailable", 502, "api_error", "The provider did not answer."
    remedy = "Try again later."


class ReceiverNotReached(GatewayError):
    """A test of a webhook endpoint got no answer from the receiver."""

    code, status, type, title = "receiver_not_reached", 502, "api_error", "The receiver of the webhook did not answer."
    remedy = "Read the message; correct the `url` of the endpoint or the receiver, and test again."


class Overloaded(GatewayError):
    """A limit of the gateway is reached. The client can send the request again later (`Retry-After`)."""

    code, status, type, title = "overloaded", 503, "api_error", "The gateway is at its limit; send the request later."
    remedy = "Send the request again after `Retry-After`."


class ShuttingDown(GatewayError):
    """The process is stopping and takes no new work."""

    code, status, type, title = "shutting_down", 503, "api_error", "The gateway is stopping; send the request again."
    remedy = "Send the request again after `Retry-After`."


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


class ImageNotReadable(GatewayError):
    """A call asked for the bytes of an image in its answer, and the provider did not give the file that only it has."""

    code, status, type, title = "image_not_readable", 502, "api_error", "The file of an image could not be fetched."
    remedy = "Read the generation: it has the `url`."


class StillRunning(GatewayError):
    """A call that waits for its result has waited as long as it may. The generation goes on."""

    code, status, type, title = "still_running", 504, "api_error", "The generation has not ended yet."
    remedy = "Read `error.generation_id`, or send the same call with its key to wait again."


class InsufficientStorage(GatewayError):
    """The disk is nearly full. What is left is for the ledger and for the results of work that was paid for."""

    code, status, type, title = "insufficient_storage", 507, "api_error", "The gateway has no room for input images."
    remedy = "Send the image as a URL, or send the request again when the operator has made room."
