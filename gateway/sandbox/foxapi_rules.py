"""The fields that each FoxAPI model accepts; every other field is refused."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Check = Callable[[object], str | None]  # the problem with a value; None if it is accepted

PROMPT_LENGTH = 2500
IMAGE_FIELDS = ("image_url", "start_image_url", "image_tail_url", "end_image_url")


class RefusedError(Exception):
    """A submit that is answered with 422, its message and, for some, its code."""

    def __init__(self, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.message, self.code = message, code


def _text(value: object) -> str | None:
    return None if isinstance(value, str) else "must be a string"


def _prompt(value: object) -> str | None:
    if not isinstance(value, str) or not value.strip():
        return "must be a non-empty string"
    return None if len(value) <= PROMPT_LENGTH else f"must be at most {PROMPT_LENGTH} characters"


def _flag(value: object) -> str | None:
    return None if isinstance(value, bool) else "must be a boolean"


def _url(value: object) -> str | None:
    return None if isinstance(value, str) and value else "must be a URL"


def _urls(value: object) -> str | None:
    good = isinstance(value, list) and value and all(isinstance(url, str) for url in value)
    return None if good else "must be a list of URLs"


def _one_of(*values: str) -> Check:
    return lambda value: None if value in values else "must be one of " + ", ".join(values)


def _seconds(*values: int) -> Check:
    words = " or ".join(map(str, values)) if len(values) == 2 else f"between {values[0]} and {values[-1]}"
    return lambda value: None if type(value) is int and value in values else f"must be {words}"


def _voices(value: object) -> str | None:
    good = isinstance(value, list) and 1 <= len(value) <= 2 and all(isinstance(voice, str) for voice in value)
    return None if good else "must be a list of at most 2 ids"


def _shots(value: object) -> str | None:
    if not isinstance(value, list) or not value:
        return "must be a list of shots"
    for shot in value:
        if not isinstance(shot, dict) or set(shot) != {"prompt", "duration"} or _prompt(shot["prompt"]):
            return "must hold shots of prompt and duration"
        if type(shot["duration"]) is not int or shot["duration"] < 1:
            return "must hold shots with a duration in whole seconds"
    return None


def _elements(value: object) -> str | None:
    if not isinstance(value, list) or not value:
        return "must be a list of elements"
    for element in value:
        fields = {"frontal_image_url": _url, "reference_image_urls": _urls}
        if not isinstance(element, dict) or set(element) - set(fields) or "frontal_image_url" not in element:
            return "must hold elements of frontal_image_url and reference_image_urls"
        if any(fields[name](given) for name, given in element.items()):
            return "must hold URLs"
    return None


@dataclass(frozen=True, slots=True)
class Model:
    """The fields of one model, and which of them are required."""

    fields: Mapping[str, Check]
    required: tuple[str, ...] = ()
    one_prompt: bool = False  # exactly one of prompt and multi_prompt


_RATIO = {"aspect_ratio": _one_of("16:9", "9:16", "1:1")}
_COMMON: dict[str, Check] = {"prompt": _prompt, "resolution": _one_of("720p", "1080p", "4k"), "generate_audio": _flag}
_COMMON |= {"multi_prompt": _shots}
_V3 = _COMMON | {"duration": _seconds(5, 10), "negative_prompt": _text, "voice_ids": _voices}
_O3 = _COMMON | {"duration": _seconds(*range(3, 16))}
_SHOT = {"shot_type": _one_of("customize")}
_REFERENCES = {"image_urls": _urls, "elements": _elements}
_EDIT = {
    "prompt": _prompt,
    "video_url": _url,
    "keep_audio": _flag,
    "resolution": _one_of("720p", "1080p"),
    **_REFERENCES,
}
_MOTION: dict[str, Check] = {"prompt": _prompt, "image_url": _url, "video_url": _url, "mode": _one_of("std", "pro")}
_MOTION |= {"character_orientation": _one_of("image", "video"), "keep_original_sound": _one_of("yes", "no")}

MODELS: dict[str, Model] = {
    "kling-v3-text-to-video": Model(_V3 | _RATIO, ("prompt",)),
    "kling-v3-image-to-video": Model(_V3 | {"image_url": _url, "image_tail_url": _url}, ("prompt", "image_url")),
    "kling-o3-text-to-video": Model(_O3 | _RATIO | _SHOT, one_prompt=True),
    "kling-o3-image-to-video": Model(
        _O3 | _SHOT | {"image_url": _url, "end_image_url": _url}, ("image_url",), one_prompt=True
    ),
    "kling-o3-reference-to-video": Model(
        _O3 | _RATIO | _REFERENCES | {"start_image_url": _url, "end_image_url": _url}, one_prompt=True
    ),
    "kling-o3-video-to-video-edit": Model(_EDIT, ("prompt", "video_url")),
    "kling-o3-video-to-video-reference": Model(
        _EDIT | {"aspect_ratio": _one_of("16:9", "9:16", "1:1", "auto"), "duration": _seconds(*range(3, 16))},
        ("prompt", "video_url"),
    ),
    "kling-v3-motion-control": Model(_MOTION, ("image_url", "video_url")),
    "kling-v2-6-motion-control": Model(_MOTION, ("image_url", "video_url")),
}


def check(body: Mapping[str, Any]) -> None:
    """Raise `RefusedError` for the first rule of its model that a submit breaks."""
    name = body.get("model")
    if not isinstance(name, str) or not name:
        raise RefusedError("model is required")
    model = MODELS.get(name)
    if model is None:
        raise RefusedError("Model does not exist", "model_not_found")
    for field, value in body.items():
        if field == "model":
            continue
        if field not in model.fields:
            raise RefusedError(f"Unknown field: {field}")
        wrong = model.fields[field](value)
        if wrong is not None:
            raise RefusedError(f"{field} {wrong}")
    for field in model.required:
        if field not in body:
            raise RefusedError(f"{field} is required")
    shots = body.get("multi_prompt")
    if model.one_prompt and ("prompt" in body) == (shots is not None):
        raise RefusedError("exactly one of prompt and multi_prompt is required")
    if shots is not None and sum(shot["duration"] for shot in shots) != body.get("duration", 5):
        raise RefusedError("the durations of multi_prompt must add up to duration")
    if "voice_ids" in body and not body.get("generate_audio"):
        raise RefusedError("voice_ids needs generate_audio")


def image_urls(body: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Every image URL of a checked submit, each with the name of its field."""
    for name in IMAGE_FIELDS:
        if name in body:
            yield name, body[name]
    for url in body.get("image_urls", []):
        yield "image_urls", url
    for element in body.get("elements", []):
        for url in (element["frontal_image_url"], *element.get("reference_image_urls", [])):
            yield "elements", url
