"""The sections of the configuration as frozen Structs: the keys, their limits and their defaults."""

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
from gateway.settings.databases import SQLITE, database_url
from gateway.settings.toml import (
    HeaderValue,
    Host,
    HttpUrl,
    Identifier,
    Network,
    Origin,
    Secret,
    TomlReader,
    TomlValue,
    header_secret,
    plain_text,
)

ARTIFACT_STORES = re.compile(r"file:(?!//[^/]).*[^/].*|(?:s3|gs|az)://[\w.-]+(?:/[^@?#\s]*)?")
JWT_SECRET_MIN = 32  # characters; RFC 7518, section 3.2: a key for HS256 has at least the size of its hash
WEBHOOK_SECRET_MIN = 24  # bytes; from the specification of Standard Webhooks, "Signature scheme"


# --- single values ----------------------------------------------------------------------------------------------------


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


def _named_secret(raw: object, reader: TomlReader) -> Secret:
    return reader.secret(raw)


def _identifier(raw: object, reader: TomlReader) -> Identifier:
    return Identifier.of(header_secret(raw, reader).reveal())


def _jwt_secret(raw: object, reader: TomlReader) -> Secret:
    secret = header_secret(raw, reader)
    if len(secret.reveal()) < JWT_SECRET_MIN:
        raise ValueError(f"expected at least {JWT_SECRET_MIN} characters")
    return secret


DatabaseUrl = Annotated[str, TomlValue(database_url)]
ArtifactsUrl = Annotated[str, TomlValue(_artifacts_url)]
ApiKey = Annotated[Secret, TomlValue(header_secret)]
NamedSecret = Annotated[Secret, TomlValue(_named_secret)]  # need not fit into a header: it may sign calls
AccessKey = Annotated[Identifier, TomlValue(_identifier)]
JwtSecret = Annotated[Secret, TomlValue(_jwt_secret)]
WebhookSecret = Annotated[Secret, TomlValue(_webhook_secret)]
Seconds = Annotated[float, Meta(gt=0, le=86_400)]
Days = Annotated[float, Meta(gt=0, le=36_500)]
KeptDays = Annotated[float, Meta(ge=1, le=36_500)]
Text = Annotated[str, Meta(min_length=1)]
Ratio = Annotated[str, Meta(pattern=r"^\d+:\d+$|^auto$")]


# --- sections ---------------------------------------------------------------------------------------------------------


class KlingKey(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[[server.kling_keys]]`: both halves of a key with which a client of Kling's API signs a JWT for each call."""

    access_key: AccessKey  # the `iss` of the JWT; not secret, because every JWT shows it
    secret_key: JwtSecret  # signs the JWT with HS256


class ServerSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[server]`: the address the gateway listens on, the keys that may call it, and limits."""

    host: Host = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65_535)] = 8080  # 0: any free port
    public_url: HttpUrl | None = None  # where clients and providers reach the gateway; without a trailing slash
    api_keys: tuple[ApiKey, ...] = ()  # of clients
    admin_keys: tuple[ApiKey, ...] = ()  # of operators; they open the paths below /v1/admin, and /metrics
    kling_keys: tuple[KlingKey, ...] = ()  # of clients that sign a JWT, as those of Kling's API do
    cors_origins: tuple[Origin, ...] = ()  # of web pages that may call the gateway with a key, from a browser
    auth: Literal["keys", "none"] | None = None  # None only before loading: then "keys" if there are any, else "none"
    # Of one request, including its images in base64.
    max_body_bytes: Annotated[int, Meta(ge=1024, le=2**30)] = 29_360_128
    # Of all requests that are being handled, together.
    max_bodies_bytes: Annotated[int, Meta(ge=1024, le=2**40)] = 268_435_456
    max_connections: Annotated[int, Meta(ge=1, le=1_000_000)] = 16_000
    # Of one IPv4 address or one IPv6 /64. None: half of `max_connections`, but at least 100.
    max_connections_per_address: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
    # Reads with `wait`, and creates of images that wait for their result, that are held at the same time.
    max_long_polls: Annotated[int, Meta(ge=1, le=1_000_000)] = 5000
    # How long a create of images waits for its result before it answers 504, which names the id to read.
    blocking_seconds: Annotated[int, Meta(ge=1, le=3600)] = 300
    max_listeners: Annotated[int, Meta(ge=1, le=1_000_000)] = 10_000  # streams of events that are open at the same time
    max_downloads: Annotated[int, Meta(ge=1, le=1_000_000)] = 512  # files that are sent at the same time
    max_open_generations: Annotated[int, Meta(ge=1, le=10_000_000)] = 50_000  # of all client keys together
    watch_config: bool = False  # reload when the file, or a secret that it names by `file:`, has changed
    # From SIGTERM to the exit, at most. None: the longest `submit_timeout_seconds` in use, plus 5 s for storing.
    drain_seconds: Seconds | None = None
    log_format: Literal["json", "console"] | None = None  # None: console on a terminal, else json
    log_level: Literal["debug", "info", "warning", "error", "critical"] = "info"


class MetricsSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[metrics]`: a port of its own for Prometheus and for health checks, which needs no key."""

    host: Host = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65_535)] | None = None  # 0: any free port. None: there is no such port


class DatabaseSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[database]`: where the ledger is."""

    # Three slashes and a relative path, or four slashes and an absolute one; or `postgresql://USER@HOST:PORT/DATABASE`.
    url: DatabaseUrl = "sqlite:///video-gateway.db"
    password: NamedSecret | None = None  # of the user of PostgreSQL

    @property
    def path(self) -> Path | None:
        """The file of the database; None if it is one of PostgreSQL."""
        return Path(self.url.removeprefix(SQLITE)) if self.url.startswith(SQLITE) else None


class PollingSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When a task is polled, in seconds. `None`: the default of the adapter."""

    first_poll_seconds: Seconds | None = None  # from the acceptance of the submit to the first poll
    poll_seconds: Seconds | None = None  # between polls
    poll_max_seconds: Seconds | None = None  # the longest pause: for a task that takes long, or after failed polls
    submit_timeout_seconds: Seconds | None = None  # how long a submit waits for the answer
    attempt_timeout_seconds: Seconds | None = None  # after it the next route is tried
    grace_seconds: Seconds | None = None  # how long "not found" and "completed" without a URL are not yet believed

    def over(self, polling: Polling) -> Polling:
        """`polling` with the values that are set here. Its `poll_max_seconds` is never below its `poll_seconds`."""
        values = {name: getattr(self, name) for name in PollingSettings.__struct_fields__}
        merged = replace(polling, **{name: value for name, value in values.items() if value is not None})
        return replace(merged, poll_max_seconds=max(merged.poll_max_seconds, merged.poll_seconds))


class ProviderModel(PollingSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[providers.<name>.models.<model>]`: a model that the adapter's table lacks, or has with other values.

    `None` takes the value of the model that this one is `like`.
    """

    like: Text | None = None  # a model of the adapter's table
    durations: tuple[Annotated[int, Meta(ge=1, le=3600)], ...] | None = None  # seconds
    resolutions: tuple[Text, ...] | None = None  # 720p, 1080p, 4k
    aspect_ratios: tuple[Ratio, ...] | None = None
    prompt_max: Annotated[int, Meta(ge=0, le=1_000_000)] | None = None  # characters
    generate_audio: bool | None = None  # whether a request may ask for sound
    prices: tuple[Price, ...] = ()  # of one output, in USD; the first row that matches the request counts


