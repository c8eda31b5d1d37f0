"""How a single field of a create request is read: a value as it came and the name it came under → what it means.

A reader gives None for "not asked" and raises a 400 that names the field, what is accepted and what came.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec

from gateway.api.generations.image_values import read_image, read_images
from gateway.api.generations.refusals import refuse
from gateway.api.web.json_body import join
from gateway.domain.errors import InvalidParameter
from gateway.domain.parameters import spellings
from gateway.domain.parameters.dimensions import SIDE_MAX, SIDE_MIN, ratio_name
from gateway.domain.parameters.spellings import Size
from gateway.domain.public_addresses import Network, addresses_of, is_allowed, port_is_open, refusal
from gateway.fetch.fetcher import FetchRefused, Target, target_of
from gateway.fetch.urls import url_fault

PROMPT_MAX = 20_000
OPTIONS_MAX = 16 * 1024  # bytes, encoded
WEBHOOK_URL_MAX = 2048
SIZE_EXAMPLES = ("1280x720", "720x1280", "1920x1080", "1080x1920", "1024x1024")
# Their own names, which most requests have: nothing is left to read in them.
RESOLUTION_NAMES = frozenset({"480p", "720p", "1080p", "1440p", "4k"})
RATIO_NAMES = frozenset({"16:9", "9:16", "1:1", "4:3", "3:4", "21:9"})
_SIDES = f"from {SIDE_MIN} to {SIDE_MAX:,} pixels"


def _text(value: object, name: str, *, most: int, least: int = 0) -> str:
    length = "" if least == 0 else "non-empty "
    if not isinstance(value, str) or not least <= len(value) <= most:
        refuse(name, f"a {length}string of at most {most:,} characters", value)
    return value


def _model(value: object, name: str) -> str:
    return _text(spellings.trim(value) if isinstance(value, str) else value, name, least=1, most=256)


def _negative_prompt(value: object, name: str) -> str | None:
    text = _text(value, name, most=PROMPT_MAX)
    return None if spellings.is_empty(text) else text


def _boolean(value: object, name: str) -> bool:
    read = spellings.boolean(value)
    if read is None:
        refuse(name, "true or false", value)
    return read


def _whole(value: object, name: str, *, low: int, high: int, units: frozenset[str] = frozenset()) -> int:
    read = spellings.number(value, units)
    if not isinstance(read, int) or not low <= read <= high:
        refuse(name, f"a whole number from {low} to {high}", value)
    return read


def _duration(value: object, name: str) -> int | float | None:
    """Seconds: a fraction of a second is left to the routes, of which one may be allowed to take the nearest."""
    read = spellings.number(value, spellings.UNITS_OF_TIME)
    if read is None or not 1 <= read <= 3600:
        if spellings.is_unasked(value):
            return None
        refuse(name, "a number of seconds from 1 to 3600", value)
    return read


def _number(value: object, name: str) -> float:
    read = spellings.number(value)
    if read is None:
        refuse(name, "a number", value)
    return float(read) + 0.0  # the sum has no negative zero, which would be another request


def _cost(value: object, name: str) -> float:
    cost = _number(value, name)
    if cost <= 0:
        refuse(name, "a number over 0, in USD", value)
    return cost


def _choice(value: object, name: str, *, choices: tuple[str, ...]) -> str:
    word = spellings.choice(value) if isinstance(value, str) else ""
    if word not in choices:
        refuse(name, f"one of {', '.join(choices)}", value)
    return word


def _resolution(value: object, name: str) -> str | Size | None:
    """Its name; a frame in pixels says a shape, too."""
    if isinstance(value, str) and value in RESOLUTION_NAMES:
        return value
    read = spellings.size(value) or spellings.resolution(value)
    if read is None and not spellings.is_unasked(value):
        refuse(name, "a resolution such as 720p, 1080p or 4k", value, _meant(value, name, "resolution"))
    return read


def _ratio(value: object, name: str) -> str | None:
    if isinstance(value, str) and value in RATIO_NAMES:
        return value
    read = spellings.ratio(value)
    if read is None:
        if spellings.is_unasked(value):
            return None
        accepted = "a ratio of width to height such as 16:9, 9:16 or 1:1"
        refuse(name, accepted, value, _meant(value, name, "aspect_ratio"))
    return ratio_name(read)


def _size(value: object, name: str) -> Size | None:
    read = spellings.size(value)
    if read is None and not spellings.is_unasked(value):
        accepted = f"WIDTHxHEIGHT, each {_SIDES}, such as {', '.join(SIZE_EXAMPLES)}"
        refuse(name, accepted, value, _meant(value, name, "size"))
    return read


def _meant(value: object, name: str, field: str) -> str | None:
    """What a value that cannot be read as this field's is likely to mean, and in which field it belongs."""
    likely = spellings.likely_shape(value)
    if likely is None:
        return None
    belongs, text = likely
    return f"`{text}`" if belongs == field else f"`{belongs}` {text} in place of `{name}`"


def _mode(value: object, name: str) -> str:
    read = spellings.mode(value)
    if read is None:
        refuse(name, "a non-empty string of at most 32 characters, such as std or pro", value)
    return read


def _fallback(value: object, name: str) -> bool | tuple[str, ...]:
    """A list keeps each model once; an empty one leaves nothing to fall back to."""
    read = spellings.boolean(value)
    if read is not None:
        return read
    if not isinstance(value, list) or len(value) > 16:
        refuse(name, "true, false or a list of at most 16 models", value)
    models = dict.fromkeys(_model(model, f"{name}[{index}]") for index, model in enumerate(value))
    return tuple(models) or False


