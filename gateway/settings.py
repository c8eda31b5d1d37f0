"""The configuration: a TOML file and the environment, decoded into one frozen Struct.

The environment fills only what the file leaves out. A secret stands in the file as `env:NAME` or `file:PATH`, never as
itself. Relative paths are relative to the working directory. No message shows a value: it might be a misplaced secret.
"""

import base64
import binascii
import difflib
import ipaddress
import json
import re
import tomllib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NoReturn, Self, TypeVar, Union, get_args, get_origin, get_type_hints
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta, Struct, structs

from gateway.domain.adapter import Polling
from gateway.domain.errors import ConfigurationError

CONFIG_VARIABLE = "VIDEO_GATEWAY_CONFIG"
CONFIG_FILE = "video-gateway.toml"  # in the working directory; used when it exists and no other is named
# Variables and the key that each fills. Every provider has <NAME>_API_KEY and <NAME>_BASE_URL besides.
ENVIRONMENT = {
    "VIDEO_GATEWAY_HOST": ("server", "host"),
    "VIDEO_GATEWAY_PORT": ("server", "port"),
    "VIDEO_GATEWAY_API_KEY": ("server", "api_keys"),
    "VIDEO_GATEWAY_DATABASE_URL": ("database", "url"),
    "VIDEO_GATEWAY_ARTIFACTS": ("artifacts", "url"),
    "VIDEO_GATEWAY_WEBHOOK_SECRET": ("webhooks", "secret"),
}
# What a database URL of each scheme must look like, or why there is none.
DATABASES: dict[str, re.Pattern[str] | str] = {
    "sqlite": re.compile(r"sqlite:///(?!:memory:)[^?#]*[^?#/]"),
    "postgres": "PostgreSQL is not supported",
    "postgresql": "PostgreSQL is not supported",
}
ARTIFACT_STORES = re.compile(r"file:(?!//[^/]).*[^/].*|(?:s3|gs|az)://[\w.-]+(?:/[^@?#\s]*)?")
CLIENT_KEY_MIN = 16  # characters
WEBHOOK_SECRET_MIN = 24  # bytes; Standard Webhooks, "Signature scheme"
# What the gateway sets by itself, or what would change the meaning of a body.
OWN_HEADERS = frozenset(
    {"accept-encoding", "authorization", "connection", "content-encoding", "content-length", "content-type", "expect"}
    | {"host", "te", "trailer", "transfer-encoding", "upgrade"}
)


class Secret(Struct, frozen=True, eq=False, dict=True):
    """A key that never prints: `str`, `repr` and any encoder give `***`."""

    shown: str = "***"  # the one field, hence all that an encoder meets

    @classmethod
    def of(cls, value: str) -> Self:
        """The secret with this value."""
        secret = cls()
        secret.__dict__["_value"] = value
        return secret

    def reveal(self) -> str:
        """The key itself, for the one call that needs it."""
        value: str = self.__dict__["_value"]
        return value

    def __bool__(self) -> bool:
        return bool(self.reveal())

    def __repr__(self) -> str:
        return self.shown

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self.reveal() == other.reveal()

    def __hash__(self) -> int:
        return hash(self.reveal())

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not pickled")


# --- how single values are read ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Read:
    """Marks a type with the function that reads it from TOML; it raises `ValueError` with what was expected."""

    of: Callable[[object, "_Reader"], object]


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine's own."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _text(raw: object) -> str:
    if not isinstance(raw, str):
        raise ValueError(f"expected a string, got {_type_name(raw)}")  # noqa: TRY004  # one error for all wrong values
    return raw


