"""The rules of Keevx for models V and KL, and for image generation."""

from collections.abc import Mapping
from typing import Any, NoReturn

RATIOS = {"16:9": 16 / 9, "9:16": 9 / 16}
# The ratios are those of the skill page "image-generate". Which size an image has is not documented: about as many
# pixels as a square with the side that the quality names, and sides that 16 divides.
IMAGE_SIZES = {
    "1:1": (1024, 1024),
    "2:3": (848, 1264),
    "3:2": (1264, 848),
    "3:4": (896, 1200),
    "4:3": (1200, 896),
    "4:5": (928, 1152),
    "5:4": (1152, 928),
    "9:16": (768, 1376),
    "16:9": (1376, 768),
    "21:9": (1584, 672),
}
QUALITIES = {"1K": 1, "2K": 2, "4K": 4}  # how many times the size above
MOST_REFERENCES = 5  # of an image; further ones are ignored silently
COMMON = {"model", "prompt", "reference_images", "aspect_ratio", "aspect_resolution", "duration"}
COMMON |= {"generate_count", "callback_url"}
FIELDS = {"V": COMMON | {"image_url", "end_image_url", "generate_audio"}, "KL": COMMON}
RESOLUTIONS = {"V": ("720p", "1080p", "4k"), "KL": ("720p", "1080p")}
IMAGE_FIELDS = {"prompt", "reference_images", "module", "generate_count", "image_quality", "image_ratio"}
IMAGE_FIELDS |= {"callback_url"}


class RefusedError(Exception):
    """A submit that breaks a documented rule, with the name of the error and its message."""

    def __init__(self, error: str, message: str | None = None) -> None:
        super().__init__(message or error)
        self.error, self.message = error, message


def check_video(body: Mapping[str, Any], most_references: int) -> None:
    """Raise `RefusedError` for the first rule of its model that a video submit breaks."""
    model = str(body.get("model"))
    if model not in FIELDS:
        _no("model must be one of V, KL")
    for name in body:
        if name not in FIELDS[model]:
            _no(f"{name} is not supported by model {model}")
    _check_prompt(body)
    references, image = body.get("reference_images"), body.get("image_url")
    _check_urls(references, most_references if model == "KL" else 3)
    if model == "KL" and references is None:
        _no("reference_images is required")
    if model == "V" and (image is None) == (references is None):
        _no("one of image_url and reference_images is required, and only one")
    if image is None and "end_image_url" in body:
        _no("end_image_url needs image_url")
    for name in ("image_url", "end_image_url"):
        if name in body and not isinstance(body[name], str):
            _no(f"{name} must be a URL")
    if body.get("aspect_resolution") not in RESOLUTIONS[model]:
        _no("aspect_resolution must be one of " + ", ".join(RESOLUTIONS[model]))
    if body.get("aspect_ratio", "16:9") not in RATIOS:
        _no("aspect_ratio must be one of 16:9, 9:16")
    durations = (5, 10) if model == "KL" else (4, 6, 8) if references is None else (8,)
    if type(body.get("duration")) is not int or body["duration"] not in durations:
        _no(f"duration must be one of {durations}")
    if type(body.get("generate_audio", False)) is not bool:
        _no("generate_audio must be a boolean")
    _check_rest(body, 4)


def check_image(body: Mapping[str, Any]) -> None:
    """Raise `RefusedError` for the first rule that an image submit breaks.

    The skill page has two codes: 100001 for the format and for required fields, 100002 for values out of range.
    """
    if set(body) - IMAGE_FIELDS:
        _no("unknown parameter")
    prompt = body.get("prompt")
    if not isinstance(prompt, str) or not prompt.strip():
        _no("prompt is required")
    _check_urls(body.get("reference_images"), None)
    count, callback = body.get("generate_count", 1), body.get("callback_url", "http://")
    if type(count) is not int:
        _no("generate_count must be an integer")
    if not isinstance(callback, str) or not callback.startswith(("http://", "https://")):
        _no("callback_url must be a URL")
    choices = {"module": ("std", "pro"), "image_quality": tuple(QUALITIES), "image_ratio": tuple(IMAGE_SIZES)}
    if any(name in body and body[name] not in values for name, values in choices.items()):
        raise RefusedError("100002_validation")
    if len(prompt) > 1000 or not 1 <= count <= 8:
        raise RefusedError("100002_validation")


def image_size(body: Mapping[str, Any]) -> tuple[int, int]:
    """Width and height in pixels of the images of a submit that `check_image` has accepted."""
    width, height = IMAGE_SIZES[body.get("image_ratio", "9:16")]
    times = QUALITIES[body.get("image_quality", "2K")]
    return width * times, height * times


def _check_prompt(body: Mapping[str, Any]) -> None:
    prompt = body.get("prompt")
    if not isinstance(prompt, str) or not prompt.strip():
        _no("prompt cannot be empty")
    if len(prompt) > 1000:
        raise RefusedError("100005")


def _check_urls(urls: Any, most: int | None) -> None:
    if urls is None:
        return
    if not isinstance(urls, list) or not urls or not all(isinstance(url, str) for url in urls):
        _no("reference_images must be a list of URLs")
    if most is not None and len(urls) > most:
        _no(f"reference_images takes at most {most}")


def _check_rest(body: Mapping[str, Any], most: int) -> None:
    count, callback = body.get("generate_count", 1), body.get("callback_url", "http://")
    if type(count) is not int or not 1 <= count <= most:
        _no(f"generate_count must be from 1 to {most}")
    if not isinstance(callback, str) or not callback.startswith(("http://", "https://")):
        _no("callback_url must be a URL")


def _no(message: str) -> NoReturn:
    raise RefusedError("400", f"Parameter error: {message}")