def _stream(value: object, name: str) -> None:
    """Nothing is streamed in the answer to a create, so `false` asks for what happens anyway."""
    if spellings.boolean(value) is not False:
        message = "the events of a generation are at GET /v1/videos/generations/{id}/events"
        raise InvalidParameter(f"`{name}` can only be false here: {message}.", param=name)


def _response_format(value: object, name: str) -> None:
    """The answer always names the URL of a result, so `url` asks for what happens anyway."""
    if not isinstance(value, str) or spellings.choice(value) != "url":
        message = "a result is a file behind the URL in `data[].url`"
        raise InvalidParameter(f"`{name}` can only be `url`: {message}.", param=name)


def _object(value: object, name: str) -> Mapping[str, object]:
    """Its members as they came, nulls among them: only a field of the body itself is absent when it is null."""
    if not isinstance(value, Mapping):
        refuse(name, "an object", value)
    return value


def _provider_options(value: object, name: str) -> dict[str, Mapping[str, object]]:
    value = {} if value == [] else value  # how PHP writes an empty object
    options: dict[str, Mapping[str, object]] = {}
    for provider, given in _object(value, name).items():
        below = join(name, provider)
        for option, one in _object(given, below).items():
            if one is None:  # no provider has a use for it, and an adapter could not tell it from an absent option
                refuse(join(below, option), "a value, or be left out", one)
        if given:
            options[provider] = _object(given, below)
    if (size := len(msgspec.json.encode(options))) > OPTIONS_MAX:
        message = f"`{name}` must be at most {OPTIONS_MAX // 1024} KB of JSON, not {size:,} bytes."
        raise InvalidParameter(message, param=name)
    return options


def _metadata(value: object, name: str) -> dict[str, str]:
    pairs = _object({} if value == [] else value, name)
    if len(pairs) > 16:
        refuse(name, "an object with at most 16 pairs", value)
    for key in pairs:
        if not 1 <= len(key) <= 64:
            raise InvalidParameter(f"A key of `{name}` must have 1 to 64 characters, not {len(key)}.", param=name)
    return {key: _text(one, join(name, key), most=512) for key, one in pairs.items()}


def _webhook_url(value: object, name: str) -> str:
    """An https URL, or http to an address: a name over http could be judged only by resolving it."""
    if not isinstance(value, str):
        refuse(name, "an https URL", value)
    fault = url_fault(value, WEBHOOK_URL_MAX)
    if fault is not None:
        raise InvalidParameter(f"`{name}` {fault}; it must be an https URL.", param=name)
    target = _target(value, name)
    if target.url.scheme == "http" and not addresses_of(target.host):
        message = f"`{name}` must be an https URL; http is for addresses within `fetch.allow` alone, not for names."
        raise InvalidParameter(message, param=name)
    return value


def check_webhook_url(url: str, name: str, allowed: Sequence[Network]) -> None:
    """`InvalidParameter` where no delivery could go to a webhook URL; `allowed` are the networks of `fetch.allow`.

    http goes to those alone, https to public addresses as well. A name is left to whoever resolves it.
    """
    target = _target(url, name)
    addresses = addresses_of(target.host)
    if not addresses or any(is_allowed(address, allowed) for address in addresses):
        return
    told = f"`{name}` leads to {addresses[0]}, which is not within `fetch.allow` of the gateway's configuration"
    if target.url.scheme == "http":
        raise InvalidParameter(f"{told}: use https, or an address within it.", param=name)
    if all(refusal(address) is not None for address in addresses):
        raise InvalidParameter(f"{told} and not public: use a public host, or an address within it.", param=name)
    if not port_is_open(target.port):
        message = f"{told}: use port 443, or one from 1024 on that is no service's, or an address within it."
        raise InvalidParameter(message, param=name)


def _target(url: str, name: str) -> Target:
    try:
        return target_of(url)
    except FetchRefused as error:
        raise InvalidParameter(f"`{name}` cannot be delivered to: {error}.", param=name) from error


# Every field of a create request with its reader, for a body of JSON and for a form alike.
READERS: dict[str, Callable[[Any, str], Any]] = {
    "model": _model,
    "prompt": partial(_text, most=PROMPT_MAX),
    "image": read_image,
    "last_image": read_image,
    "reference_images": read_images,
    "duration": _duration,
    "resolution": _resolution,
    "aspect_ratio": _ratio,
    "size": _size,
    "width": partial(_whole, low=1, high=99_999, units=spellings.PIXELS),
    "height": partial(_whole, low=1, high=99_999, units=spellings.PIXELS),
    "n": partial(_whole, low=1, high=4),
    "generate_audio": _boolean,
    "negative_prompt": _negative_prompt,
    "seed": partial(_whole, low=0, high=2**63 - 1),
    "fps": partial(_whole, low=1, high=120, units=frozenset({"fps"})),
    "cfg_scale": _number,
    "mode": _mode,
    "provider_options": _provider_options,
    "adapt": partial(_choice, choices=("none", "nearest")),
    "fallback": _fallback,
    "deadline_seconds": partial(_whole, low=60, high=86400, units=spellings.UNITS_OF_TIME),
    "max_cost": _cost,
    "webhook_url": _webhook_url,
    "metadata": _metadata,
    "user": partial(_text, most=256),
    "stream": _stream,
    "response_format": _response_format,
}
_FREE_TEXT = frozenset({"prompt", "negative_prompt"})  # white space around these is the client's own


def read_field(field: str, value: object, name: str) -> Any:  # each field has a type of its own
    """What the value of a field means, under whichever name it came; `None` is "not asked".

    An optional field that is null or blank is not asked for.
    """
    if isinstance(value, str) and field not in _FREE_TEXT:
        value = spellings.trim(value)
        if not value and field != "model":
            return None
    return None if value is None else READERS[field](value, name)
