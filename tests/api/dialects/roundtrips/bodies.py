"""The bodies of the clients of the round trips: a request in the words of each API."""

from base64 import b64encode
from typing import Any

from msgspec.structs import replace

from .providers import FIRST_FILE, LAST_FILE, Ask, Image

FIRST = Image("https://example.com/first.png")
LAST = Image("https://example.com/last.png")
LOOKS = (Image("https://example.com/look-1.png"), Image("https://example.com/look-2.png"))
SIZES = {("1080p", "16:9"): "1920x1080", ("2K", "1:1"): "2048x2048"}


def url(image: Image | None) -> str | None:
    return None if image is None else image.url


def urls(images: tuple[Image, ...]) -> list[str] | None:
    return [image.url for image in images] or None


def text(number: int | None) -> str | None:
    return None if number is None else str(number)


def in_object(image: Image | None) -> dict[str, str] | None:
    return None if image is None else {"url": image.url}


def in_pixels(ask: Ask) -> Ask:
    """A size in pixels needs a ratio."""
    return ask if ask.ratio is not None else replace(ask, resolution=None)


def size(ask: Ask) -> str | None:
    return None if ask.ratio is None else SIZES[ask.resolution or ask.quality or "", ask.ratio]


def sides(ask: Ask) -> dict[str, int | None]:
    width, _, height = (size(ask) or "").partition("x")
    return {"width": int(width), "height": int(height)} if width else {}


def as_files(ask: Ask) -> Ask:
    """The frames as bytes."""
    first = None if ask.first is None else Image(ask.first.url, FIRST_FILE)
    return replace(ask, first=first, last=None if ask.last is None else Image(ask.last.url, LAST_FILE))


def plain(ask: Ask) -> Ask:
    return replace(ask, mode=None)


def as_kling(ask: Ask) -> Ask:
    """Kling has modes in place of resolutions, and takes raw base64."""
    return replace(as_files(ask), resolution=None)


def raw(image: Image | None) -> str | None:
    return None if image is None else b64encode(image.content or b"").decode()


def service(ask: Ask) -> str:
    return "text2video" if ask.first is None and not ask.references else "image2video"


def frame(image: Image | None, frame_type: str) -> list[dict[str, Any]]:
    given = {"type": "image_url", "image_url": in_object(image), "frame_type": frame_type}
    return [] if image is None else [given]


def look_files(ask: Ask) -> Ask:
    """The references as bytes."""
    files = (FIRST_FILE, LAST_FILE)
    looks = tuple(Image(image.url, content) for image, content in zip(ask.references, files, strict=False))
    return replace(plain(ask), references=looks)


def ours(ask: Ask) -> dict[str, Any]:
    return {
        "model": f"{ask.provider}/{ask.model}",
        "prompt": ask.prompt,
        "image": url(ask.first),
        "last_image": url(ask.last),
        "reference_images": urls(ask.references),
        "duration": ask.seconds,
        "resolution": ask.resolution,
        "quality": ask.quality,
        "aspect_ratio": ask.ratio,
    }


def openai(ask: Ask) -> dict[str, Any]:
    return {
        "model": f"{ask.provider}/{ask.model}",
        "prompt": ask.prompt,
        "seconds": text(ask.seconds),
        "size": size(ask),
        "input_reference": None if ask.first is None else {"image_url": ask.first.url},
        "last_image": url(ask.last),
        "reference_images": urls(ask.references),
    }


def openai_form(ask: Ask) -> dict[str, Any]:
    given = {name: value for name, value in openai(ask).items() if name != "reference_images"}
    files = {
        "input_reference": None if ask.first is None else ask.first.content,
        "last_image": None if ask.last is None else ask.last.content,
        "reference_images[]": urls(ask.references),
    }
    return {**given, **files}


def openrouter(ask: Ask) -> dict[str, Any]:
    return {
        "model": f"{ask.provider}/{ask.model}",
        "prompt": ask.prompt,
        "duration": ask.seconds,
        "resolution": ask.resolution,
        "aspect_ratio": ask.ratio,
        "frame_images": [*frame(ask.first, "first_frame"), *frame(ask.last, "last_frame")] or None,
        "input_references": [{"type": "image_url", "image_url": in_object(look)} for look in ask.references] or None,
    }


