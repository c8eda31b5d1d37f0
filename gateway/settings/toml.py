"""Reads TOML into frozen Structs, strictly: an unknown key or a wrong type is a fault with the path of the key.

A section is a Struct. A field's type is plain, with `Meta` limits, or `Annotated[…, TomlValue(function)]`. The file
names a `Secret` as `env:NAME` or `file:PATH`. No message shows a value: it might be a secret in the wrong place.
"""

import difflib
import ipaddress
import json
import re
import tomllib
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NoReturn, Self, TypeVar, Union, get_args, get_origin, get_type_hints
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct, structs

from gateway.domain.errors import ConfigurationError
from gateway.domain.keyless_access import origin_of


class Secret(Struct, frozen=True, eq=False, dict=True):
    """A key that is never printed: `str`, `repr` and any encoder give `***`. Only `reveal` gives the key."""

    shown: str = "***"  # the only field, so an encoder writes nothing else

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
        raise TypeError("a secret cannot be pickled")


class Identifier(Secret, frozen=True, eq=False, dict=True):
    """The public half of a pair of keys: read like a secret, but others see it, so nothing hides it in what they get.

    The access key of a Kling key is in every JWT, and that of a bucket in every signed link to a file, which would lead
    nowhere without it.
    """


def parse(file: Path) -> dict[str, Any]:
    """The tables of a file. Raises `ConfigurationError` if it cannot be read or is not TOML."""
    try:
        return tomllib.loads(file.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise ConfigurationError(f"{file}: the configuration cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{file}: the configuration is not UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        position = re.search(r"\(at [^()]*\)$", str(error))  # the rest of the message may quote the file
        raise ConfigurationError(
            f"{file}: the configuration is not valid TOML {position[0] if position else ''}"
        ) from None
    except RecursionError:
        raise ConfigurationError(f"{file}: the configuration is nested too deeply") from None


def describe(settings: Struct) -> dict[str, Any]:
    """The settings as plain values for a log, with `***` for every secret. Keys that are not set are left out."""
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


# --- the reader -------------------------------------------------------------------------------------------------------

KeyPath = tuple[str | int, ...]  # the way to a value: names of tables and keys, and positions in arrays


class Fault(Struct, frozen=True):
    """One error in the configuration, which stops a start. `str` gives the whole message for the operator."""

    keys: KeyPath  # of the wrong value; empty if the file as a whole cannot be read
    message: str  # what was expected there, and what to do
    inside: str = ""  # the rest of the path, if the error is within the value, for example `[1]`
    variable: str | None = None  # the environment variable that the value comes from

    def __str__(self) -> str:
        """`server.port: expected …`, with the variable if the value came from one."""
        origin = f" (from {self.variable})" if self.variable else ""
        path = show_path(self.keys) + self.inside
        return f"{path}: {self.message}{origin}" if path else self.message


class InvalidValue(Exception):
    """A value is wrong. Its fault is already in the list of the reader, so the table around it is read without it."""


@dataclass(frozen=True, slots=True)
class TomlValue:
    """Marks a type with the function that reads it from TOML; it raises `ValueError` with what was expected."""

    of: Callable[[object, "TomlReader"], object]


Section = TypeVar("Section", bound=Struct)


class TomlReader:
    """Reads TOML values as the types of the sections demand, and collects every fault instead of stopping at the first.

    A wrong value is left out, so its key has its default in the section that is returned: such a section is of use only
    to look for further faults. `origins` names the environment variable of each key that was filled from one.
    """

    def __init__(self, environ: Mapping[str, str], origins: Mapping[KeyPath, str]) -> None:
        self.faults: list[Fault] = []
        self._environ = environ
        self._origins = origins

    def report(self, keys: KeyPath, message: str, inside: str = "") -> None:
        """Add a fault."""
        place = next((index for index, key in enumerate(keys) if isinstance(key, int)), len(keys))
        self.faults.append(Fault(keys, message, inside, self._origins.get(keys[:place])))

    def has_faults(self, *keys: str | int) -> bool:
        """Whether a fault was found at this path or below it."""
        return any(fault.keys[: len(keys)] == keys for fault in self.faults)

    def table(self, kind: type[Section], raw: object, path: KeyPath) -> Section:
        """A section; an unknown key is reported with the nearest existing one.

        Raises `InvalidValue` if `raw` is not a table, or a required key is missing or wrong.
        """
        if not isinstance(raw, dict):
            self._refuse(path, f"expected a table, got {_type_name(raw)}")
        types = get_type_hints(kind, include_extras=True)
        fields = structs.fields(kind)
        names = [field.name for field in fields]
        for key in raw:
            if key not in names:
                self.report((*path, key), f"unknown key; {nearest(key, names)}")
        required = [field.name for field in fields if field.required]
        for name in required:
            if name not in raw:
                self.report((*path, name), "missing")
        values = self._entries({key: (types[key], value) for key, value in raw.items() if key in names}, path)
        if not values.keys() >= set(required):
            raise InvalidValue
        return kind(**values)

    def value(self, kind: Any, raw: object, path: KeyPath) -> Any:
        """A value of the type that a section names. Raises `InvalidValue` if it is wrong."""
        origin, arguments = get_origin(kind), get_args(kind)
        if origin is Annotated:
            for mark in arguments[1:]:
                if isinstance(mark, TomlValue):
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
            return self._entries({key: (arguments[1], value) for key, value in raw.items()}, path)
        if origin is tuple:
            if not isinstance(raw, list):
                self._refuse(path, f"expected an array, got {_type_name(raw)}")
            items = {place: (arguments[0], item) for place, item in enumerate(raw)}
            return tuple(self._entries(items, path).values())
        if isinstance(kind, type) and issubclass(kind, Struct):
            return self.table(kind, raw, path)
        try:
            return msgspec.convert(raw, kind)
        except msgspec.ValidationError as error:
            message, _, inside = str(error).partition(" - at `$")
            self._refuse(path, message[:1].lower() + message[1:], inside.rstrip("`"))

    def secret(self, raw: object) -> Secret:
        """The secret that `env:NAME` or `file:PATH` names, without a newline at its end. Raises `ValueError`."""
        scheme, _, name = raw.partition(":") if isinstance(raw, str) else ("", "", "")
        if scheme == "env" and re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            value = self._environ.get(name, "")
            # Names of variables are in capitals. Anything else may be the key itself, pasted here: it is not repeated.
            source = (
                f"the variable {name}" if re.fullmatch(r"[A-Z_][A-Z0-9_]{0,63}", name) else "the variable named here"
            )
        elif scheme == "file" and name:
            source = "the file named here"
            try:
                value = Path(name).read_text("utf-8")
            except OSError as error:
                raise ValueError(f"missing: {source} cannot be read: {error.strerror}") from None
            except ValueError:  # also raised for a path with a null character
                raise ValueError(f"missing: {source} is not UTF-8 text") from None
        else:
            raise ValueError("expected env:NAME or file:PATH; do not write the secret itself into the file")
        value = re.sub(r"\r?\n\Z", "", value, count=1)
        if not value:
            raise ValueError(f"missing: {source} is not set or empty")
        return Secret.of(value)

    def _entries(self, entries: Mapping[Any, tuple[Any, object]], path: KeyPath) -> dict[Any, Any]:
        """The values of a table or an array, by key or position; those that are wrong are left out."""
        values: dict[Any, Any] = {}
        for key, (kind, raw) in entries.items():
            with suppress(InvalidValue):
                values[key] = self.value(kind, raw, (*path, key))
        return values

    def _refuse(self, path: KeyPath, message: str, inside: str = "") -> NoReturn:
        self.report(path, message, inside)
        raise InvalidValue from None


def show_path(keys: KeyPath) -> str:
    """A path as an operator reads it, `models."a b".routes[1]`: keys are quoted where TOML would quote them."""
    path = ""
    for key in keys:
        if isinstance(key, int):
            path += f"[{key}]"
            continue
        name = key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else json.dumps(key, ensure_ascii=False)
        path += f".{name}" if path else name
    return path


def nearest(name: str, names: Collection[str]) -> str:
    """A hint for an unknown name: the existing one that is most like it, or all that exist."""
    if matches := difflib.get_close_matches(name, names, n=1):
        return f'did you mean "{matches[0]}"?'
    return f"expected one of {', '.join(sorted(names))}" if names else "no other name exists"


def _type_name(raw: object) -> str:
    names = {bool: "a boolean", int: "an integer", float: "a float", str: "a string", list: "an array", dict: "a table"}
    return names.get(type(raw), "a date or time")


# --- how single values are read ---------------------------------------------------------------------------------------


def plain_text(raw: object) -> str:
    """The value. Raises `ValueError` if it is not a string."""
    if not isinstance(raw, str):
        raise ValueError(f"expected a string, got {_type_name(raw)}")  # noqa: TRY004  # the reader expects `ValueError` for every wrong value
    return raw


def _http_url(raw: object, _: "TomlReader") -> str:
    url = plain_text(raw)
    expected = "expected an http(s) URL without credentials, query and fragment"
    try:
        parts = urlsplit(url)
        is_port_zero = parts.port == 0
    except ValueError:
        raise ValueError(expected) from None
    is_plain = re.fullmatch(r"[\x21-\x7e]+", url) and not {"@", "?", "#", "\\"} & set(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or is_port_zero or not is_plain:
        raise ValueError(expected)
    return url.rstrip("/")


def _origin(raw: object, _: "TomlReader") -> str:
    expected = "expected an origin without a path, such as https://app.example.com; name each one, without wildcards"
    text = plain_text(raw)
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise ValueError(expected) from None
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    origin = f"{parts.scheme}://{host}{'' if port is None else f':{port}'}"
    is_plain = re.fullmatch(r"[a-z]+://(?:[a-z0-9_.-]+|\[[0-9a-f:.]+\])(?::[0-9]+)?", origin) is not None
    if parts.scheme not in {"http", "https"} or not is_plain or text.lower() != origin:
        raise ValueError(expected)
    return origin_of(origin)


def _host(raw: object, _: "TomlReader") -> str:
    host = plain_text(raw)
    if ":" in host:
        try:
            return str(ipaddress.IPv6Address(host))
        except ValueError:
            raise ValueError("expected a host name or an address, without a port and without brackets") from None
    if not re.fullmatch(r"[A-Za-z0-9_.-]+", host):
        raise ValueError("expected a host name or an address")
    return host


def _network(raw: object, _: "TomlReader") -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(plain_text(raw))
    except ValueError:
        raise ValueError('expected a network such as "10.1.0.0/16", without host bits, or one address') from None


def header_secret(raw: object, reader: "TomlReader") -> Secret:
    """A secret that can be sent in the value of a header. Raises `ValueError` if it cannot."""
    secret = reader.secret(raw)
    if not re.fullmatch(r"[\x21-\x7e]+", secret.reveal()):
        raise ValueError("expected printable ASCII characters without spaces")
    return secret


def _header_value(raw: object, reader: "TomlReader") -> Secret:
    value = plain_text(raw)
    secret = reader.secret(value) if value.startswith(("env:", "file:")) else Secret.of(value)
    if not re.fullmatch(r"(?:[\x21-\x7e](?:[\x20-\x7e\t]*[\x21-\x7e])?)?", secret.reveal()):
        raise ValueError("expected printable ASCII characters, with no space at either end")
    return secret


HttpUrl = Annotated[str, TomlValue(_http_url)]
Origin = Annotated[str, TomlValue(_origin)]
Host = Annotated[str, TomlValue(_host)]
Network = Annotated[ipaddress.IPv4Network | ipaddress.IPv6Network, TomlValue(_network)]
HeaderValue = Annotated[Secret, TomlValue(_header_value)]
