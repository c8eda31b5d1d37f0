"""The contract of a provider's adapter: one value made of tables and pure functions.

An adapter has no I/O, no clock, no randomness, no environment and no logging. It translates, and it names the kind of a
failure; what to do about a failure is decided by the gateway. A provider module imports this package and
`gateway.domain.errors`, and nothing else of the gateway.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from functools import cached_property
from typing import Any
from urllib.parse import urlencode

import msgspec
from msgspec import Struct

from gateway.domain.adapter import multipart
from gateway.domain.adapter.failure import Billed
from gateway.domain.adapter.loose_json import json_value
from gateway.domain.adapter.options import Option
from gateway.domain.adapter.request import InputKind, Kind, UpstreamRequest
from gateway.domain.adapter.task import Failed, TaskRef, TaskSnapshot


class FilePart(Struct, frozen=True, kw_only=True):
    """The file of a multipart call."""

    field: str  # the name of the form field
    filename: str
    content_type: str  # such as "image/png"
    content: bytes


class HttpCall(Struct, frozen=True, kw_only=True, dict=True):
    """A call to a provider, as a value. At most one of `json` and `file` is set.

    `target`, `body` and `content_type` are exactly what is sent, for `authorize` functions that sign a call.
    """

    method: str
    path: str  # after the base URL, begins with "/"; every variable part is escaped: `quote(id, safe="")`
    query: Mapping[str, str] = {}
    headers: Mapping[str, str] = {}
    json: Any = None  # the body; None: without a body and without a Content-Type
    file: FilePart | None = None  # a multipart body; `fields` are its other form fields
    fields: Mapping[str, str] = {}

    @property
    def target(self) -> str:
        """The path and the query as they are sent, after the base URL."""
        return self.path + (f"?{urlencode(self.query)}" if self.query else "")

    @cached_property
    def body(self) -> bytes:
        """The bytes of the body as they are sent; empty without one. They are encoded once."""
        if self.file is not None:
            part = self.file
            file = (part.field, part.filename, part.content_type, part.content)
            return multipart.encode(self.fields, file, self._boundary)
        return b"" if self.json is None else msgspec.json.encode(self.json)

    @property
    def content_type(self) -> str | None:
        """The type of the body as it is sent, unless `headers` have another one; `None` without a body."""
        if self.file is not None:
            return f"multipart/form-data; boundary={self._boundary}"
        return None if self.json is None else "application/json"

    @cached_property
    def _boundary(self) -> str:
        return multipart.boundary_of(self.fields, b"" if self.file is None else self.file.content)


class HttpReply(Struct, frozen=True, kw_only=True, dict=True):
    """The answer of a provider, as a value. Read its JSON with `gateway.domain.adapter.decoding.read_json`."""

    status: int
    headers: Mapping[str, str] = {}  # the names are in lower case
    body: bytes = b""
    method: str = "GET"  # of the call that it answers: to a POST some replies mean something else
    path: str = ""  # of that call, as the adapter wrote it: a provider may use one code for several things
    cut: bool = False  # the body broke off or could not be decoded: only a whole JSON object in it may be trusted

    @cached_property
    def json(self) -> tuple[object, str | None]:
        """The JSON value of the body, and the reason where it has none. It is decoded once for all readers."""
        try:
            return json_value(self.body), None
        except ValueError as error:
            return None, str(error)


class ImageTransport(StrEnum):
    """In which form a provider accepts an image."""

    URL = "url"
    BASE64 = "base64"  # inline, without a `data:` prefix
    UPLOAD = "upload"  # uploaded to the provider first (`Adapter.upload`), and submitted as the URL of the reply


class ImageLimits(Struct, frozen=True, kw_only=True):
    """Which images a provider accepts. The gateway checks the bytes that it has or has fetched."""

    formats: frozenset[str] = frozenset({"image/jpeg", "image/png"})  # media types
    max_bytes: int | None = None
    min_side: int | None = None  # pixels, either side
    max_ratio: float | None = None  # the longer side divided by the shorter


_PLAIN_IMAGES = ImageLimits()


@dataclass(frozen=True, slots=True, kw_only=True)
class Polling:
    """When to poll a task. Every value can be overridden in the provider's configuration."""

    first_poll_seconds: float  # from the acceptance of a submit to the first poll
    poll_seconds: float  # the first interval between two polls
    poll_max_seconds: float  # the longest interval: intervals grow while a task runs
    attempt_timeout_seconds: float = 1200  # from the acceptance until the attempt is given up
    grace_seconds: float = 60  # for "not found" just after the submit, and for "done" without a file
    submit_timeout_seconds: float = 60  # read time-out of a submit
    result_seconds: float = 86400  # how long the provider keeps a result


