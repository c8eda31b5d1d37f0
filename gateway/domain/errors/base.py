"""The form of all errors that a client can meet."""

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
