"""The sections of the configuration as frozen Structs: the keys, their limits, what they are when nothing is said."""

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, Struct

from gateway.domain.adapter.contract import Polling
from gateway.domain.routing.order import Order
from gateway.domain.routing.price import Price
from gateway.settings.toml import (
    HeaderValue,
    Host,
    HttpUrl,
    Network,
    Read,
    Secret,
    TomlReader,
    header_secret,
    plain_text,
)

# What a database URL of each scheme must look like, or why there is none.
DATABASES: dict[str, re.Pattern[str] | str] = {
    "sqlite": re.compile(r"sqlite:///(?!:memory:)[^?#]*[^?#/]"),
    "postgres": "PostgreSQL is not supported",
    "postgresql": "PostgreSQL is not supported",
}
ARTIFACT_STORES = re.compile(r"file:(?!//[^/]).*[^/].*|(?:s3|gs|az)://[\w.-]+(?:/[^@?#\s]*)?")
WEBHOOK_SECRET_MIN = 24  # bytes; Standard Webhooks, "Signature scheme"


# --- single values ----------------------------------------------------------------------------------------------------


def _database_url(raw: object, _: TomlReader) -> str:
    url = plain_text(raw)
    rule = DATABASES.get(url.partition(":")[0])
    if isinstance(rule, str):
        raise ValueError(f"{rule}; expected sqlite:///PATH")  # noqa: TRY004  # the value is wrong, not its type
    if rule is None or not rule.fullmatch(url):
        raise ValueError("expected sqlite:///PATH, such as sqlite:///video-gateway.db")
    return url


def _artifacts_url(raw: object, _: TomlReader) -> str:
    url = plain_text(raw)
    if not ARTIFACT_STORES.fullmatch(url):
        raise ValueError("expected file:PATH, s3://BUCKET/PREFIX, gs://… or az://…, without credentials and query")
    return url


def _webhook_secret(raw: object, reader: TomlReader) -> Secret:
    secret = reader.secret(raw)
    try:
        size = len(base64.b64decode(secret.reveal().removeprefix("whsec_"), validate=True))
    except (binascii.Error, ValueError):
        raise ValueError("expected whsec_ and base64") from None
    if size < WEBHOOK_SECRET_MIN:
        raise ValueError(f"expected whsec_ and the base64 of at least {WEBHOOK_SECRET_MIN} bytes")
    return secret


DatabaseUrl = Annotated[str, Read(_database_url)]
ArtifactsUrl = Annotated[str, Read(_artifacts_url)]
ApiKey = Annotated[Secret, Read(header_secret)]
WebhookSecret = Annotated[Secret, Read(_webhook_secret)]
Seconds = Annotated[float, Meta(gt=0, le=86_400)]
Days = Annotated[float, Meta(gt=0, le=36_500)]
Text = Annotated[str, Meta(min_length=1)]
Ratio = Annotated[str, Meta(pattern=r"^\d+:\d+$|^auto$")]


# --- sections ---------------------------------------------------------------------------------------------------------


class ServerSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[server]`: what the gateway listens on, and who may call."""

    host: Host = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65_535)] = 8080  # 0: any free one
    public_url: HttpUrl | None = None  # how clients and providers reach the gateway; without a trailing slash
    api_keys: tuple[ApiKey, ...] = ()  # static client keys
    admin_keys: tuple[ApiKey, ...] = ()  # of operators, for the paths below /v1/admin and nothing else
    auth: Literal["keys", "none"] | None = None  # never None once loaded: "keys" where there are some, else "none"
    max_body_bytes: Annotated[int, Meta(ge=1024, le=2**30)] = 29_360_128  # of a request, images in base64 included
    max_bodies_bytes: Annotated[int, Meta(ge=1024, le=2**40)] = 268_435_456  # of all requests under way together
    max_connections: Annotated[int, Meta(ge=1, le=1_000_000)] = 16_000
    max_long_polls: Annotated[int, Meta(ge=1, le=1_000_000)] = 5000  # reads with `wait` that are held at once
    max_listeners: Annotated[int, Meta(ge=1, le=1_000_000)] = 10_000  # streams of events that are open at once
    max_downloads: Annotated[int, Meta(ge=1, le=1_000_000)] = 512  # files that are sent at once
    max_open_generations: Annotated[int, Meta(ge=1, le=10_000_000)] = 50_000  # of all keys together
    # From SIGTERM to the exit, at most. None: the longest `submit_timeout_seconds` in use, and a little for storing.
    drain_seconds: Seconds | None = None
    log_format: Literal["json", "console"] | None = None  # None: console on a terminal, else json
    log_level: Literal["debug", "info", "warning", "error", "critical"] = "info"


class DatabaseSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[database]`: where the ledger is."""

    url: DatabaseUrl = "sqlite:///video-gateway.db"  # three slashes and a path; four for an absolute one

    @property
    def path(self) -> Path:
        """The file of the database."""
        return Path(self.url.removeprefix("sqlite:///"))


class PollingSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When to read a task, in seconds; `None` leaves it to the adapter."""

    first_poll_seconds: Seconds | None = None  # from the submit to the first poll
    poll_seconds: Seconds | None = None  # between polls
    poll_max_seconds: Seconds | None = None  # between polls of a task that takes long, or after polls that failed
    submit_timeout_seconds: Seconds | None = None  # read time-out of a submit
    attempt_timeout_seconds: Seconds | None = None  # after it the next route is tried
    grace_seconds: Seconds | None = None  # for "not found" just after a submit, and "completed" without a URL

    def over(self, polling: Polling) -> Polling:
        """`polling` with what is said here; the ceiling is never below the interval."""
        said = {name: getattr(self, name) for name in PollingSettings.__struct_fields__}
        merged = replace(polling, **{name: value for name, value in said.items() if value is not None})
        return replace(merged, poll_max_seconds=max(merged.poll_max_seconds, merged.poll_seconds))


