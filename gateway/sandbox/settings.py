"""How the imitated providers behave, and their clock."""

import time
from collections.abc import Callable, Mapping
from typing import Any, Literal

import msgspec
from msgspec import Struct

from gateway.sandbox.media import ImageFormat


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the imitated providers behave. If a provider has several documented behaviours, each can be chosen."""

    queued_seconds: float = 1.0
    total_seconds: float = 6.0  # from the submit to the end of the task, including the queue
    public_url: str | None = None  # of results and uploads; None: the host of the request
    fetch_hosts: tuple[str, ...] = ()  # hosts that images may be fetched from, besides this machine
    check_images: bool = True
    plain_results: bool = False  # draw results without prompt and image, so that equal ones are drawn once
    max_short_side: int | None = None  # pixels; None: results have the requested size
    keevx_errors: Literal["http", "200"] = "http"  # business errors have an HTTP status, or 200
    keevx_empty: Literal["blank", "null"] = "blank"  # empty fields of an unfinished task: "" or null
    keevx_extra_ids: int = 0  # tasks started in addition to those requested
    keevx_kl_references: int = 7  # one page says 7, the schema on another page 5
    keevx_image_format: ImageFormat = "png"  # of the images that it makes; no page says more than an example
    keevx_requires_source: bool = False  # whether the header "source: skill" is required
    relay_regime: Literal["A", "B", "B-old", "C"] = "B"  # C: the task plug-in, since August 2026
    # None: the shape of the regime: OpenAI's video before C, Kling's own envelope in C.
    relay_submit: (
        Literal["documented", "task_id", "kling_task_id", "openai_upstream_id", "openai_video", "kling_envelope"] | None
    ) = None
    # None: the shape of the regime: the relay's own task before C, Kling's last answer in C.
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
    # Refusals of Kling have an HTTP status, or 200 and a code other than 0.
    relay_kling_refuses: Literal["status", "200"] = "status"
    relay_native_errors: Literal["named", "general"] = "named"  # C: a code for each error, or one for each HTTP status
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
    relay_insert_seconds: float = 0.0  # how long a new task is not found after the reply to its submit
    relay_refuses_get_type: bool = False  # older builds answer a GET with a JSON content type and no body with 400
    foxapi_submit: Literal["documented", "newer"] = "documented"
    foxapi_query: Literal["current", "dimensions", "strings", "old"] = "current"
    foxapi_storage_bytes: int | None = None
    files_for_browsers: bool = False  # results are 403 unless the User-Agent begins as a browser's
    foxapi_blocks_default_agents: bool = False  # 403 "error code: 1010" for the default User-Agent of a library

    def changed(self, changes: Mapping[str, Any]) -> "Settings":
        """These settings with some changed. Raises `msgspec.ValidationError` for a wrong name or value."""
        return msgspec.convert(msgspec.to_builtins(self) | changes, Settings)


class Clock:
    """The time of the sandbox: the machine's, or a fixed one that only `advance` changes."""

    def __init__(self, start: float | None = None) -> None:
        self.frozen = start is not None
        self._offset = start or 0.0
        self.listeners: list[Callable[[], object]] = []

    def now(self) -> float:
        """Unix seconds."""
        return self._offset if self.frozen else time.time() + self._offset

    def advance(self, seconds: float) -> None:
        """Move the clock forward. Callbacks that are due then are sent."""
        self._offset += seconds
        for listener in self.listeners:
            listener()
