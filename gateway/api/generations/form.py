"""A create request that came as a form: its parts become the fields of a JSON body."""

import re
from typing import Any

from litestar import Request

from gateway.api.generations.fields import OPTIONS_MAX, READERS
from gateway.api.generations.parameters import ALIASES
from gateway.api.web.headers import header
from gateway.api.web.json_body import parse_json, read_body
from gateway.api.web.multipart import Part, is_form, parts_of
from gateway.domain.errors import GatewayError, InvalidForm, InvalidParameter
from gateway.domain.parameters.spellings import boolean, is_empty


async def read_create(request: Request[Any, Any, Any], limit: int) -> dict[str, object]:
    """The body of a create request, as JSON or as a form that means the same."""
    raw = await read_body(request, limit)
    content_type, content_encoding = header(request, "content-type"), header(request, "content-encoding")
    if is_form(content_type):
        return create_body(await parts_of(raw, request))
    return parse_json(raw, content_type, content_encoding, "application/json or multipart/form-data")


_FRAMES = frozenset({"image", "last_image"})
_LISTS = frozenset({"reference_images", "fallback"})
_IMAGES = _FRAMES | {"reference_images"}
_OPTIONAL = READERS.keys() - {"model"}
_MEMBER = re.compile(r"([^\[\]]+)\[(.+)\]", re.DOTALL)
_NUMBERED = re.compile(r"(.+)\[[0-9]{0,2}\]", re.DOTALL)


def create_body(parts: list[Part]) -> dict[str, object]:
    """The parts of a form as the fields of a JSON body, for `normalise`; images that came as files are bytes.

    Numbers and booleans stay text and unknown names stay too: `normalise` reads or refuses them. An empty part is left
    out where the field is optional, because browsers send one for each box or file that the person did not fill in.
    """
    body: dict[str, Any] = {}
    held: Any
    for part in parts:
        if _is_left_alone(part):
            continue
        name = _base(part.name)
        field = ALIASES.get(name, name)
        if field in _LISTS:
            body.setdefault(name, []).append(part.image() if field in _IMAGES else part.text())
            continue
        value: object
        member = _MEMBER.fullmatch(part.name)
        if field not in _FRAMES and member is not None and ALIASES.get(member[1], member[1]) in {"metadata", *_FRAMES}:
            held, key, value = body.setdefault(member[1], {}), member[2], part.text()
        else:
            held, key, value = body, name, part.image() if field in _FRAMES else _value(part)
        if not isinstance(held, dict) or key in held:
            hint = ": it takes one image; `reference_images` takes several" if field in _FRAMES else ""
            raise InvalidForm(f"The field `{part.shown}` is there twice{hint}.", param=part.shown)
        held[key] = value
    for name in ("fallback", "fallbacks"):
        if len(models := body.get(name, ())) == 1:
            is_model = boolean(models[0]) is None and not is_empty(models[0])
            body[name] = models if is_model else models[0]
    return body


def _is_left_alone(part: Part) -> bool:
    """Whether the part is an optional box or file input of a browser's form that the person did not fill in.

    A file that has a name and no bytes is a damaged upload: it must be refused, or a video without it would be bought.
    """
    name = _base(part.name)
    frame = part.name.partition("[")[0]
    optional = ALIASES.get(name, name) in _OPTIONAL or ALIASES.get(frame, frame) in _FRAMES
    return optional and not part.content and not part.filename


def _base(name: str) -> str:
    """The name of a field without the `[]` or `[0]` that clients add where they send a list."""
    numbered = _NUMBERED.fullmatch(name)
    base = numbered[1] if numbered is not None else name
    return base if ALIASES.get(base, base) in _LISTS | _FRAMES else name


def _value(part: Part) -> object:
    field = ALIASES.get(part.name, part.name)
    if field not in READERS:
        return part.content
    text = part.text()
    match field:
        case "provider_options":
            return _options(part.name, text)
        case "metadata":
            raise InvalidParameter("In a form every pair of `metadata` is a field: `metadata[key]`.", param="metadata")
        case _:
            return text


def _options(name: str, text: str) -> dict[str, object]:
    """An object of objects has no other form in fields that keeps numbers and text apart."""
    if len(text) > 2 * OPTIONS_MAX:  # with blanks; without them `OPTIONS_MAX` counts
        raise InvalidParameter(f"`{name}` must be at most {OPTIONS_MAX // 1024} KB of JSON.", param=name)
    if is_empty(text):
        return {}
    try:
        return parse_json(text.encode(), "application/json", None)
    except GatewayError as error:
        below = f"{name}.{error.param}" if error.param else name
        raise InvalidParameter(f"`{name}` must be a JSON object as text. {error.detail}", param=below) from error
