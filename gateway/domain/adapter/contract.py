"""The contract of a provider's adapter: tables, pure functions, one value.

An adapter has no I/O, no clock, no randomness, no environment and no logging. It names the kind of a failure and
decides nothing. With `request`, `task`, `reading`, `replies` and `errors` this module is all that a provider imports.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from msgspec import Struct

from gateway.domain.adapter.request import InputKind, UpstreamRequest
from gateway.domain.adapter.task import Failed, TaskRef, TaskSnapshot


class FilePart(Struct, frozen=True, kw_only=True):
    """The file of a multipart call."""

    field: str
    filename: str
    content_type: str
    content: bytes


class HttpCall(Struct, frozen=True, kw_only=True):
    """A call to an upstream, as a value. At most one of `json` and `file` is set."""

    method: str
    path: str  # below the base URL, begins with "/", every variable part escaped (`quote(id, safe="")`)
    query: Mapping[str, str] = {}
    headers: Mapping[str, str] = {}
    json: Any = None  # the body; None is no body and no Content-Type
    file: FilePart | None = None  # a multipart body, with `fields` beside the file
    fields: Mapping[str, str] = {}


class HttpReply(Struct, frozen=True, kw_only=True):
    """An upstream's answer, as a value."""

    status: int
    headers: Mapping[str, str] = {}  # names in lower case
    body: bytes = b""
    method: str = "GET"  # of the call it answers: some replies mean another thing to a POST
    cut: bool = False  # the body broke off or could not be decoded: only a whole JSON object in it proves anything


class ImageForm(StrEnum):
    """How a provider takes an image."""

    URL = "url"
    BASE64 = "base64"  # inline, without a `data:` prefix
    UPLOAD = "upload"  # sent first to the provider's own upload; the reply has a URL


class ImageLimits(Struct, frozen=True, kw_only=True):
    """What a provider takes as an image; checked on bytes that the gateway holds or has fetched."""

    formats: frozenset[str] = frozenset({"image/jpeg", "image/png"})
    max_bytes: int | None = None
    min_side: int | None = None  # pixels, either side
    max_ratio: float | None = None  # longer side to shorter


_PLAIN_IMAGES = ImageLimits()


@dataclass(frozen=True, slots=True, kw_only=True)
class Polling:
    """When to read a task, per model; every value can be overridden in the provider's configuration."""

    first_poll_seconds: float
    poll_seconds: float
    poll_max_seconds: float
    attempt_timeout_seconds: float = 1200
    grace_seconds: float = 60  # "not found" just after submit; "done" without a file
    submit_timeout_seconds: float = 60  # read time-out of a submit
    result_seconds: float = 86400  # how long the provider keeps a result


@dataclass(frozen=True, slots=True, kw_only=True)
class Capability:
    """What an upstream model accepts for some kinds of input, as data. An empty set is "nothing of this kind"."""

    inputs: frozenset[InputKind]
    durations: frozenset[int]
    resolutions: frozenset[str]
    aspect_ratios: frozenset[str]  # empty for IMAGE: the video has the ratio of its first frame
    prompt_max: int  # characters
    prompt_or: str | None = None  # the provider option that replaces the prompt: exactly one of the two
    last_frame: bool = False  # IMAGE: may a last frame come with the first
    frames_with_references: bool = False  # REFERENCES: may first and last frame come beside them
    references_max: int = 0
    generate_audio: bool = False  # whether sound can be asked for
    negative_prompt_max: int = 0  # characters; 0: not supported
    seed: bool = False
    fps: frozenset[int] = frozenset()
    cfg_scale: tuple[float, float] | None = None  # lowest, highest
    modes: Mapping[str, str] = field(default_factory=dict)  # mode → the resolution it means
    count_max: int = 1  # outputs that one submit can make
    options: frozenset[str] = frozenset()  # allowed `provider_options`
    defaults: Mapping[str, Any] = field(default_factory=dict)  # Settings fields that the upstream requires
    assumes: Mapping[str, Any] = field(default_factory=dict)  # and those that it fills in itself: what it will cost
    images: ImageLimits = _PLAIN_IMAGES
    image_forms: tuple[ImageForm, ...] = (ImageForm.URL,)  # of BASE64 and UPLOAD the first is used; URL: taken as it is
    rules: tuple[Callable[[UpstreamRequest], str | None], ...] = ()  # across fields: why not, or None
    kind: str = "video"


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """The key of one provider account."""

    api_key: str = field(repr=False)


def bearer(call: HttpCall, credential: Credential, now: datetime) -> HttpCall:  # noqa: ARG001  # signers need the clock
    """The call with `Authorization: Bearer`."""
    return HttpCall(
        method=call.method,
        path=call.path,
        query=call.query,
        headers={**call.headers, "Authorization": f"Bearer {credential.api_key}"},
        json=call.json,
        file=call.file,
        fields=call.fields,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Callback:
    """What an inbound call of the provider's says: only a hint to poll now."""

    task_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter:
    """One provider. Fields that may be `None` are what only some providers have: the gateway asks the field."""

    name: str
    base_url: str  # without a trailing slash
    capabilities: Mapping[str, tuple[Capability, ...]]  # by the upstream's own model name
    polling: Polling
    to_upstream: Callable[[UpstreamRequest], HttpCall]  # the call that starts a task; billable
    task_refs: Callable[[HttpCall, HttpReply], tuple[TaskRef, ...]]  # never empty, else UnreadableReply
    poll: Callable[[TaskRef], HttpCall]  # a safe read, repeated freely
    from_upstream: Callable[[HttpReply], TaskSnapshot]  # of a poll's reply that `classify` let through
    classify: Callable[[HttpReply], Failed | None]  # why a call was refused; None when it was not
    authorize: Callable[[HttpCall, Credential, datetime], HttpCall] = bearer  # the clock comes in as a value
    polling_by_model: Mapping[str, Polling] = field(default_factory=dict)
    configurable: Mapping[str, tuple[Capability, ...]] = field(default_factory=dict)  # only some accounts have these
    default_row: str | None = None  # the capability row of configured models that no table names
    rate_limit_seconds: float = 30  # the documented wait after a 429 without Retry-After
    unavailable_seconds: float | None = None  # and after a refusal for the moment
    refresh: Callable[[TaskRef], HttpCall] | None = None  # a poll that makes the upstream look again
    refresh_every: int = 0  # of the readings of a task that goes on, each so-many-th is a refresh; 0: none; even
    content: Callable[[TaskRef], HttpCall] | None = None  # fetches a result that no URL was named for
    forms: tuple[str, ...] = ("",)  # the forms a submit can take, best guess first
    amend: Callable[[HttpCall, HttpReply], str | None] | None = None  # the form to try after a refusal, or None
    upload: Callable[[FilePart], HttpCall] | None = None  # sends the bytes of an image; `field` is to be replaced
    uploaded_url: Callable[[HttpReply], str] | None = None  # from its 2xx; else UnreadableReply
    upload_keep_seconds: float = 0  # how long an upload may be used again for the same bytes; 0: it may not
    read_callback: Callable[[bytes], Callback] | None = None  # raises UnreadableReply
    known_task: Callable[[UpstreamRequest, str], TaskRef] | None = None  # of a bare id; None: the id is all of it
