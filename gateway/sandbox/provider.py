"""What an upstream is made of: routes, a check of the key, and a table of documented errors."""

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
    """What a handler works with."""

    state: State
    images: Images
    callbacks: Callbacks
    content: Callable[[str, Request], Awaitable[Reply]]  # a result's bytes, by file name


Handler = Callable[[Request, Desk, str], Awaitable[Reply]]
Errors = Mapping[str, tuple[int, Any]]  # fault name → status, body


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One path of an upstream."""

    method: str
    path: str  # a pattern; its one group, where it has one, goes to the handler
    handler: Handler
    operation: str = "other"

    def match(self, method: str, path: str) -> str | None:
        """What the pattern's group holds; None when the route is another."""
        found = re.fullmatch(self.path, path) if method == self.method else None
        return None if found is None else (found[1] if found.re.groups else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """One upstream."""

    name: str
    routes: tuple[Route, ...]
    errors: Errors
    refuse: Callable[[Request, State, str], Reply | None]  # the key, by operation; None: the key is good
    unknown_path: Callable[[Request], Reply]
    headers: Callable[[], tuple[tuple[str, str], ...]] = tuple  # on every reply

    def find(self, method: str, path: str) -> tuple[Route, str] | None:
        """The route of a request, and what its pattern's group holds."""
        for route in self.routes:
            found = route.match(method, path)
            if found is not None:
                return route, found
        return None


def prompt_of(body: Mapping[str, Any] | None) -> str:
    """Every text of a submit in which a marker may stand."""
    if body is None:
        return ""
    texts = [body.get("prompt")]
    shots = body.get("multi_prompt")
    if isinstance(shots, list):
        texts += [shot.get("prompt") for shot in shots if isinstance(shot, dict)]
    return " ".join(text for text in texts if isinstance(text, str))


def count_of(body: Mapping[str, Any] | None) -> int:
    """How many results a submit asks for."""
    count = body.get("generate_count") if body else None
    return count if isinstance(count, int) and count > 0 else 1


def model_of(body: Mapping[str, Any] | None) -> str:
    """The model that a submit names, whatever the field is called."""
    names = ("model", "model_name", "module")
    return next((str(body[name]) for name in names if body and name in body), "")