@dataclass(frozen=True, slots=True, kw_only=True)
class Capability:
    """What a model of the provider accepts for some kinds of input, as data.

    An empty set means that the model does not have the parameter. A request that asks for anything that is missing here
    is not sent to this model.
    """

    inputs: frozenset[InputKind]
    prompt_max: int  # characters
    kind: Kind = "video"  # what it makes; a model that makes both has a capability for each
    durations: frozenset[int] = frozenset()  # seconds
    resolutions: frozenset[str] = frozenset()  # such as "720p"
    qualities: frozenset[str] = frozenset()  # of images, such as "2K"
    output_formats: frozenset[str] = frozenset()  # of images, such as "png"; empty: the provider chooses
    aspect_ratios: frozenset[str] = frozenset()  # such as "16:9"; empty: a video has the ratio of its first frame
    prompt_or: str | None = None  # the provider option that may replace the prompt: exactly one of the two is sent
    last_frame: bool = False  # IMAGE: whether a last frame may be sent with the first
    frames_with_references: bool = False  # REFERENCES: whether frames may be sent with them
    references_max: int = 0
    generate_audio: bool = False  # whether a client can ask for sound
    negative_prompt_max: int = 0  # characters; 0: not supported
    seed: bool = False
    fps: frozenset[int] = frozenset()
    cfg_scale: tuple[float, float] | None = None  # lowest, highest
    modes: Mapping[str, str | None] = field(default_factory=dict)  # mode → the resolution that it makes; None: any
    count_max: int = 1  # how many outputs one submit can make
    options: Mapping[str, Option] = field(default_factory=dict)  # what `provider_options` may have: name → its shape
    defaults: Mapping[str, Any] = field(default_factory=dict)  # `Settings` that the provider requires
    assumes: Mapping[str, Any] = field(default_factory=dict)  # `Settings` that it fills in itself: for the price
    images: ImageLimits = _PLAIN_IMAGES
    # For bytes, the first of BASE64 and UPLOAD is used. With URL, a link of the client is passed on as it is.
    image_transports: tuple[ImageTransport, ...] = (ImageTransport.URL,)
    rules: tuple[Callable[[UpstreamRequest], str | None], ...] = ()  # across fields: why it is not accepted, or None


API_KEY = "api_key"  # the secret that most providers have; in the configuration it is a key of the provider's table


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """The secrets of one provider account."""

    api_key: str = field(default="", repr=False)  # "" if the adapter does not declare it
    secrets: Mapping[str, str] = field(
        default_factory=dict, repr=False
    )  # the others, by the names in `Adapter.secrets`

    def values(self) -> tuple[str, ...]:
        """Every secret, for what hides them."""
        return tuple(filter(None, (self.api_key, *self.secrets.values())))


def bearer(call: HttpCall, credential: Credential, now: datetime) -> HttpCall:  # noqa: ARG001  # signers need the clock
    """The call with the header `Authorization: Bearer <key>`."""
    return HttpCall(
        method=call.method,
        path=call.path,
        query=call.query,
        headers={**call.headers, "Authorization": f"Bearer {credential.api_key}"},
        json=call.json,
        file=call.file,
        fields=call.fields,
    )


