"""The refusal of a field that a create request does not have, with a hint at the field that was probably meant."""

import difflib
import re

from gateway.api.generations.parameter import Parameters
from gateway.api.web.json_body import join
from gateway.domain.errors import UnknownParameter

# How alike two names have to be, from 0 to 1. `promt` and `prompt` are 0.91, `file` and `size` 0.5.
_ALIKE = 0.75
_SHOWN_MAX = 64  # characters of a name that are compared: names of any length may come


def unknown_field(name: str, table: Parameters) -> UnknownParameter:
    """Return the error for a name that no field has; it names the nearest field, or else all fields.

    A field that only the other kind of generation has is answered with the reason.
    """
    shown = join("", name)
    plain = _plain(name)
    if plain in table.not_here:
        return UnknownParameter(f"`{shown}` is not a field of this request. {table.not_here[plain]}", param=shown)
    nearest = nearest_field(name, table)
    names = ", ".join(parameter.name for parameter in table.rows)
    hint = f"The fields are: {names}." if nearest is None else f"Did you mean `{nearest}`?"
    return UnknownParameter(
        f"`{shown}` is not a field of this request. {hint} A provider's own options go into `provider_options`.",
        param=shown,
    )


def nearest_field(name: str, table: Parameters) -> str | None:
    """Return the field that another API calls by this name, or one that is spelt almost like it."""
    plain = _plain(name)
    if plain in table.by_name:
        return plain
    if plain in table.hints:
        return table.hints[plain]
    matches = difflib.get_close_matches(plain, [*table.by_name, *table.hints], 1, _ALIKE)
    return table.hints.get(matches[0], matches[0]) if matches else None


def _plain(name: str) -> str:
    """Return a name without its member, in lower case and with underscores: `imageFile[]` is `image_file`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|[-. ]", "_", name[:_SHOWN_MAX].partition("[")[0]).lower()
