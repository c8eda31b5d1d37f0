"""What the uploads of several dialects share: the fields of a form, and the URL that a client uses as an image."""

from collections.abc import Collection

from gateway.api.dialects.dialect import Call
from gateway.api.web.context import Context
from gateway.api.web.json_body import read_body
from gateway.api.web.multipart import Part, parts_of
from gateway.api.web.query import Params
from gateway.domain.errors import InvalidForm, InvalidParameter, UnknownParameter
from gateway.inputs.library import file_link
from gateway.store.files import StoredFile

PURPOSE = "vision"  # of every file that is uploaded through a dialect


async def upload_form(request: Call, context: Context, names: Collection[str]) -> dict[str, Part]:
    """The fields of a form by their names; `file` is always one of them, and has bytes.

    Raises `UnknownParameter` for a field that is not among `names`, `InvalidParameter` or `InvalidForm`.
    """
    Params.of(request).done()
    raw = await read_body(request, context.max_body_bytes)
    fields: dict[str, Part] = {}
    for part in await parts_of(raw, request):
        if part.name not in names:
            remedy = f"The fields are: {', '.join(names)}."
            raise UnknownParameter(f"`{part.shown}` is not a field of this request. {remedy}", param=part.shown)
        if part.name in fields:
            raise InvalidForm(f"The form has the field `{part.shown}` twice; send it once.", param=part.shown)
        fields[part.name] = part
    if "file" not in fields:
        raise InvalidParameter("`file` is required: the image, as a file of the form.", param="file")
    if fields["file"].filename is None and isinstance(fields["file"].image(), str):
        raise InvalidParameter("`file` must be a file of the form, not text.", param="file")
    return fields


def usable_url(request: Call, context: Context, file: StoredFile) -> str:
    """A URL that shows the file to anybody until it expires, and that a create accepts as the file itself."""
    until = file.expires_at or context.clock.now()
    return file_link(context.base_url(request), context.signer, file.key, file.id, until)
