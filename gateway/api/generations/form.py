"""Turns a create request that came as a form into the fields of a JSON body."""

import re
from typing import Any

from litestar import Request

from gateway.api.generations.foxapi_fields import OPTIONS
from gateway.api.generations.parameter import FormStyle, Parameters
from gateway.api.generations.parameters import VIDEO_PARAMETERS
from gateway.api.generations.readers import OPTIONS_MAX
from gateway.api.web.headers import header
from gateway.api.web.json_body import parse_json, read_body
from gateway.api.web.multipart import Part, is_form, parts_of
from gateway.domain.adapter.options import FormObject
from gateway.domain.errors import GatewayError, InvalidForm, InvalidParameter
from gateway.domain.parameters.spellings import boolean, is_empty

_MEMBER = re.compile(r"([^\[\]]+)\[(.+)\]", re.DOTALL)
_NUMBERED = re.compile(r"(.+)\[[0-9]{0,2}\]", re.DOTALL)
_PATH = re.compile(r"[^\[\]]+(?:\[[^\[\]]+\]){2,7}(?:\[\])?")  # a provider, an option, and what is in it
_IN_OPTION = re.compile(r"[^\[\]]+(?:\[[^\[\]]+\]){0,5}(?:\[\])?")  # an option at the top of a body, and what is in it
_REPEATED = frozenset({FormStyle.IMAGES, FormStyle.WORDS})
_WITH_MEMBERS = frozenset({FormStyle.IMAGE, FormStyle.PAIRS})


async def read_create(
    request: Request[Any, Any, Any], limit: int, table: Parameters = VIDEO_PARAMETERS
) -> dict[str, object]:
    """Return the body of a create request of at most `limit` bytes, from JSON or from a form that means the same."""
    raw = await read_body(request, limit)
    content_type, content_encoding = header(request, "content-type"), header(request, "content-encoding")
    if is_form(content_type):
        return create_body(await parts_of(raw, request), table)
    return parse_json(raw, content_type, content_encoding, "application/json or multipart/form-data")


def create_body(parts: list[Part], table: Parameters = VIDEO_PARAMETERS) -> dict[str, object]:
    """Return the parts of a form as the fields of a JSON body for `normalise`; images that came as files are bytes.

    Numbers and booleans stay text and unknown names stay as they are: `normalise` reads or refuses them. An empty part
    of an optional field is dropped, because browsers send one for each box or file that the person did not fill in.
    """
    body: dict[str, Any] = {}
    holder: Any
    for part in parts:
        if _is_left_empty(part, table):
            continue
        if table.kind == "video" and part.name.partition("[")[0] in OPTIONS:
            _add_option(body, part)
            continue
        name = _base(part.name, table)
        style = _style(name, table)
        if style in _REPEATED:
            body.setdefault(name, []).append(part.image() if style is FormStyle.IMAGES else part.text())
            continue
        value: object
        member = _MEMBER.fullmatch(part.name)
        if style is not FormStyle.IMAGE and member is not None and _style(member[1], table) in _WITH_MEMBERS:
            holder, key, value = body.setdefault(member[1], {}), member[2], part.text()
        elif member is not None and _style(member[1], table) is FormStyle.JSON:
            if not part.content:  # an empty box
                continue
            if _PATH.fullmatch(part.name) is None:
                message = f"`{part.shown}` must be written like `provider_options[PROVIDER][OPTION][0][FIELD]`."
                raise InvalidForm(message, param=part.shown)
            holder, key = _holder(body, part)
            value = part.text()
        else:
            holder, key, value = body, name, _value(part, name, table)
        if not isinstance(holder, dict) or key in holder:
            hint = ": it takes one image; `reference_images` takes several" if style is FormStyle.IMAGE else ""
            raise InvalidForm(f"The form has the field `{part.shown}` twice{hint}.", param=part.shown)
        holder[key] = value
    for name in table.by_name:
        if (
            _style(name, table) is FormStyle.WORDS and len(words := body.get(name, ())) == 1
        ):  # `fallback=false` is a boolean, `fallback=kling` a list of one
            is_word = boolean(words[0]) is None and not is_empty(words[0])
            body[name] = words if is_word else words[0]
    return body


