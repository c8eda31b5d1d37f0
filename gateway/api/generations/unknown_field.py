"""The refusal of a field that a create request does not have, with a hint at the field that was probably meant."""

import difflib
import re

from gateway.api.generations.parameters import BY_NAME, PARAMETERS
from gateway.api.web.json_body import join
from gateway.domain.errors import UnknownParameter

_HINTS = {hint: parameter.name for parameter in PARAMETERS for hint in parameter.hints}
# How alike two names have to be, from 0 to 1. `promt` and `prompt` are 0.91, `file` and `size` 0.5.
_ALIKE = 0.75
_SHOWN_MAX = 64  # characters of a name that are compared: names of any length may come


def unknown_field(name: str) -> UnknownParameter:
    """Return the error for a name that no field has; it names the nearest field, or else all fields."""
    shown = join("", name)
    nearest = nearest_field(name)
    names = ", ".join(parameter.name for parameter in PARAMETERS)
    hint = f"The fields are: {names}." if nearest is None else f"Did you mean `{nearest}`?"
    return UnknownParameter(
        f"`{shown}` is not a field of this request. {hint} A provider's own options go into `provider_options`.",
        param=shown,
    )


def nearest_field(name: str) -> str | None:
    """Return the field that another API calls by this name, or one that is spelt almost like it."""
    plain = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|[-. ]", "_", name[:_SHOWN_MAX].partition("[")[0]).lower()
    if plain in BY_NAME:
        return plain
    if plain in _HINTS:
        return _HINTS[plain]
    matches = difflib.get_close_matches(plain, [*BY_NAME, *_HINTS], 1, _ALIKE)
    return _HINTS.get(matches[0], matches[0]) if matches else None