class KeyVerdict(StrEnum):
    """What a reply proves about the key of an account."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    UNPROVEN = "unproven"  # the provider, or something in front of it, was reached; the reply says nothing of the key


class KeyTest(Struct, frozen=True, kw_only=True):
    """The reading of the reply to `Adapter.probe`."""

    verdict: KeyVerdict
    detail: str  # for the operator: what the reply proves, and what it leaves open


@dataclass(frozen=True, slots=True, kw_only=True)
class Callback:
    """What the provider's call to the gateway says. It only makes the gateway poll these tasks now."""

    task_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter:
    """One provider. Optional fields are for what only some providers have.

    All functions are pure. Readers raise `UnreadableReply` for a reply without a clear meaning, and nothing else.
    """

    name: str  # of the entry point, the configuration table and the routes ("name/model")
    base_url: str  # https, without a trailing slash
    capabilities: Mapping[str, tuple[Capability, ...]]  # model name of the provider → rows; the first that fits is used
    polling: Polling
    to_upstream: Callable[[UpstreamRequest], HttpCall]  # the call that starts tasks: it costs money
    task_refs: Callable[[HttpCall, HttpReply], tuple[TaskRef, ...]]  # the tasks that a submit started, at least one
    poll: Callable[[TaskRef], HttpCall]  # the call that reads a task; may be repeated freely
    from_upstream: Callable[[HttpReply], TaskSnapshot]  # the reply to a poll, if `classify` returned None
    classify: Callable[[HttpReply], Failed | None]  # why a call was refused, None if it was not
    authorize: Callable[[HttpCall, Credential, datetime], HttpCall] = bearer  # adds the key; the time is for signatures
    # The secrets of an account: name → whether it is required. `api_key` is a key of the provider's table in the
    # configuration, and the others are in its table `secrets`.
    secrets: Mapping[str, bool] = field(default_factory=lambda: {API_KEY: True})
    polling_by_model: Mapping[str, Polling] = field(default_factory=dict)  # models that differ from `polling`
    configurable: Mapping[str, tuple[Capability, ...]] = field(default_factory=dict)  # only some accounts have these
    default_capability_name: str | None = None  # the row for configured models that are in no table
    rate_limit_seconds: float = 30  # the wait after a 429 without Retry-After
    unavailable_seconds: float | None = None  # the wait after `UNAVAILABLE`, if one is documented
    refresh: Callable[[TaskRef], HttpCall] | None = None  # a poll that makes the provider read its own upstream
    refresh_every: int = 0  # every n-th poll of a running task is a refresh; even; 0: none
    content: Callable[[TaskRef], HttpCall] | None = None  # the call that fetches a file without a URL
    variants: tuple[str, ...] = ("",)  # the forms that a submit can have, the best guess first
    next_variant: Callable[[HttpCall, HttpReply], str | None] | None = None  # the form to try next, or None
    upload: Callable[[FilePart], HttpCall] | None = None  # stores an image; sets `FilePart.field`
    uploaded_url: Callable[[HttpReply], str] | None = None  # the URL in its 2xx reply
    upload_keep_seconds: float = 0  # how long an upload is reused for the same bytes; 0: never
    read_callback: Callable[[bytes], Callback] | None = None  # the body of a callback
    known_task: Callable[[UpstreamRequest, str], TaskRef] | None = None  # the task of a bare id; None: `TaskRef(id)`
    # The call that cancels a task. It is sent once, for a task that nobody needs any longer.
    cancel: Callable[[TaskRef], HttpCall] | None = None
    # Whether the task was or will be charged, as far as the reply to `cancel` proves it; None: the reply does not say.
    read_cancel: Callable[[HttpReply], Billed | None] | None = None
    probe: Callable[[], HttpCall] | None = None  # a GET that costs nothing and whose reply depends on the key
    read_probe: Callable[[HttpReply], KeyTest] | None = None
