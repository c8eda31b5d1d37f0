"""How an answer shows the request of a generation and the settings of a route, under the API's own names."""

from collections.abc import Callable
from typing import Any

from msgspec import UNSET, UnsetType, defstruct

from gateway.api.generations.parameters import PARAMETERS, Holder, Shown
from gateway.domain.adapter.request import Settings, TextToVideo
from gateway.domain.generation.model import GenerationRequest

_SETTINGS = tuple((row.name, row.target.field) for row in PARAMETERS if row.target.holder is Holder.SETTINGS)
_SettingsFields: Any = defstruct(
    "_SettingsFields",
    [
        (row.name, row.target.setting_type | UnsetType, UNSET)
        for row in PARAMETERS
        if row.target.holder is Holder.SETTINGS
    ],
    frozen=True,
    kw_only=True,
)


class SettingsView(_SettingsFields):  # type: ignore[misc]  # its fields are in the table
    """The settings that a provider was sent. A setting that was left to the provider is absent."""


def settings_view(settings: Settings) -> dict[str, Any]:
    """Return the settings that are set: name in the API → value."""
    values = ((name, getattr(settings, field)) for name, field in _SETTINGS)
    return {name: value for name, value in values if value is not None}


_HOLDERS: dict[Holder, Callable[[GenerationRequest], object]] = {
    Holder.REQUEST: lambda request: request,
    Holder.SETTINGS: lambda request: request.settings,
    Holder.INPUT: lambda request: request.input,
}
_DEFAULTS = GenerationRequest(model="", input=TextToVideo())
_ALWAYS = object()  # equal to no value
# Name in the API, holder, field of the holder, and the value that is not shown.
_SHOWN = tuple(
    (
        row.name,
        _HOLDERS[row.target.holder],
        row.target.field,
        _ALWAYS
        if row.target.shown is Shown.ALWAYS
        else getattr(_HOLDERS[row.target.holder](_DEFAULTS), row.target.field, None),
    )
    for row in PARAMETERS
    if row.target.holder in _HOLDERS and row.target.shown is not Shown.NEVER
)


def request_view(request: GenerationRequest) -> dict[str, Any]:
    """Return what the client asked for: name in the API → value. A field that was not asked for is absent.

    An image is shown as its URL or as the `file_…` name that the gateway gave to its bytes.
    """
    view: dict[str, Any] = {}
    for name, holder, field, hidden in _SHOWN:
        value = getattr(holder(request), field, None)  # an input has only the fields of its kind
        if value is not None and value != hidden:
            view[name] = value
    return view