class ProviderModel(PollingSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[providers.<name>.models.<model>]`: an upstream model without a row in the adapter, or one read otherwise.

    What is `None` is as in the row that the model follows.
    """

    like: Text | None = None  # the model of the adapter's tables that this one follows
    durations: tuple[Annotated[int, Meta(ge=1, le=3600)], ...] | None = None  # seconds
    resolutions: tuple[Text, ...] | None = None  # 720p, 1080p, 4k
    aspect_ratios: tuple[Ratio, ...] | None = None
    prompt_max: Annotated[int, Meta(ge=0, le=1_000_000)] | None = None  # characters
    generate_audio: bool | None = None  # whether sound can be asked for
    prices: tuple[Price, ...] = ()  # of one output, in USD; the first row that applies counts


class ProviderSettings(PollingSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[providers.<name>]`: an account at a provider."""

    api_key: ApiKey = Secret.of("")  # empty only where `enabled` is false: then its tasks cannot be read
    base_url: HttpUrl | None = None  # without a trailing slash; None: the adapter's own
    enabled: bool = True  # false: no new work; its running tasks are still followed, where its key can be read
    concurrency: Annotated[int, Meta(ge=1, le=100_000)] = 32  # submits at once
    read_concurrency: Annotated[int, Meta(ge=1, le=100_000)] = 512  # readings of tasks at once
    form: str | None = None  # the form of a submit that this account takes; None: found out by trying
    headers: Mapping[str, HeaderValue] = {}  # sent with every call; a value may be env:NAME or file:PATH
    models: Mapping[str, ProviderModel] = {}  # by the upstream's own name; a plain list of names in the file will do


class ModelSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[models.<name>]`: a public name for some routes."""

    routes: Annotated[tuple[Text, ...], Meta(min_length=1)]  # "provider/upstream model", best first
    order: Order = "priority"
    weights: tuple[Annotated[float, Meta(ge=0, le=1_000_000)], ...] = ()  # of `weighted`: one for each route
    adapt: Literal["none", "nearest"] = "none"  # where a request does not say
    on_ambiguous: Literal["fall_back", "fail", "hold"] = "fall_back"  # after a submit without a clear answer
    on_content_policy: Literal["stop", "fall_back"] = "stop"
    attempt_timeout_seconds: Seconds | None = None  # over the provider's


class FetchSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[fetch]`: what the guarded fetcher may reach."""

    allow: tuple[Network, ...] = ()  # networks besides the public ones


class FileSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[files]`: input images that clients upload by themselves."""

    keep_days: Days = 30  # from the upload; a client may ask for less
    max_per_key: Annotated[int, Meta(ge=1, le=10_000)] = 1000
    max_bytes_per_key: Annotated[int, Meta(ge=2**20, le=2**40)] = 2_147_483_648


class ArtifactSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[artifacts]`: where results are kept, and for how long."""

    url: ArtifactsUrl = "file:./artifacts"
    folder: Text | None = None  # beside a bucket: of inputs and of what is under way; None: ./artifacts
    keep_days: Days = 30  # from when a result is kept
    thumbnails: bool = True  # draw the first frame where a provider gives no picture; needs the extra `demo`
    redirect: bool = False  # lead clients to a signed URL of the bucket's instead of passing the bytes through
    endpoint: HttpUrl | None = None  # this and what follows: of an S3; None: as the environment says, as for the others
    region: Text | None = None
    access_key_id: ApiKey | None = None
    secret_access_key: ApiKey | None = None

    @property
    def is_bucket(self) -> bool:
        """Whether results are in an object store."""
        return not self.url.startswith("file:")

    @property
    def path(self) -> Path:
        """The local folder: of everything, or of all but the results that are in a bucket."""
        if self.is_bucket:
            return Path(self.folder or "artifacts")
        return Path(self.url.removeprefix("file:").removeprefix("//"))

    def problem(self) -> tuple[str, str] | None:
        """A key that does not fit the others, and the message about it; `None` if all fit."""
        of_s3 = ("endpoint", "region", "access_key_id", "secret_access_key")
        for where, fits, names in (
            ("s3://…", self.url.startswith("s3:"), of_s3),
            ("a bucket", self.is_bucket, ("folder", "redirect")),
        ):
            for name in names:
                if getattr(self, name) and not fits:
                    return name, f"only where artifacts.url is {where}"
        if (self.access_key_id is None) != (self.secret_access_key is None):
            missing = "access_key_id" if self.access_key_id is None else "secret_access_key"
            return missing, "missing; access_key_id and secret_access_key are needed together"
        return None


class RetentionSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[retention]`: how long records are kept."""

    # From the delete of a generation: which of its attempts may have been billed, where, and what they cost.
    money_days: Days = 400


class WebhookSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[webhooks]`: how deliveries are signed and sent."""

    # whsec_…; signs for generations that name their own `webhook_url`. None: every API key has a secret of its own.
    secret: WebhookSecret | None = None
    previous_secret: WebhookSecret | None = None  # signs beside it, while receivers still know only this one
    timeout_seconds: Annotated[float, Meta(gt=0, le=60)] = 15  # for all of one try
