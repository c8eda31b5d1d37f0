"""How an answer shows the request of a generation and the settings of a route, under the API's own names."""

from typing import Any

from msgspec import UNSET, UnsetType, defstruct

from gateway.api.generations.image_parameters import PARAMETERS_OF
from gateway.api.generations.parameter import Holder, Parameters, Shown
from gateway.domain.adapter.request import Settings, TextInput
from gateway.domain.generation.model import GenerationRequest

# Name in the API → the row. A setting that both kinds have is the same field in both tables.
_SETTINGS = {
    row.name: row for table in PARAMETERS_OF.values() for row in table.rows if row.target.holder is Holder.SETTINGS
}
_SettingsFields: Any = defstruct(
    "_SettingsFields",
    [(name, row.target.setting_type | UnsetType, UNSET) for name, row in _SETTINGS.items()],
    frozen=True,
    kw_only=True,
)


class SettingsView(_SettingsFields):  # type: ignore[misc]  # its fields are in the table
    """The settings that a provider was sent. A setting that was left to the provider is absent."""


def settings_view(settings: Settings) -> dict[str, Any]:
    """Return the settings that are set: name in the API → value."""
    view: dict[str, Any] = {}
    for name, row in _SETTINGS.items():
        value = getattr(settings, row.target.field)
        if value is not None:
            view[name] = value
    return view


_HOLDERS = (Holder.REQUEST, Holder.SETTINGS, Holder.INPUT)  # in the order of `_parts`


def _parts(request: GenerationRequest) -> tuple[object, ...]:
    return request, request.settings, request.input


_DEFAULTS = _parts(GenerationRequest(model="", input=TextInput()))
_ALWAYS = object()  # equal to no value


def _shown(table: Parameters) -> tuple[tuple[str, int, str, object], ...]:
    """Name in the API, index of its holder in `_parts`, field of the holder, and the value that is not shown."""
    return tuple(
        (
            row.name,
            _HOLDERS.index(row.target.holder),
            row.target.field,
            _ALWAYS
            if row.target.shown is Shown.ALWAYS
            else getattr(_DEFAULTS[_HOLDERS.index(row.target.holder)], row.target.field, None),
        )
        for row in table.rows
        if row.target.holder in _HOLDERS and row.target.shown is not Shown.NEVER
    )


_SHOWN = {kind: _shown(table) for kind, table in PARAMETERS_OF.items()}


def request_view(request: GenerationRequest) -> dict[str, Any]:
    """Return what the client asked for: name in the API → value. A field that was not asked for is absent.

    An image is shown as its URL or as the `file_…` name that the gateway gave to its bytes.
    """
    view: dict[str, Any] = {}
    parts = _parts(request)
    for name, holder, field, hidden in _SHOWN[request.kind]:
        value = getattr(parts[holder], field, None)  # an input has only the fields of its kind
        if value is not None and value != hidden:
            view[name] = value
    return view
