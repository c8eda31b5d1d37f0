"""Attacks on secrets: a provider that quotes the gateway's key in many shapes and in every place of its replies."""

import base64
from typing import Any

from gateway.sandbox.echoes import SHAPES

# Keys of every look. A pattern knows the first; the others are found by their value alone.
KEYS = (
    "sk-proj-Ab3dE9fGh1JkLmN0pQrStUv",
    "9f86d081884c7d659a2feaa0c55ad015",
    "AKLTZjQ4:WkRrd05tRTROR0k1WmpjMA",
    "Zx.Q~77!pass/word+Key_2026=tail",
    "correct horse battery staple".replace(" ", "."),
)
# Where a refused submit quotes the key: the body of the reply, with `{}` in place of the echo.
PLACES: dict[str, dict[str, Any]] = {
    "message": {"json": {"error": {"message": "wrong key {} for this model", "code": "invalid_request"}}},
    "code": {"json": {"error": {"message": "no", "code": "{}"}}},
    "request_id": {"json": {"error": {"message": "no", "code": "x"}}, "headers": {"x-request-id": "{}"}},
    "text": {"text": "upstream said {} and closed"},
}


def echoes(place: str, shape: str, status: int = 400) -> dict[str, Any]:
    """The arguments of the sandbox's fault `reply` for an echo in this shape at this place."""

    def filled(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: filled(inner) for name, inner in value.items()}
        return value.replace("{}", f"{{key:{shape}}}") if isinstance(value, str) else value

    return {"status": status, **filled(PLACES[place])}


def leaks(seen: str, key: str) -> list[str]:
    """The shapes in which a text shows the key. Six letters that could be any word do not identify a key."""
    forms = {name: shape(key) for name, shape in SHAPES.items()}
    forms["base64_core"] = base64.b64encode(key.encode()).decode()[:-4]
    return [
        name for name, form in forms.items() if (len(form) >= 8 or not form.isalpha()) and form.lower() in seen.lower()
    ]
