"""How TOML becomes frozen Structs: exactly, with the path of whatever is wrong, and without ever showing a value.

A section is a Struct. A field's type is plain, with `Meta` limits, or `Annotated[…, Read(function)]`; a `Secret` stands
in the file as `env:NAME` or `file:PATH`. No message shows a value: it might be a misplaced secret.
"""

import difflib
import ipaddress
import json
import re
import tomllib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NoReturn, Self, TypeVar, Union, get_args, get_origin, get_type_hints
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct, structs

from gateway.domain.errors import ConfigurationError


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


def parse(file: Path) -> dict[str, Any]:
    """The tables of a file; `ConfigurationError` when it cannot be read or is no TOML."""
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


def describe(settings: Struct) -> dict[str, Any]:
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


# --- the reader -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Read:
    """Marks a type with the function that reads it from TOML; it raises `ValueError` with what was expected."""

    of: Callable[[object, "Reader"], object]


Section = TypeVar("Section", bound=Struct)


class Reader:
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
                self._refuse(join(path, key), f"unknown key; {near(key, names)}")
        for field in known:
            if field.required and field.name not in raw:
                self._refuse(join(path, field.name), "missing")
        return kind(**{key: self.value(types[key], value, join(path, key)) for key, value in raw.items()})

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
            return {key: self.value(arguments[1], value, join(path, key)) for key, value in raw.items()}
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


def join(path: str, key: str) -> str:
    """The path of a key, quoted where TOML would quote it."""
    shown = key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else json.dumps(key, ensure_ascii=False)
    return f"{path}.{shown}" if path else shown


def near(name: str, known: Collection[str]) -> str:
    """A hint at the known name that an unknown one is nearest to, or at all that are known."""
    if found := difflib.get_close_matches(name, known, n=1):
        return f'did you mean "{found[0]}"?'
    return f"known are {', '.join(sorted(known))}" if known else "none is known"


def _type_name(raw: object) -> str:
    names = {bool: "a boolean", int: "an integer", float: "a float", str: "a string", list: "an array", dict: "a table"}
    return names.get(type(raw), "a date or time")


# --- how single values are read ---------------------------------------------------------------------------------------


def plain_text(raw: object) -> str:
    """The value when it is a string."""
    if not isinstance(raw, str):
        raise ValueError(f"expected a string, got {_type_name(raw)}")  # noqa: TRY004  # one error for all wrong values
    return raw


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine's own."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _http_url(raw: object, _: "Reader") -> str:
    url = plain_text(raw)
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


def _host(raw: object, _: "Reader") -> str:
    host = plain_text(raw)
    if ":" in host:
        try:
            return str(ipaddress.IPv6Address(host))
        except ValueError:
            raise ValueError("expected a host name or an address, without a port and without brackets") from None
    if not re.fullmatch(r"[A-Za-z0-9_.-]+", host):
        raise ValueError("expected a host name or an address")
    return host


def _network(raw: object, _: "Reader") -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(plain_text(raw))
    except ValueError:
        raise ValueError('expected a network such as "10.1.0.0/16", without host bits, or one address') from None


def in_header(raw: object, reader: "Reader") -> Secret:
    """A secret that can be sent as, or in, the value of a header."""
    secret = reader.secret(raw)
    if not re.fullmatch(r"[\x21-\x7e]+", secret.reveal()):
        raise ValueError("expected printable ASCII characters without spaces")
    return secret


def _header_value(raw: object, reader: "Reader") -> Secret:
    value = plain_text(raw)
    secret = reader.secret(value) if value.startswith(("env:", "file:")) else Secret.of(value)
    if not re.fullmatch(r"(?:[\x21-\x7e](?:[\x20-\x7e\t]*[\x21-\x7e])?)?", secret.reveal()):
        raise ValueError("expected printable ASCII characters, with no space at either end")
    return secret


HttpUrl = Annotated[str, Read(_http_url)]
Host = Annotated[str, Read(_host)]
Network = Annotated[ipaddress.IPv4Network | ipaddress.IPv6Network, Read(_network)]
HeaderValue = Annotated[Secret, Read(_header_value)]
