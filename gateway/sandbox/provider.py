"""The parts of an imitated provider: routes, a check of the key, and a table of documented errors."""

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gateway.sandbox.callbacks import Callbacks
from gateway.sandbox.inputs import Images
from gateway.sandbox.state import State
from gateway.sandbox.wire import Reply, Request

BAD_KEY = "sandbox-invalid"  # a key that every provider refuses
POOR_KEY = "sandbox-no-credit"  # a key whose account has run out of credit


@dataclass(frozen=True, slots=True)
class Desk:
    """What a handler gets to work with."""

    state: State
    images: Images
    callbacks: Callbacks
    content: Callable[[str, Request], Awaitable[Reply]]  # the bytes of a result, by file name


Handler = Callable[[Request, Desk, str], Awaitable[Reply]]
Errors = Mapping[str, tuple[int, Any]]  # fault name → status, body


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One path of a provider."""

    method: str
    path: str  # a pattern with at most one group; the handler gets the text of the group
    handler: Handler
    operation: str = "other"

    def match(self, method: str, path: str) -> str | None:
        """The text of the pattern's group, or "" without a group; `None` if the request is not for this route."""
        match = re.fullmatch(self.path, path) if method == self.method else None
        return None if match is None else (match[1] if match.re.groups else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """One upstream."""

    name: str
    routes: tuple[Route, ...]
    errors: Errors
    refuse: Callable[[Request, State, str], Reply | None]  # the refusal of a wrong key; None: it is right
    unknown_path: Callable[[Request], Reply]
    headers: Callable[[], tuple[tuple[str, str], ...]] = tuple  # of every reply

    def find(self, method: str, path: str) -> tuple[Route, str] | None:
        """The route of a request, and the text of its pattern's group; `None` for an unknown path."""
        for route in self.routes:
            group = route.match(method, path)
            if group is not None:
                return route, group
        return None


def prompt_of(body: Mapping[str, Any] | None) -> str:
    """All texts of a submit that may contain a marker."""
    if body is None:
        return ""
    texts = [body.get("prompt")]
    shots = body.get("multi_prompt")
    if isinstance(shots, list):
        texts += [shot.get("prompt") for shot in shots if isinstance(shot, dict)]
    return " ".join(text for text in texts if isinstance(text, str))


def count_of(body: Mapping[str, Any] | None) -> int:
    """How many results a submit requests."""
    count = body.get("generate_count") if body else None
    return count if isinstance(count, int) and count > 0 else 1


def model_of(body: Mapping[str, Any] | None) -> str:
    """The model that a submit names, in any of the fields that providers use."""
    names = ("model", "model_name", "module")
    return next((str(body[name]) for name in names if body and name in body), "")