def _http_url(raw: object, _: "_Reader") -> str:
    url = _text(raw)
    expected = "expected an http(s) URL without credentials, query and fragment"
    try:
        parts = urlsplit(url)
        port_is_odd = parts.port == 0
    except ValueError:
        raise ValueError(expected) from None
    plain = re.fullmatch(r"[\x21-\x7e]+", url) and not {"@", "?", "#", "\\"} & set(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or port_is_odd or not plain:
        raise ValueError(expected)
    return url.rstrip("/")


def _host(raw: object, _: "_Reader") -> str:
    host = _text(raw)
    if ":" in host:
        try:
            return str(ipaddress.IPv6Address(host))
        except ValueError:
            raise ValueError("expected a host name or an address, without a port and without brackets") from None
    if not re.fullmatch(r"[A-Za-z0-9_.-]+", host):
        raise ValueError("expected a host name or an address")
    return host


def _network(raw: object, _: "_Reader") -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(_text(raw))
    except ValueError:
        raise ValueError('expected a network such as "10.1.0.0/16", without host bits, or one address') from None


def _database_url(raw: object, _: "_Reader") -> str:
    url = _text(raw)
    rule = DATABASES.get(url.partition(":")[0])
    if isinstance(rule, str):
        raise ValueError(f"{rule}; expected sqlite:///PATH")  # noqa: TRY004  # the value is wrong, not its type
    if rule is None or not rule.fullmatch(url):
        raise ValueError("expected sqlite:///PATH, such as sqlite:///video-gateway.db")
    return url


def _artifacts_url(raw: object, _: "_Reader") -> str:
    url = _text(raw)
    if not ARTIFACT_STORES.fullmatch(url):
        raise ValueError("expected file:PATH, s3://BUCKET/PREFIX, gs://… or az://…, without credentials and query")
    return url


def _in_header(raw: object, reader: "_Reader") -> Secret:
    secret = reader.secret(raw)
    if not re.fullmatch(r"[\x21-\x7e]+", secret.reveal()):
        raise ValueError("expected printable ASCII characters without spaces")
    return secret


def _client_key(raw: object, reader: "_Reader") -> Secret:
    secret = _in_header(raw, reader)
    if len(secret.reveal()) < CLIENT_KEY_MIN:
        raise ValueError(f"expected at least {CLIENT_KEY_MIN} characters")
    return secret


def _header_value(raw: object, reader: "_Reader") -> Secret:
    value = _text(raw)
    secret = reader.secret(value) if value.startswith(("env:", "file:")) else Secret.of(value)
    if not re.fullmatch(r"(?:[\x21-\x7e](?:[\x20-\x7e\t]*[\x21-\x7e])?)?", secret.reveal()):
        raise ValueError("expected printable ASCII characters, with no space at either end")
    return secret


def _webhook_secret(raw: object, reader: "_Reader") -> Secret:
    secret = reader.secret(raw)
    try:
        size = len(base64.b64decode(secret.reveal().removeprefix("whsec_"), validate=True))
    except (binascii.Error, ValueError):
        raise ValueError("expected whsec_ and base64") from None
    if size < WEBHOOK_SECRET_MIN:
        raise ValueError(f"expected whsec_ and the base64 of at least {WEBHOOK_SECRET_MIN} bytes")
    return secret


HttpUrl = Annotated[str, Read(_http_url)]
Host = Annotated[str, Read(_host)]
Network = Annotated[ipaddress.IPv4Network | ipaddress.IPv6Network, Read(_network)]
DatabaseUrl = Annotated[str, Read(_database_url)]
ArtifactsUrl = Annotated[str, Read(_artifacts_url)]
ProviderKey = Annotated[Secret, Read(_in_header)]
ClientKey = Annotated[Secret, Read(_client_key)]
HeaderValue = Annotated[Secret, Read(_header_value)]
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
    api_keys: tuple[ClientKey, ...] = ()  # static client keys
    auth: Literal["keys", "none"] | None = None  # never None once loaded: "keys" where there are some, else "none"
    max_body_bytes: Annotated[int, Meta(ge=1024, le=2**30)] = 29_360_128  # of a request, images in base64 included
    drain_seconds: Seconds = 35  # from SIGTERM to the exit, at most
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


class ProviderSettings(PollingSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[providers.<name>]`: an account at a provider."""

    api_key: ProviderKey = Secret.of("")  # empty only where `enabled` is false
    base_url: HttpUrl | None = None  # without a trailing slash; None: the adapter's own
    enabled: bool = True  # false: no new work and no polls; its secrets are not looked up
    concurrency: Annotated[int, Meta(ge=1, le=100_000)] = 32  # calls at once
    form: str | None = None  # the form of a submit that this account takes; None: found out by trying
    headers: Mapping[str, HeaderValue] = {}  # sent with every call; a value may be env:NAME or file:PATH
    models: Mapping[str, ProviderModel] = {}  # by the upstream's own name; a plain list of names in the file will do


class ModelSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[models.<name>]`: a public name for some routes."""

    routes: Annotated[tuple[Text, ...], Meta(min_length=1)]  # "provider/upstream model", best first
    order: Literal["priority", "weighted", "fastest", "cheapest"] = "priority"
    adapt: Literal["none", "nearest"] = "none"  # where a request does not say
    on_ambiguous: Literal["fall_back", "fail", "hold"] = "fall_back"  # after a submit without a clear answer
    on_content_policy: Literal["stop", "fall_back"] = "stop"
    attempt_timeout_seconds: Seconds | None = None  # over the provider's


class FetchSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[fetch]`: what the guarded fetcher may reach."""

    allow: tuple[Network, ...] = ()  # networks besides the public ones


class ArtifactSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[artifacts]`: where results are kept."""

    url: ArtifactsUrl = "file:./artifacts"
    keep_days: Days = 30  # from the end of a generation

    @property
    def path(self) -> Path | None:
        """The folder; `None` for an object store."""
        if not self.url.startswith("file:"):
            return None
        return Path(self.url.removeprefix("file:").removeprefix("//"))


class WebhookSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[webhooks]`: how deliveries are signed."""

    secret: WebhookSecret | None = None  # whsec_…; for generations that name their own `webhook_url`


class _Sections(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    server: ServerSettings = ServerSettings()
    database: DatabaseSettings = DatabaseSettings()
    providers: Mapping[str, ProviderSettings] = {}
    models: Mapping[str, ModelSettings] = {}
    fetch: FetchSettings = FetchSettings()
    artifacts: ArtifactSettings = ArtifactSettings()
    webhooks: WebhookSettings = WebhookSettings()


class Settings(_Sections, frozen=True, kw_only=True):
    """The whole configuration, checked."""

    file: Path | None = None  # where it came from; None: the environment alone
    warnings: tuple[str, ...] = ()  # what starts, but is hardly meant; each begins with the path of its key

    @property
    def enabled(self) -> dict[str, ProviderSettings]:
        """The providers that take work."""
        return {name: provider for name, provider in self.providers.items() if provider.enabled}


# --- loading ----------------------------------------------------------------------------------------------------------


def load(path: Path | None, environ: Mapping[str, str], providers: Collection[str]) -> Settings:
    """The settings from a file and the environment; `providers` are the names of the installed adapters.

    Without a `path` the variable `VIDEO_GATEWAY_CONFIG` names the file, then `video-gateway.toml` is used where it
    exists. Raises `ConfigurationError`, whose message begins with the path of the key.
    """
    file = _find(path, environ)
    tables = {} if file is None else _parse(file)
    warnings: list[str] = []
    origins = _fill(tables, environ, providers, warnings)
    _check_names(tables, providers)
    _normalise(tables)
    sections = _Reader(environ, origins).table(_Sections, tables, "")
    server = _checked_auth(sections.server, warnings)
    _check_providers(sections.providers, warnings)
    _check_models(sections, providers, warnings)
    return Settings(**{**structs.asdict(sections), "server": server, "file": file, "warnings": tuple(warnings)})


def describe(settings: Settings) -> dict[str, Any]:
    """The settings as plain values for a log, with `***` for every secret; what is not set is left out."""
    described: dict[str, Any] = _plain(settings)
    return described


def _plain(value: object) -> Any:
    match value:
        case Secret():
            return str(value)
        case Struct():
            fields = structs.asdict(value)
            return {
                name: _plain(inner) for name, inner in fields.items() if inner is not None and inner != Secret.of("")
            }
        case Mapping():
            return {name: _plain(inner) for name, inner in value.items()}
        case tuple():
            return [_plain(inner) for inner in value]
        case bool() | int() | float() | str():
            return value
        case _:
            return str(value)


def _find(path: Path | None, environ: Mapping[str, str]) -> Path | None:
    if path is not None:
        return path
    if named := environ.get(CONFIG_VARIABLE):
        return Path(named)
    return Path(CONFIG_FILE) if Path(CONFIG_FILE).exists() else None


def _parse(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise ConfigurationError(f"{file}: the configuration cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{file}: the configuration is not UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        place = re.search(r"\(at [^()]*\)$", str(error))  # the rest of the message may quote the file
        raise ConfigurationError(f"{file}: the configuration is not valid TOML {place[0] if place else ''}") from None
    except RecursionError:
        raise ConfigurationError(f"{file}: the configuration is nested too deeply") from None


def _fill(
    tables: dict[str, Any], environ: Mapping[str, str], providers: Collection[str], warnings: list[str]
) -> dict[str, str]:
    """Puts the environment where the file says nothing; gives the variable of each key filled that way."""
    origins: dict[str, str] = {}

    def fill(table: object, path: str, variable: str, value: object) -> None:
        key = path.rpartition(".")[2]
        if isinstance(table, dict) and key not in table:  # anything but a table is for the reader to refuse
            table[key] = value
            origins[path] = variable

    for variable, (section, key) in ENVIRONMENT.items():
        if value := environ.get(variable):
            fill(tables.setdefault(section, {}), f"{section}.{key}", variable, _as_toml(variable, value))
    accounts = tables.get("providers", {})
    for name in sorted(providers) if isinstance(accounts, dict) else ():
        prefix = re.sub(r"\W", "_", name).upper()
        key_variable, url_variable = f"{prefix}_API_KEY", f"{prefix}_BASE_URL"
        if name not in accounts and environ.get(key_variable):
            accounts = tables.setdefault("providers", {})
            accounts[name] = {}
        if name not in accounts:
            if environ.get(url_variable):
                warnings.append(f"providers.{name}.base_url: {url_variable} is set, but no key turns the provider on")
            continue
        if environ.get(key_variable):
            fill(accounts[name], f"providers.{name}.api_key", key_variable, f"env:{key_variable}")
        if url := environ.get(url_variable):
            fill(accounts[name], f"providers.{name}.base_url", url_variable, url)
    return origins


def _as_toml(variable: str, value: str) -> object:
    """What the file would have for a variable."""
    match variable:
        case "VIDEO_GATEWAY_PORT":
            return int(value) if re.fullmatch(r"[0-9]{1,9}", value) else value
        case "VIDEO_GATEWAY_API_KEY":
            return [f"env:{variable}"]
        case "VIDEO_GATEWAY_WEBHOOK_SECRET":
            return f"env:{variable}"
        case "VIDEO_GATEWAY_ARTIFACTS":  # a folder may come bare; a scheme has two letters at least, a drive has one
            return value if re.match(r"[A-Za-z][A-Za-z0-9]+:", value) else f"file:{value}"
        case _:
            return value


def _check_names(tables: dict[str, Any], providers: Collection[str]) -> None:
    accounts = tables.get("providers")
    for name in accounts if isinstance(accounts, dict) else ():
        if name not in providers:
            raise ConfigurationError(f"{_join('providers', name)}: no such provider; {_near(name, providers)}")


def _normalise(tables: dict[str, Any]) -> None:
    """Short forms to long ones: a list of models to a table; a disabled provider is spared its secrets."""
    accounts = tables.get("providers")
    for name, account in accounts.items() if isinstance(accounts, dict) else ():
        if not isinstance(account, dict):
            continue
        if account.get("enabled") is False:
            account.pop("api_key", None)
            account.pop("headers", None)
        elif "api_key" not in account:
            variable = f"{re.sub(r'[^A-Za-z0-9_]', '_', name).upper()}_API_KEY"
            raise ConfigurationError(f"providers.{name}.api_key: missing; expected env:NAME, file:PATH or {variable}")
        if isinstance(models := account.get("models"), list):
            for place, model in enumerate(models):
                if not isinstance(model, str) or not model:
                    raise ConfigurationError(f"providers.{name}.models[{place}]: expected the name of a model")
            account["models"] = {model: {} for model in models}


Section = TypeVar("Section", bound=Struct)


class _Reader:
    """Reads TOML values as the types of the sections say, and tells the path of what is wrong."""

    def __init__(self, environ: Mapping[str, str], origins: Mapping[str, str]) -> None:
        self._environ = environ
        self._origins = origins

    def table(self, kind: type[Section], raw: object, path: str) -> Section:
        """A section; an unknown key is told with the nearest known one."""
        if not isinstance(raw, dict):
            self._refuse(path, f"expected a table, got {_type_name(raw)}")
        types = get_type_hints(kind, include_extras=True)
        known = structs.fields(kind)
        names = [field.name for field in known]
        for key in raw:
            if key not in names:
                self._refuse(_join(path, key), f"unknown key; {_near(key, names)}")
        for field in known:
            if field.required and field.name not in raw:
                self._refuse(_join(path, field.name), "missing")
        return kind(**{key: self.value(types[key], value, _join(path, key)) for key, value in raw.items()})

    def value(self, kind: Any, raw: object, path: str) -> Any:
        """A value of the type that a section names."""
        origin, arguments = get_origin(kind), get_args(kind)
        if origin is Annotated:
            for mark in arguments[1:]:
                if isinstance(mark, Read):
                    try:
                        return mark.of(raw, self)
                    except ValueError as error:
                        self._refuse(path, str(error))
        if origin in {Union, UnionType}:
            (only,) = (argument for argument in arguments if argument is not NoneType)
            return self.value(only, raw, path)
        if origin is Literal:
            if raw not in arguments:
                self._refuse(path, f"expected {' or '.join(json.dumps(argument) for argument in arguments)}")
            return raw
        if origin is Mapping:
            if not isinstance(raw, dict):
                self._refuse(path, f"expected a table, got {_type_name(raw)}")
            return {key: self.value(arguments[1], value, _join(path, key)) for key, value in raw.items()}
        if origin is tuple:
            if not isinstance(raw, list):
                self._refuse(path, f"expected an array, got {_type_name(raw)}")
            return tuple(self.value(arguments[0], value, f"{path}[{place}]") for place, value in enumerate(raw))
        if isinstance(kind, type) and issubclass(kind, Struct):
            return self.table(kind, raw, path)
        try:
            return msgspec.convert(raw, kind)
        except msgspec.ValidationError as error:
            told, _, inner = str(error).partition(" - at `$")
            self._refuse(path + inner.rstrip("`"), told[:1].lower() + told[1:])

    def secret(self, raw: object) -> Secret:
        """The secret that `env:NAME` or `file:PATH` names, without one newline at its end."""
        scheme, _, name = raw.partition(":") if isinstance(raw, str) else ("", "", "")
        if scheme == "env" and re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            found = self._environ.get(name, "")
            # A key pasted where the name of its variable belongs is not repeated: names are in capitals.
            place = (
                f"the variable {name}" if re.fullmatch(r"[A-Z_][A-Z0-9_]{0,63}", name) else "the variable named here"
            )
        elif scheme == "file" and name:
            place = "the file named here"
            try:
                found = Path(name).read_text("utf-8")
            except OSError as error:
                raise ValueError(f"missing: {place} cannot be read: {error.strerror}") from None
            except ValueError:  # also a path with a null character
                raise ValueError(f"missing: {place} is not UTF-8 text") from None
        else:
            raise ValueError("expected env:NAME or file:PATH; a secret does not stand in the file itself")
        found = re.sub(r"\r?\n\Z", "", found, count=1)
        if not found:
            raise ValueError(f"missing: {place} is not set or empty")
        return Secret.of(found)

    def _refuse(self, path: str, told: str) -> NoReturn:
        variable = self._origins.get(path.partition("[")[0])
        raise ConfigurationError(f"{path}: {told}" + (f" (from {variable})" if variable else "")) from None


def _join(path: str, key: str) -> str:
    shown = key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else json.dumps(key, ensure_ascii=False)
    return f"{path}.{shown}" if path else shown


def _near(name: str, known: Collection[str]) -> str:
    if near := difflib.get_close_matches(name, known, n=1):
        return f'did you mean "{near[0]}"?'
    return f"known are {', '.join(sorted(known))}" if known else "none is known"


def _type_name(raw: object) -> str:
    names = {bool: "a boolean", int: "an integer", float: "a float", str: "a string", list: "an array", dict: "a table"}
    return names.get(type(raw), "a date or time")


# --- rules across keys ------------------------------------------------------------------------------------------------


def _checked_auth(server: ServerSettings, warnings: list[str]) -> ServerSettings:
    """The server with its `auth` decided."""
    if len(set(server.api_keys)) < len(server.api_keys):
        twin = next(place for place, key in enumerate(server.api_keys) if key in server.api_keys[:place])
        raise ConfigurationError(f"server.api_keys[{twin}]: the same key stands there twice")
    auth = server.auth or ("keys" if server.api_keys else "none")
    if auth == "keys" and not server.api_keys:
        raise ConfigurationError('server.auth: "keys" needs server.api_keys, or the variable VIDEO_GATEWAY_API_KEY')
    if auth == "none" and not is_loopback(server.host):
        raise ConfigurationError(
            'server.auth: "none" is allowed on a loopback host only; set server.api_keys or VIDEO_GATEWAY_API_KEY'
        )
    if auth == "none" and server.api_keys:
        warnings.append('server.auth: "none" lets everybody in; server.api_keys are not asked for')
    return structs.replace(server, auth=auth)


def _check_providers(accounts: Mapping[str, ProviderSettings], warnings: list[str]) -> None:
    if not any(account.enabled for account in accounts.values()):
        warnings.append("providers: none is configured; no generation can be made")
    for name, account in accounts.items():
        path = f"providers.{name}"
        _check_intervals(account, path)
        for model, said in account.models.items():
            _check_intervals(said, _join(f"{path}.models", model))
        for header in account.headers:
            if not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", header):
                raise ConfigurationError(f"{_join(path + '.headers', header)}: expected the name of a header")
            if header.lower() in OWN_HEADERS:
                raise ConfigurationError(f"{_join(path + '.headers', header)}: the gateway sets this header itself")
        url = urlsplit(account.base_url or "")
        if account.enabled and url.scheme == "http" and not is_loopback(url.hostname or ""):
            warnings.append(f"{path}.base_url: http; the key and every prompt travel unencrypted to {url.hostname}")


def _check_intervals(said: PollingSettings, path: str) -> None:
    interval, ceiling = said.poll_seconds, said.poll_max_seconds
    if interval is not None and ceiling is not None and ceiling < interval:
        raise ConfigurationError(f"{path}.poll_max_seconds: expected at least poll_seconds")


def _check_models(sections: _Sections, providers: Collection[str], warnings: list[str]) -> None:
    for name, model in sections.models.items():
        path = _join("models", name)
        if not name.strip() or name.partition("/")[0] in providers:
            raise ConfigurationError(f"{path}: expected a name of its own, not that of a provider's model")
        for place, route in enumerate(model.routes):
            for told in _wrong_with(route, providers):
                raise ConfigurationError(f"{path}.routes[{place}]: {told}")
            if route in model.routes[:place]:
                raise ConfigurationError(f"{path}.routes[{place}]: the same route stands there twice")
            provider = route.partition("/")[0]
            if provider not in sections.providers or not sections.providers[provider].enabled:
                warnings.append(
                    f"{path}.routes[{place}]: the provider {provider} is not configured; the route is left out"
                )


def _wrong_with(route: str, providers: Collection[str]) -> Iterator[str]:
    provider, _, upstream = route.partition("/")
    if not provider or not upstream:
        yield 'expected "PROVIDER/MODEL"'
    elif provider not in providers:
        yield f"no such provider; {_near(provider, providers)}"