def _holder(body: dict[str, Any], part: Part) -> tuple[dict[str, Any], str]:
    """The innermost object that a name such as `provider_options[foxapi][voice_ids][]` leads to, and the key in it.

    The objects between are made where they are missing. The name has no brackets but those of its keys. `[]` is the
    next number: a later step makes a list of an object whose keys are numbers, if the option is a list. Raises
    `InvalidForm`.
    """
    base, *keys = re.findall(r"[^\[\]]+|(?<=\[)(?=\])", part.name)
    holder = body
    for key in (base, *keys)[:-1]:
        inside = holder.setdefault(key, FormObject())
        if not isinstance(inside, FormObject):
            raise InvalidForm(f"The form has the field `{part.shown}` twice.", param=part.shown)
        holder = inside
    return holder, (base, *keys)[-1] or str(len(holder))


def _add_option(body: dict[str, Any], part: Part) -> None:
    """Add one of FoxAPI's options at the top of a body, such as `keep_audio` or `elements[0][element_id]`.

    It is written as in `provider_options[foxapi]`, and means the same. Raises `InvalidForm`.
    """
    if not part.content and not part.filename:  # an empty box
        return
    if _IN_OPTION.fullmatch(part.name) is None:
        option = part.name.partition("[")[0]
        message = f"`{part.shown}` must be written like `{option}`, `{option}[]` or `{option}[0][FIELD]`."
        raise InvalidForm(message, param=part.shown)
    holder, key = _holder(body, part)
    if key in holder:
        raise InvalidForm(f"The form has the field `{part.shown}` twice.", param=part.shown)
    holder[key] = part.text()


def _style(name: str, table: Parameters) -> FormStyle | None:
    """Return how a form says the field of this name; None for a name that no field has."""
    parameter = table.by_name.get(name)
    return None if parameter is None else parameter.form


def _is_left_empty(part: Part, table: Parameters) -> bool:
    """Return whether a part is an optional box or file input of a browser's form that the person did not fill in.

    A file that has a name and no bytes is a damaged upload. It must be refused, or a video without it would be bought.
    """
    parameter = table.by_name.get(_base(part.name, table))
    is_optional = parameter is not None and not parameter.required
    is_member_of_image = _style(part.name.partition("[")[0], table) is FormStyle.IMAGE
    return (is_optional or is_member_of_image) and not part.content and not part.filename


def _base(name: str, table: Parameters) -> str:
    """Return the name of a field without the `[]` or `[0]` that clients add where they send a list."""
    numbered = _NUMBERED.fullmatch(name)
    if numbered is None:
        return name
    return numbered[1] if _style(numbered[1], table) in _REPEATED | {FormStyle.IMAGE} else name


def _value(part: Part, name: str, table: Parameters) -> object:
    match _style(name, table):
        case None:
            return part.content  # `normalise` refuses the name
        case FormStyle.IMAGE:
            return part.image()
        case FormStyle.JSON | FormStyle.PAIRS:  # generated clients send every object as JSON
            return _json_object(part.name, part.text())
        case _:
            return part.text()


def _json_object(name: str, text: str) -> dict[str, object]:
    """Read a JSON object from the text of a part. Parts of a form cannot say what is a number and what is a string."""
    if len(text) > 2 * OPTIONS_MAX:  # a bound before decoding; the exact limit is checked without the white space
        raise InvalidParameter(f"`{name}` must be at most {OPTIONS_MAX // 1024} KB of JSON.", param=name)
    if is_empty(text):
        return {}
    try:
        return parse_json(text.encode(), "application/json", None)
    except GatewayError as error:
        path = f"{name}.{error.param}" if error.param else name
        raise InvalidParameter(f"`{name}` must be a JSON object as text. {error.detail}", param=path) from error
