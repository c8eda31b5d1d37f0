"""What one field of a create request is, and what a table of them gives.

Everything that has to know the fields is computed from a table, one for each kind: `VIDEO_PARAMETERS` in
`parameters.py` and `IMAGE_PARAMETERS` in `image_parameters.py`.
"""

from collections.abc import Callable, Iterable, Mapping
from enum import Enum, auto
from typing import Any, NamedTuple

from msgspec import Struct, defstruct

from gateway.domain.adapter.request import Kind
from gateway.domain.parameters import spellings


class FormStyle(Enum):
    """How a form says a field. The name of the field is `name` here."""

    TEXT = auto()  # one part with text
    IMAGE = auto()  # one part: a file, or text; also `name[]`, `name[file_id]`, `name[image_url]`
    IMAGES = auto()  # any number of parts, files or text; also `name[]`, `name[0]`
    WORDS = auto()  # any number of parts with text; also `name[]`, `name[0]`
    JSON = auto()  # one part with a JSON object as text
    PAIRS = auto()  # one part `name[key]` for each pair, or one part with a JSON object as text


class Holder(Enum):
    """The value that a field ends up in."""

    REQUEST = auto()  # a field of `GenerationRequest`
    SETTINGS = auto()  # a field of its `Settings`
    INPUT = auto()  # a field of its input; which fields are given decides the kind of input
    SIZE = auto()  # another form of `resolution`, or `quality` of an image, and `aspect_ratio`
    ANSWER = auto()  # how the answer is written; a repeat of the request may have another one
    NOTHING = auto()  # it has one possible value, which changes nothing


class Shown(Enum):
    """When the `request` of a generation shows a field."""

    GIVEN = auto()  # unless it has the default
    ALWAYS = auto()
    NEVER = auto()  # the generation shows it elsewhere, or not at all


class Target(NamedTuple):
    """Where the value of a field goes, and where it is shown from."""

    holder: Holder
    field: str = ""  # of the holder
    shown: Shown = Shown.GIVEN
    setting_type: Any = None  # of a setting: its type in the `settings` of an attempt


class Parameter(Struct, frozen=True, kw_only=True):
    """One field of a create request."""

    name: str
    read: Callable[[Any, str], Any]  # value, the client's name of the field → what it means, None: not asked for
    json_type: Any  # the type that the OpenAPI document gives, besides null
    target: Target
    aliases: tuple[str, ...] = ()  # other names that are accepted
    hints: tuple[str, ...] = ()  # names in other APIs that are refused with "did you mean" this field
    form: FormStyle = FormStyle.TEXT
    schema: Mapping[str, Any] = {}  # further members of its JSON schema
    required: bool = False  # a blank value is refused instead of counting as absent
    trims: bool = True  # white space around text is dropped before `read`


class Parameters:
    """The fields that a create request of one kind has."""

    def __init__(self, kind: Kind, rows: Iterable[Parameter], not_here: Mapping[str, str] | None = None) -> None:
        """`rows` have the order of the OpenAPI document and of `request` in an answer.

        `not_here`: name of a field of the other kind → a sentence that says why this kind does not have it.
        """
        self.kind = kind
        self.rows = tuple(rows)
        self.aliases = {alias: row.name for row in self.rows for alias in row.aliases}
        # Every name that is accepted.
        self.by_name = {name: row for row in self.rows for name in (row.name, *row.aliases)}
        self.hints = {hint: row.name for row in self.rows for hint in row.hints}
        self.not_here = dict(not_here or {})
        # What ends up in each holder: name of the field → field of the holder.
        self.held = {
            holder: {row.name: row.target.field for row in self.rows if row.target.holder is holder}
            for holder in Holder
        }

    def body(self, name: str, module: str) -> type[Struct]:
        """Return the body of a create request for the OpenAPI document.

        A request is read by `create_request.py`, which takes more.
        """
        return defstruct(
            name,
            [
                (row.name, row.json_type) if row.required else (row.name, row.json_type | None, None)
                for row in self.rows
            ],
            kw_only=True,
            forbid_unknown_fields=True,
            omit_defaults=True,
            module=module,
            namespace={
                "__doc__": "The body of a create request under its own names.\n\n"
                "A field that is `null` or blank is the same as one that is absent. Numbers and booleans may come as"
                " text."
            },
        )


def setting(field: str, setting_type: Any) -> Target:
    """The target of a field of `Settings`, whose value has `setting_type` in an answer."""
    return Target(Holder.SETTINGS, field, setting_type=setting_type)


def read_field(parameter: Parameter, value: object, name: str) -> Any:  # each field has a type of its own
    """Return what a value means; `name` is the name that the client used. None: the field is not asked for.

    Null, and blank text of a field that is not required, are the same as an absent field.
    """
    if isinstance(value, str) and parameter.trims:
        value = spellings.trim(value)
        if not value and not parameter.required:
            return None
    return None if value is None else parameter.read(value, name)
