"""The shape of a provider's own option, as data: what exactly a client may send in `provider_options`.

An adapter declares one shape for each option of a model (`Capability.options`). So nothing travels to a provider that
the gateway has not read: an unknown field deep in an object, a value of another type and a URL of a private address are
refused at the create, by their path. Pure.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

from gateway.domain.adapter.shown_value import shown

URL_MAX = 8192  # characters
_LINE_BREAKS = frozenset("\t\n\r")

CheckUrl = Callable[[str], str | None]  # what is wrong with a URL, as the end of a sentence: "is not a valid URL"


class FormObject(dict[str, Any]):
    """An object that a form made of names such as `a[b][0]`: its values are texts, and a list has numbers as keys."""


class OptionFault(Exception):
    """A value does not have the shape. `path` leads to it: `provider_options.kling.multi_prompt[0].duration`."""

    def __init__(self, path: str, message: str) -> None:
        super().__init__(message)
        self.path = path
        self.message = message  # a full sentence that names the path and the remedy


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A text of `least` to `most` characters, without control characters except line breaks and tabs."""

    most: int
    least: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """One of a few words. `flags`: the words that false and true mean, for an option that is also sent as a boolean."""

    words: tuple[str, ...]
    flags: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """True or false."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    """A finite number from `least` to `most`."""

    least: float
    most: float
    whole: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Url:
    """The http(s) URL of a public address."""

    or_base64: bool = False  # the provider also takes the bytes of the file as base64, without a `data:` prefix
    most: int = URL_MAX  # characters


@dataclass(frozen=True, slots=True, kw_only=True)
class ListOf:
    """A list whose members all have one shape."""

    of: "Option"
    most: int
    least: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Fields:
    """An object with exactly these fields; those in `required` may not be absent."""

    fields: Mapping[str, "Option"]
    required: frozenset[str] = field(default_factory=frozenset)


Option = Text | Word | Flag | Number | Url | ListOf | Fields


def options_of(given: Mapping[str, Mapping[str, Any]], adapter: str, account: str) -> Mapping[str, Any]:
    """The provider options for one account: those for all accounts of its adapter, and its own, which win."""
    return {**given.get(adapter, {}), **given.get(account, {})}


def read_option(option: Option, value: object, path: str, check_url: CheckUrl) -> Any:
    """The value as it is sent. Raises `OptionFault`.

    Numbers and booleans may be texts, because the parts of a form are.
    """
    match option:
        case Text():
            return _text(option, value, path)
        case Word():
            return _word(option, value, path)
        case Flag():
            flag = value if isinstance(value, bool) else _FLAGS.get(value) if isinstance(value, str) else None
            return _refuse(path, "true or false", value) if flag is None else flag
        case Number():
            return _number(option, value, path)
        case Url():
            return _url(option, value, path, check_url)
        case ListOf():
            return _list(option, value, path, check_url)
        case Fields():
            return _fields(option, value, path, check_url)


def schema_of(option: Option) -> dict[str, Any]:
    """The JSON schema of a shape, for clients."""
    match option:
        case Text(most=most, least=least):
            return {"type": "string", "minLength": least, "maxLength": most}
        case Word(words=words, flags=flags):
            schema: dict[str, Any] = {"type": "string", "enum": list(words)}
            return {"anyOf": [schema, {"type": "boolean"}]} if flags else schema
        case Flag():
            return {"type": "boolean"}
        case Number(least=least, most=most, whole=whole):
            return {"type": "integer" if whole else "number", "minimum": least, "maximum": most}
        case Url(or_base64=or_base64, most=most):
            return {"type": "string", "maxLength": most, **({} if or_base64 else {"format": "uri"})}
        case ListOf(of=of, least=least, most=most):
            return {"type": "array", "items": schema_of(of), "minItems": least, "maxItems": most}
        case Fields(fields=inner, required=required):
            return {
                "type": "object",
                "properties": {name: schema_of(shape) for name, shape in inner.items()},
                "required": sorted(required),
                "additionalProperties": False,
            }


_FLAGS = {"true": True, "false": False, "1": True, "0": False}


def _text(option: Text, value: object, path: str) -> str:
    if not isinstance(value, str) or not option.least <= len(value) <= option.most:
        _refuse(path, f"a string of {option.least} to {option.most} characters", value)
    if any(not char.isprintable() and char not in _LINE_BREAKS and ord(char) < 0xA0 for char in value):
        raise OptionFault(path, f"`{path}` has a control character in it; send printable text.")
    return value


def _word(option: Word, value: object, path: str) -> str:
    if isinstance(value, bool) and option.flags is not None:
        return option.flags[value]
    if not isinstance(value, str) or value not in option.words:
        _refuse(path, " or ".join(f'"{word}"' for word in option.words), value)
    return value


def _number(option: Number, value: object, path: str) -> int | float:
    expected = f"{'a whole' if option.whole else 'a'} number from {option.least:g} to {option.most:g}"
    number = value
    if isinstance(value, str) and len(value) <= 32:
        try:
            number = float(value)
        except ValueError:
            _refuse(path, expected, value)
    if isinstance(number, bool) or not isinstance(number, int | float) or not option.least <= number <= option.most:
        _refuse(path, expected, value)
    if int(number) == number:
        return int(number)
    return _refuse(path, expected, value) if option.whole else number


def _url(option: Url, value: object, path: str, check_url: CheckUrl) -> str:
    expected = "the http(s) URL of a public address" + (", or base64" if option.or_base64 else "")
    if not isinstance(value, str) or not value or len(value) > option.most:
        _refuse(path, expected, value)
    if option.or_base64 and _is_base64(value):
        return value
    if (fault := check_url(value)) is not None:
        raise OptionFault(path, f"`{path}` {fault}; send {expected}.")
    return value


def _is_base64(text: str) -> bool:
    return len(text) >= 64 and not text.strip(_BASE64).strip("=")


_BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


def _list(option: ListOf, value: object, path: str, check_url: CheckUrl) -> list[Any]:
    if isinstance(value, FormObject) and all(key.isascii() and key.isdecimal() for key in value):
        value = [value[key] for key in sorted(value, key=int)]
    if not isinstance(value, list) or not option.least <= len(value) <= option.most:
        _refuse(path, f"a list of {option.least} to {option.most} members", value)
    return [read_option(option.of, member, f"{path}[{place}]", check_url) for place, member in enumerate(value)]


def _fields(option: Fields, value: object, path: str, check_url: CheckUrl) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        _refuse(path, "an object", value)
    names = ", ".join(option.fields)
    for name in value:
        if name not in option.fields:
            where = f"{path}.{str(name)[:64]}"
            raise OptionFault(where, f"`{where}`: this field does not exist; the object takes: {names}.")
    for name in sorted(option.required - value.keys()):
        raise OptionFault(f"{path}.{name}", f"`{path}.{name}` is required; the object takes: {names}.")
    if not value:
        _refuse(path, f"an object with one of {names}", value)
    return {name: read_option(option.fields[name], inner, f"{path}.{name}", check_url) for name, inner in value.items()}


def _refuse(path: str, expected: str, value: object) -> NoReturn:
    raise OptionFault(path, f"`{path}` must be {expected}, not {shown(value)}.")
