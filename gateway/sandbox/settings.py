"""How the upstreams behave, and what time it is for them."""

import time
from collections.abc import Callable, Mapping
from typing import Any, Literal

import msgspec
from msgspec import Struct


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the upstreams behave. Where a provider's page knows several behaviours, each can be chosen."""

    queued_seconds: float = 1.0
    total_seconds: float = 6.0  # from submit to the end of the task, the queue included
    public_url: str | None = None  # where results and uploads are reached; None: where the request came to
    fetch_hosts: tuple[str, ...] = ()  # hosts besides loopback and its own that images are fetched from
    check_images: bool = True
    plain_results: bool = False  # draw neither prompt nor image into a result: one of a kind is drawn once for all
    max_short_side: int | None = None  # draw results no larger than this; None: the size that was asked for
    keevx_errors: Literal["http", "200"] = "http"  # business errors under their HTTP status, or under 200
    keevx_empty: Literal["blank", "null"] = "blank"  # how the fields of an unfinished task are empty
    keevx_extra_ids: int = 0  # tasks started beyond those asked for
    keevx_kl_references: int = 7  # one page says 7, the schema of another 5
    keevx_requires_source: bool = False  # is the header "source: skill" enforced?
    relay_regime: Literal["A", "B", "B-old", "C"] = "B"  # C: the task plug-in, since August 2026
    # None: the shape of the regime, which is OpenAI's video before C and Kling's own envelope in it.
    relay_submit: (
        Literal["documented", "task_id", "kling_task_id", "openai_upstream_id", "openai_video", "kling_envelope"] | None
    ) = None
    # None: the shape of the regime, which is the relay's own task before C and Kling's last word in it.
    relay_query: (
        Literal[
            "task_dto",
            "task_dto_2025",
            "nested",
            "proxy_url",
            "documented",
            "openai_video",
            "kling_envelope",
            "legacy",
            "flat",
            "native",
            "native_bare",
        ]
        | None
    ) = None
    relay_kling_refuses: Literal["status", "200"] = "status"  # by HTTP status, or under 200 with a code other than 0
    relay_native_errors: Literal["named", "general"] = "named"  # C: each code by its name, or one for each HTTP status
    relay_models: tuple[str, ...] = (
        "kling-v1",
        "kling-v1-6",
        "kling-v2-master",
        "kling-v2-1",
        "kling-v2-1-master",
        "kling-v2-5-turbo",
        "kling-v2-6",
        "kling-v3",
    )
    relay_insert_seconds: float = 0.0  # the reply comes before the row: how long a new task is not to be found
    relay_refuses_get_type: bool = False  # older builds: a GET with a JSON content type and no body is a 400
    foxapi_submit: Literal["documented", "newer"] = "documented"
    foxapi_query: Literal["current", "dimensions", "strings", "old"] = "current"
    foxapi_storage_bytes: int | None = None
    files_for_browsers: bool = False  # results are 403 for a User-Agent that does not begin like a browser's
    foxapi_blocks_default_agents: bool = False  # 403 "error code: 1010" for a library's own User-Agent

    def changed(self, changes: Mapping[str, Any]) -> "Settings":
        """The same with some settings changed. Raises msgspec.ValidationError for a wrong name or value."""
        return msgspec.convert(msgspec.to_builtins(self) | changes, Settings)


class Clock:
    """The time of the sandbox: the machine's, or one that stands still until it is moved."""

    def __init__(self, start: float | None = None) -> None:
        self.frozen = start is not None
        self._offset = start or 0.0
        self.listeners: list[Callable[[], object]] = []

    def now(self) -> float:
        """Unix seconds."""
        return self._offset if self.frozen else time.time() + self._offset

    def advance(self, seconds: float) -> None:
        """Move on; what is due then happens."""
        self._offset += seconds
        for listener in self.listeners:
            listener()
