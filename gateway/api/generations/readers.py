"""The readers of single values of a create request.

Every reader takes the value as the client sent it and the name that the client used for the field. It returns what the
value means, or None when the value asks for nothing. It raises `InvalidParameter` (400) with a message that names the
field, what the field accepts and what the client sent.
"""

from collections.abc import Mapping

import msgspec

from gateway.api.generations.refusals import refuse
from gateway.api.web.json_body import join
from gateway.domain.adapter.request import Kind
from gateway.domain.errors import InvalidParameter
from gateway.domain.parameters import spellings
from gateway.domain.parameters.dimensions import PLAIN_QUALITIES, QUALITIES, SIDE_MAX, SIDE_MIN, ratio_name
from gateway.domain.parameters.spellings import Size

PROMPT_MAX = 20_000  # characters
OPTIONS_MAX = 16 * 1024  # bytes of `provider_options`, encoded as JSON
SIZE_EXAMPLES = ("1280x720", "720x1280", "1920x1080", "1080x1920", "1024x1024")
# Most requests use one of these canonical names. They are returned as they are, without any parsing.
RESOLUTION_NAMES = frozenset({"480p", "720p", "1080p", "1440p", "4k"})
RATIO_NAMES = frozenset({"16:9", "9:16", "1:1", "4:3", "3:4", "21:9"})
_FORMAT_NAMES = {"jpg": "jpeg"}
_SIDES = f"from {SIDE_MIN} to {SIDE_MAX:,} pixels"


def read_text(value: object, name: str, *, most: int, least: int = 0) -> str:
    """Return a string of `least` to `most` characters as it is."""
    length = "" if least == 0 else "non-empty "
    if not isinstance(value, str) or not least <= len(value) <= most:
        refuse(name, f"a {length}string of at most {most:,} characters", value)
    return value


def read_model(value: object, name: str) -> str:
    """Return the name of a model without the white space around it."""
    return read_text(spellings.trim(value) if isinstance(value, str) else value, name, least=1, most=256)


def read_negative_prompt(value: object, name: str) -> str | None:
    """Return the text as it is, or None when it is blank."""
    text = read_text(value, name, most=PROMPT_MAX)
    return None if spellings.is_empty(text) else text


def read_boolean(value: object, name: str) -> bool:
    """Read true and false, also as a number or a word."""
    boolean = spellings.boolean(value)
    if boolean is None:
        refuse(name, "true or false", value)
    return boolean


def read_integer(value: object, name: str, *, low: int, high: int, units: frozenset[str] = frozenset()) -> int:
    """Read a whole number from `low` to `high`, also as text, with one of `units` after it or without a unit."""
    number = spellings.number(value, units)
    if not isinstance(number, int) or not low <= number <= high:
        refuse(name, f"a whole number from {low} to {high}", value)
    return number


def read_duration(value: object, name: str) -> int | float | None:
    """Read a number of seconds.

    Fractions are accepted here. With `"adapt": "nearest"` a route may take the nearest whole number, otherwise the plan
    refuses the fraction.
    """
    seconds = spellings.number(value, spellings.UNITS_OF_TIME)
    if seconds is None or not 1 <= seconds <= 3600:
        if spellings.is_unasked(value):
            return None
        refuse(name, "a number of seconds from 1 to 3600", value)
    return seconds


def read_number(value: object, name: str) -> float:
    """Read any finite number, also as text."""
    number = spellings.number(value)
    if number is None:
        refuse(name, "a number", value)
    return float(number) + 0.0  # turns -0.0 into 0.0: the two would make requests that do not count as equal


def read_max_cost(value: object, name: str) -> float:
    """Read an amount in USD above 0."""
    cost = read_number(value, name)
    if cost <= 0:
        refuse(name, "a number over 0, in USD", value)
    return cost


def read_choice(value: object, name: str, *, choices: tuple[str, ...]) -> str:
    """Return one of `choices`, which the client may write in any case."""
    word = spellings.choice(value) if isinstance(value, str) else ""
    if word not in choices:
        refuse(name, f"one of {', '.join(choices)}", value)
    return word


def read_resolution(value: object, name: str) -> str | Size | None:
    """Return the canonical name of a resolution, or the frame in pixels where the client gave one.

    A frame says an aspect ratio as well, which the caller uses where nothing else says it.
    """
    if isinstance(value, str) and value in RESOLUTION_NAMES:
        return value
    resolution = spellings.size(value) or spellings.resolution(value)
    if resolution is None and not spellings.is_unasked(value):
        refuse(name, "a resolution such as 720p, 1080p or 4k", value, _likely_meaning(value, name, "resolution"))
    return resolution


def read_quality(value: object, name: str) -> str | None:
    """Return the quality of an image: `1K`, `2K` or `4K`, or one of OpenAI's words in lower case.

    `PLAIN_QUALITIES` has what OpenAI's words mean. They are not replaced here, because beside a `size` they ask for
    nothing.
    """
    word = spellings.choice(value)
    if word.upper() in QUALITIES:
        return word.upper()
    if word in PLAIN_QUALITIES:
        return word
    if not spellings.is_unasked(value):
        refuse(name, f"one of {', '.join((*QUALITIES, *PLAIN_QUALITIES))} or auto", value)
    return None