class ProviderSettings(PollingSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[providers.<name>]`: an account at a provider. Its name is the provider's name in models, answers and logs."""

    adapter: Text | None = None  # the name of an installed adapter; None: the table has the adapter's own name
    # Empty if the adapter signs with `secrets` instead, or if `enabled` is false; then its tasks cannot be polled.
    api_key: ApiKey = Secret.of("")
    secrets: Mapping[str, NamedSecret] = {}  # further secrets, by the names that the adapter declares
    base_url: HttpUrl | None = None  # without a trailing slash; None: the default of the adapter
    enabled: bool = True  # false: no new work; its running tasks are still followed if there is a key
    concurrency: Annotated[int, Meta(ge=1, le=100_000)] = 32  # submits at the same time
    read_concurrency: Annotated[int, Meta(ge=1, le=100_000)] = 512  # polls of tasks at the same time
    form: str | None = None  # variant of the submit body that this account accepts; None: found by trying
    headers: Mapping[str, HeaderValue] = {}  # sent with every call; a value is a text, env:NAME or file:PATH
    models: Mapping[str, ProviderModel] = {}  # by the name at the provider; the file may have a list of names

    @property
    def has_key(self) -> bool:
        """Whether the account has a secret with which its tasks can be polled."""
        return bool(self.api_key or self.secrets)


class ModelSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[models.<name>]`: a public model name that leads to one or more routes."""

    routes: Annotated[tuple[Text, ...], Meta(min_length=1)]  # "PROVIDER/MODEL", best first
    order: Order = "priority"
    weights: tuple[Annotated[float, Meta(ge=0, le=1_000_000)], ...] = ()  # only for `weighted`: one for each route
    adapt: Literal["none", "nearest"] = "none"  # for requests without `adapt`
    on_ambiguous: Literal["fall_back", "fail", "hold"] = "fall_back"  # after a submit without a clear answer
    on_content_policy: Literal["stop", "fall_back"] = "stop"
    attempt_timeout_seconds: Seconds | None = None  # overrides the value of the provider


class FetchSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[fetch]`: which addresses the gateway may fetch URLs from that clients or providers named."""

    allow: tuple[Network, ...] = ()  # networks that are allowed in addition to public addresses


class FileSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[files]`: limits for input images that clients upload before a generation."""

    keep_days: Days = 30  # after the upload; a client may ask for less
    max_per_key: Annotated[int, Meta(ge=1, le=10_000)] = 1000
    max_bytes_per_key: Annotated[int, Meta(ge=2**20, le=2**40)] = 2_147_483_648


class ArtifactSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[artifacts]`: where results are stored, and for how long."""

    url: ArtifactsUrl = "file:./artifacts"
    folder: Text | None = None  # only with a bucket: for copies of inputs and unfinished results; None: ./artifacts
    shared: bool = False  # whether every gateway on the ledger has this folder; PostgreSQL needs that, or a bucket
    keep_days: Days = 30  # after a result was stored
    cache_bytes: Annotated[int, Meta(ge=0, le=2**50)] = 2**30  # only with a bucket: of copies of inputs in `folder`
    # Of the disk; below it input images are refused. None: 1 GB, or 5 % of the disk if that is less.
    min_free_bytes: Annotated[int, Meta(ge=0, le=2**50)] | None = None
    thumbnails: bool = True  # draw the first frame if the provider gives no thumbnail; needs the extra `demo`
    redirect: bool = False  # send clients to a signed URL of the bucket instead of passing the bytes through
    endpoint: HttpUrl | None = None  # this and the next three: for S3; None: from the usual variables, as for gs and az
    region: Text | None = None
    access_key_id: AccessKey | None = None
    secret_access_key: ApiKey | None = None

    @property
    def is_bucket(self) -> bool:
        """Whether results are stored in an object store."""
        return not self.url.startswith("file:")

    @property
    def path(self) -> Path:
        """The local folder: for everything, or, with a bucket, for everything except the results."""
        if self.is_bucket:
            return Path(self.folder or "artifacts")
        return Path(self.url.removeprefix("file:").removeprefix("//"))

    @property
    def inputs(self) -> Path:
        """The local folder of the images of clients. It may be on another disk than the results.

        With a bucket it has only those from before.
        """
        return self.path / "inputs"

    @property
    def cache(self) -> Path:
        """With a bucket, the local folder of copies of the images of clients."""
        return self.path / "cached-inputs"

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
    """`[retention]`: how long records are stored; None: for ever.

    No time is shorter than a day: for so long an idempotency key finds its generation, and an open one needs its rows.
    """

    generations_days: KeptDays | None = None  # after the end, and as long as a file of it is stored
    events_days: KeptDays | None = None  # after the event; that of the end stays with its generation
    deliveries_days: KeptDays | None = None  # of webhooks, after the event
    usage_days: KeptDays | None = None  # after the day that is counted

    # After a generation was deleted: for each attempt that may have been billed, the provider and the cost.
    money_days: Days = 400


class TracingSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[tracing]`: where traces are sent, for OpenTelemetry. It needs the extra `tracing`."""

    endpoint: HttpUrl | None = None  # of a collector that takes OTLP over HTTP: http://HOST:4318/v1/traces; None: off
    headers: Mapping[str, HeaderValue] = {}  # sent to the collector; a value is a text, env:NAME or file:PATH
    sample_ratio: Annotated[float, Meta(ge=0, le=1)] = 1.0  # the part of the generations that is traced
    service_name: Text = "video-gateway"


class WebhookSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[webhooks]`: how webhooks are signed and sent."""

    # whsec_…; signs the webhooks of generations with a `webhook_url` of their own. None: each client key has a secret.
    secret: WebhookSecret | None = None
    previous_secret: WebhookSecret | None = None  # signs as well, until every receiver has the new secret
    timeout_seconds: Annotated[float, Meta(gt=0, le=60)] = 15  # for one whole delivery try
