"""How a single field of a create request is read: a value as it came and the name it came under → what it means.

A reader gives None for "not asked" and raises a 400 that names the field, what is accepted and what came.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NoReturn

import msgspec

from gateway.api.body import join
from gateway.domain.addresses import Network, addresses_of, is_allowed, port_is_open, refusal
from gateway.domain.errors import InvalidImage, InvalidParameter, UnknownParameter
from gateway.services.fetch import FetchRefused, Target, target_of
from gateway.services.images import from_text, url_fault

RESOLUTIONS = {"720p": 720, "1080p": 1080, "4k": 2160}  # the shorter side in pixels
_RATIOS = ((16, 9), (9, 16), (1, 1), (4, 3), (3, 4), (21, 9))
SIZES = {  # WIDTHxHEIGHT → resolution and aspect ratio, where the ratio is met to the pixel
    f"{short * width // min(width, height)}x{short * height // min(width, height)}": (resolution, f"{width}:{height}")
    for resolution, short in RESOLUTIONS.items()
    for width, height in _RATIOS
    if short * max(width, height) % min(width, height) == 0
}
PROMPT_MAX = 20_000
OPTIONS_MAX = 16 * 1024  # bytes, encoded
WEBHOOK_URL_MAX = 2048


def _text(value: object, name: str, *, most: int, least: int = 0) -> str:
    length = "" if least == 0 else "non-empty "
    if not isinstance(value, str) or not least <= len(value) <= most:
        _refuse(name, f"a {length}string of at most {most:,} characters", value)
    return value


def _model(value: object, name: str) -> str:
    model = _text(value, name, least=1, most=256)
    if not model.strip():
        _refuse(name, "the name of a model", value)
    return model


def _negative_prompt(value: object, name: str) -> str | None:
    return _text(value, name, most=PROMPT_MAX) or None


def _boolean(value: object, name: str) -> bool:
    if not isinstance(value, bool):
        _refuse(name, "true or false", value)
    return value


def _whole(value: object, name: str, *, low: int, high: int) -> int:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        _refuse(name, f"a whole number from {low} to {high}", value)
    return value


def _duration(value: object, name: str) -> int:
    if isinstance(value, str) and re.fullmatch(r"[1-9][0-9]{0,3}", value):
        value = int(value)
    return _whole(value, name, low=1, high=3600)


def _number(value: object, name: str) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        _refuse(name, "a number", value)
    return float(value)


def _cost(value: object, name: str) -> float:
    cost = _number(value, name)
    if cost <= 0:
        _refuse(name, "a number over 0, in USD", value)
    return cost


def _choice(value: object, name: str, *, choices: tuple[str, ...]) -> str:
    found = value.lower() if isinstance(value, str) else None
    if found not in choices:
        _refuse(name, f"one of {', '.join(choices)}", value)
    return found


def _ratio(value: object, name: str) -> str:
    if not isinstance(value, str) or re.fullmatch(r"[1-9][0-9]?:[1-9][0-9]?", value) is None:
        _refuse(name, "two whole numbers from 1 to 99 such as 16:9", value)
    return value


def _size(value: object, name: str) -> str:
    sides = re.fullmatch(r"([0-9]{1,5})[xX×]([0-9]{1,5})", value) if isinstance(value, str) else None
    size = None if sides is None else f"{int(sides[1])}x{int(sides[2])}"
    if size not in SIZES:
        _refuse(name, f"one of {', '.join(SIZES)}", value)
    return size


def _image(value: object, name: str) -> str | bytes:
    if isinstance(value, str):
        return from_text(value, name)
    if isinstance(value, bytes):  # a file of a form
        return value
    if not isinstance(value, Mapping):
        raise InvalidImage(
            f"`{name}` must be a string, or an object with `image_url` or `file_id`, not {_told(value)}.", param=name
        )
    for key in value:
        if key not in {"image_url", "file_id"}:
            raise UnknownParameter(
                f"`{join(name, key)}` is not known; `{name}` has `image_url` or `file_id`.", param=join(name, key)
            )
    given = {key: one for key, one in value.items() if one is not None}
    if len(given) != 1:
        raise InvalidImage(f"`{name}` must have exactly one of `image_url` and `file_id`.", param=name)
    ((key, text),) = given.items()
    below = join(name, key)
    if not isinstance(text, str):
        raise InvalidImage(f"`{below}` must be a string, not {_told(text)}.", param=below)
    if key == "file_id" and not text.startswith("file_"):
        raise InvalidImage(f"`{below}` must be the id of an uploaded file (`file_…`).", param=below)
    return from_text(text, below)


def _images(value: object, name: str) -> list[str | bytes] | None:
    if not isinstance(value, list) or len(value) > 16:
        _refuse(name, "a list of at most 16 images", value)
    return [_image(image, f"{name}[{index}]") for index, image in enumerate(value)] or None


def _fallback(value: object, name: str) -> bool | tuple[str, ...]:
    """A list keeps each model once; an empty one leaves nothing to fall back to."""
    if isinstance(value, bool):
        return value
    if not isinstance(value, list) or len(value) > 16:
        _refuse(name, "true, false or a list of at most 16 models", value)
    models = dict.fromkeys(_model(model, f"{name}[{index}]") for index, model in enumerate(value))
    return tuple(models) or False


def _object(value: object, name: str) -> Mapping[str, object]:
    """Its members as they came, nulls among them: only a field of the body itself is absent when it is null."""
    if not isinstance(value, Mapping):
        _refuse(name, "an object", value)
    return value


def _provider_options(value: object, name: str) -> dict[str, Mapping[str, object]]:
    options: dict[str, Mapping[str, object]] = {}
    for provider, given in _object(value, name).items():
        below = join(name, provider)
        for option, one in _object(given, below).items():
            if one is None:  # no provider has a use for it, and an adapter could not tell it from an absent option
                _refuse(join(below, option), "a value, or be left out", one)
        if given:
            options[provider] = _object(given, below)
    if (size := len(msgspec.json.encode(options))) > OPTIONS_MAX:
        message = f"`{name}` must be at most {OPTIONS_MAX // 1024} KB of JSON, not {size:,} bytes."
        raise InvalidParameter(message, param=name)
    return options


def _metadata(value: object, name: str) -> dict[str, str]:
    pairs = _object(value, name)
    if len(pairs) > 16:
        _refuse(name, "an object with at most 16 pairs", value)
    for key in pairs:
        if not 1 <= len(key) <= 64:
            raise InvalidParameter(f"A key of `{name}` must have 1 to 64 characters, not {len(key)}.", param=name)
    return {key: _text(one, join(name, key), most=512) for key, one in pairs.items()}


def _webhook_url(value: object, name: str) -> str:
    """An https URL, or http to an address: a name over http could be judged only by resolving it."""
    if not isinstance(value, str):
        _refuse(name, "an https URL", value)
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


READERS: dict[str, Callable[[object, str], Any]] = {
    "model": _model,
    "prompt": partial(_text, most=PROMPT_MAX),
    "image": _image,
    "last_image": _image,
    "reference_images": _images,
    "duration": _duration,
    "resolution": partial(_choice, choices=tuple(RESOLUTIONS)),
    "aspect_ratio": _ratio,
    "size": _size,
    "width": partial(_whole, low=1, high=99_999),
    "height": partial(_whole, low=1, high=99_999),
    "n": partial(_whole, low=1, high=4),
    "generate_audio": _boolean,
    "negative_prompt": _negative_prompt,
    "seed": partial(_whole, low=0, high=2**63 - 1),
    "fps": partial(_whole, low=1, high=120),
    "cfg_scale": _number,
    "mode": partial(_text, least=1, most=32),
    "provider_options": _provider_options,
    "adapt": partial(_choice, choices=("none", "nearest")),
    "fallback": _fallback,
    "deadline_seconds": partial(_whole, low=60, high=86400),
    "max_cost": _cost,
    "webhook_url": _webhook_url,
    "metadata": _metadata,
    "user": partial(_text, most=256),
}


def _refuse(name: str, accepted: str, value: object) -> NoReturn:
    raise InvalidParameter(f"`{name}` must be {accepted}, not {_told(value)}.", param=name)


def _told(value: object) -> str:
    """A value fit for a message: itself when it is short, else what it is."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return str(value)
        case str() if len(value) <= 40 and value.isprintable():
            return f'"{value}"'
        case str():
            return f"a string of {len(value):,} characters"
        case Mapping():
            return "an object"
        case list():
            return f"a list of {len(value):,}"
        case _:
            return f"a {type(value).__name__}"