def read_image_format(value: object, name: str) -> str:
    """Return the name of a format of images: `png`, `jpeg` or `webp`."""
    word = spellings.choice(value)
    return _FORMAT_NAMES.get(word) or read_choice(value, name, choices=("png", "jpeg", "webp"))


def read_aspect_ratio(value: object, name: str) -> str | None:
    """Return the canonical name of a ratio of width to height."""
    if isinstance(value, str) and value in RATIO_NAMES:
        return value
    ratio = spellings.ratio(value)
    if ratio is None:
        if spellings.is_unasked(value):
            return None
        accepted = "a ratio of width to height such as 16:9, 9:16 or 1:1"
        refuse(name, accepted, value, _likely_meaning(value, name, "aspect_ratio"))
    return ratio_name(ratio)


def read_size(value: object, name: str) -> Size | None:
    """Read a frame in pixels."""
    size = spellings.size(value)
    if size is None and not spellings.is_unasked(value):
        accepted = f"WIDTHxHEIGHT, each {_SIDES}, such as {', '.join(SIZE_EXAMPLES)}"
        refuse(name, accepted, value, _likely_meaning(value, name, "size"))
    return size


def _likely_meaning(value: object, name: str, field: str) -> str | None:
    """Return what the client probably meant by an unreadable value, and the field that such a value belongs in."""
    likely = spellings.likely_shape(value)
    if likely is None:
        return None
    right_field, text = likely
    return f"`{text}`" if right_field == field else f"`{right_field}` {text} in place of `{name}`"


def read_mode(value: object, name: str) -> str:
    """Return the name of a provider's quality mode in lower case."""
    mode = spellings.mode(value)
    if mode is None:
        refuse(name, "a non-empty string of at most 32 characters, such as std or pro", value)
    return mode


def read_fallback(value: object, name: str) -> bool | tuple[str, ...]:
    """Read true, false, or a list of models. Each model counts once, and an empty list means false."""
    boolean = spellings.boolean(value)
    if boolean is not None:
        return boolean
    if not isinstance(value, list) or len(value) > 16:
        refuse(name, "true, false or a list of at most 16 models", value)
    models = dict.fromkeys(read_model(model, f"{name}[{index}]") for index, model in enumerate(value))
    return tuple(models) or False


def read_stream(value: object, name: str, *, kind: Kind = "video") -> None:
    """Accept `false` only: the answer to a create is never a stream."""
    if spellings.boolean(value) is not False:
        remedy = f"read the events of a generation at GET /v1/{kind}s/generations/{{id}}/events"
        raise InvalidParameter(f"`{name}` can only be false here; {remedy}.", param=name)


def read_response_format(value: object, name: str) -> None:
    """Accept `url` only: the answer always gives the URL of a result."""
    if not isinstance(value, str) or spellings.choice(value) != "url":
        reason = "the answer gives the URL of each result in `data[].url`"
        raise InvalidParameter(f"`{name}` can only be `url`: {reason}.", param=name)


def read_image_response_format(value: object, name: str) -> str:
    """Return how an answer shows an image: `url` or `b64_json`."""
    return read_choice(value, name, choices=("url", "b64_json"))


def read_fixed(value: object, name: str, *, accepted: tuple[str | int, ...], reason: str) -> None:
    """Accept only the values that ask for what happens anyway; `reason` says why no other value is accepted."""
    if spellings.is_unasked(value):
        return
    number, word = spellings.number(value), spellings.choice(value)
    if number not in accepted and word not in accepted:
        can_be = " or ".join(f"`{text}`" for text in accepted)
        raise InvalidParameter(f"`{name}` can only be {can_be} here: {reason}.", param=name)


def _object(value: object, name: str) -> Mapping[str, object]:
    """Return a JSON object as it is, with the members that are null.

    Null means "absent" only for the fields of the body itself.
    """
    if not isinstance(value, Mapping):
        refuse(name, "an object", value)
    return value


def read_provider_options(value: object, name: str) -> dict[str, Mapping[str, object]]:
    """Read `{provider: {option: value}}`. Whether the provider and its options exist is checked by the planner."""
    value = {} if value == [] else value  # PHP encodes an empty object as a list
    options: dict[str, Mapping[str, object]] = {}
    for provider, provider_value in _object(value, name).items():
        path = join(name, provider)
        given = _object(provider_value, path)
        for option, option_value in given.items():
            if option_value is None:  # no provider uses null, and an adapter would take it for an absent option
                refuse(join(path, option), "a value, or be left out", None)
        if given:
            options[provider] = given
    if (size := len(msgspec.json.encode(options))) > OPTIONS_MAX:
        message = f"`{name}` must be at most {OPTIONS_MAX // 1024} KB of JSON, not {size:,} bytes."
        raise InvalidParameter(message, param=name)
    return options


def read_metadata(value: object, name: str) -> dict[str, str]:
    """Read an object of at most 16 strings."""
    pairs = _object({} if value == [] else value, name)  # PHP encodes an empty object as a list
    if len(pairs) > 16:
        raise InvalidParameter(f"`{name}` must have at most 16 pairs, not {len(pairs)}.", param=name)
    for key in pairs:
        if not 1 <= len(key) <= 64:
            raise InvalidParameter(f"A key of `{name}` must have 1 to 64 characters, not {len(key)}.", param=name)
    return {key: read_text(text, join(name, key), most=512) for key, text in pairs.items()}