def xai(ask: Ask) -> dict[str, Any]:
    return {
        "model": f"{ask.provider}/{ask.model}",
        "prompt": ask.prompt,
        "image": in_object(ask.first),
        "last_frame": in_object(ask.last),
        "reference_images": list(map(in_object, ask.references)) or None,
        "duration": ask.seconds,
        "resolution": ask.resolution,
        "aspect_ratio": ask.ratio,
    }


def foxapi(ask: Ask) -> dict[str, Any]:
    return {
        "model": f"{ask.provider}/{ask.model}",
        "prompt": ask.prompt,
        "image_url": url(ask.first),
        "end_image_url": url(ask.last),
        "image_urls": urls(ask.references),
        "duration": ask.seconds,
        "quality": ask.resolution,  # EvoLink's word
        "aspect_ratio": ask.ratio,
    }


def kling_native(ask: Ask) -> dict[str, Any]:
    return {
        "model_name": f"{ask.provider}/{ask.model}",
        "prompt": ask.prompt,
        "image": raw(ask.first),
        "image_tail": raw(ask.last),
        "reference_images": urls(ask.references),
        "duration": text(ask.seconds),
        "mode": ask.mode,
        "aspect_ratio": ask.ratio,
        "cfg_scale": 0.5,
    }


def relay(ask: Ask) -> dict[str, Any]:
    return {
        "model": f"{ask.provider}/{ask.model}",
        "prompt": ask.prompt,
        "image": url(ask.first),
        "reference_images": urls(ask.references),
        "duration": ask.seconds,
        **sides(ask),
        "n": 1,
        "response_format": "url",
        "user": "user-1234",
        "metadata": {"image_tail": url(ask.last)},
    }


def new_api(ask: Ask) -> dict[str, Any]:
    return {
        "model": f"{ask.provider}/{ask.model}",
        "prompt": ask.prompt,
        "images": None if ask.first is None else [ask.first.url],
        "reference_images": urls(ask.references),
        "duration": ask.seconds,
        "size": size(ask),
        "metadata": {"image_tail": url(ask.last), "cfg_scale": 0.5},
    }


def keevx(ask: Ask) -> dict[str, Any]:
    return {
        "model": f"{ask.provider}/{ask.model}",
        "prompt": ask.prompt,
        "image_url": url(ask.first),
        "end_image_url": url(ask.last),
        "reference_images": urls(ask.references),
        "duration": ask.seconds,
        "aspect_resolution": ask.resolution,
        "aspect_ratio": ask.ratio,
        "generate_count": 1,
    }


def images(ask: Ask) -> tuple[Image, ...]:
    """An image generation has no frames: a first frame is a reference there."""
    return ask.references if ask.first is None else (ask.first, *ask.references)


def our_images(ask: Ask) -> dict[str, Any]:
    return {
        "model": f"{ask.provider}/{ask.model}",
        "prompt": ask.prompt,
        "reference_images": urls(images(ask)),
        "last_image": url(ask.last),
        "quality": ask.quality,
        "aspect_ratio": ask.ratio,
    }


def openai_images(ask: Ask) -> dict[str, Any]:
    files = [image.content or image.url for image in images(ask)]
    return {
        "model": f"{ask.provider}/{ask.model}",
        "prompt": ask.prompt,
        "n": "1",
        "size": size(ask) if ask.quality else None,
        "image[]": files or None,
        "last_image": url(ask.last),
        "response_format": "url",
    }


def xai_images(ask: Ask) -> dict[str, Any]:
    return {
        "model": f"{ask.provider}/{ask.model}",
        "prompt": ask.prompt,
        "images": list(map(in_object, images(ask))) or None,
        "last_frame": in_object(ask.last),
        "resolution": None if ask.quality is None else ask.quality.lower(),
        "aspect_ratio": ask.ratio,
        "response_format": "url",
    }


def keevx_images(ask: Ask) -> dict[str, Any]:
    return {
        "model": f"{ask.provider}/{ask.model}",
        "prompt": ask.prompt,
        "reference_images": urls(images(ask)),
        "end_image_url": url(ask.last),
        "image_quality": ask.quality,
        "image_ratio": ask.ratio,
        "generate_count": 1,
    }
