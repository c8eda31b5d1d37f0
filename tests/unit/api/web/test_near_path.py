"""A path that does not exist leads to the one that was meant, and never repeats what the client sent."""

from difflib import SequenceMatcher

import pytest

from gateway.api.web.near_path import near_path, paths_below

from ....cases import every

VIDEOS = "/v1/videos/generations"
TEMPLATES = [
    VIDEOS,
    f"{VIDEOS}/quote",
    f"{VIDEOS}/{{generation_id}}",
    f"{VIDEOS}/{{generation_id}}/cancel",
    f"{VIDEOS}/{{generation_id}}/events",
    "/v1/models",
    "/v1/models/{name}",
    "/v1/files",
    "/v1/files/{file_id}",
    "/v1/admin/attempts",
    "/callbacks/{provider}/{token}",
    "/health/live",
    "/health/ready",
    "/docs",
    "/openapi.json",
]


@every(
    ("path", "meant"),
    [
        ("/videos/generations", VIDEOS),
        ("/v1/v1/videos/generations", VIDEOS),
        ("/v1/v1/v1/models", "/v1/models"),
        ("/api/v1/videos/generations", VIDEOS),
        ("/v2/videos/generations", VIDEOS),
        ("//v1//videos/generations", VIDEOS),
        ("/V1/Videos/Generations", VIDEOS),
        ("/v1/video/generations", VIDEOS),
        ("/video/generation", VIDEOS),
        ("/v1/videos", VIDEOS),
        ("/videos", VIDEOS),
        ("/v1/generations", VIDEOS),
        ("/v1/videos/generation/gen_1/cancel", f"{VIDEOS}/{{generation_id}}/cancel"),
        ("/videos/generations/gen_1", f"{VIDEOS}/{{generation_id}}"),
        ("/videos/generations/quote", f"{VIDEOS}/quote"),
        ("/models/foxapi", "/v1/models/{name}"),
        ("/file", "/v1/files"),
        ("/admin/attempts", "/v1/admin/attempts"),
        ("/health", "/health/live"),
        ("/v1/health/ready", "/health/ready"),
        ("/v1/docs", "/docs"),
    ],
)
def test_the_path_that_was_meant_is_found(path: str, meant: str) -> None:
    assert near_path(path, TEMPLATES) == meant


@pytest.mark.parametrize(
    "path",
    ["/", "", "/v1", "/v1/v1", "/v1/chat/completions", "/favicon.ico", "/a" * 40, "/videos/" + "x" * 1000, "/.env"],
)
def test_nothing_is_suggested_for_any_other_path(path: str) -> None:
    assert near_path(path, TEMPLATES) is None


KEEVX = ["/keevx/v1/image_generate", "/keevx/v1/image_to_video"]


@pytest.mark.parametrize(
    ("path", "below"),
    [
        ("/keevx/v1/models", KEEVX),
        ("/Keevx//v1", KEEVX),
        ("/keevx", KEEVX),
        ("/v1/models", []),
        ("/api/v1/models", []),
        ("/callbacks/x", []),
        ("/", []),
    ],
)
def test_the_paths_of_another_api_are_those_below_its_base(path: str, below: list[str]) -> None:
    assert paths_below(path, [*TEMPLATES, *KEEVX, "/api/v1/videos"]) == below


def test_a_missing_v1_below_a_base_is_seen() -> None:
    assert near_path("/keevx/image_to_video", KEEVX) == "/keevx/v1/image_to_video"


def test_a_wrong_path_is_compared_with_few_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Anybody may ask for wrong paths, and each comparison takes time on the event loop."""
    compared: list[str] = []

    def noted(_: None, segment: str, part: str) -> SequenceMatcher[str]:
        compared.append(segment)
        return SequenceMatcher(None, segment, part)

    monkeypatch.setattr("gateway.api.web.near_path.SequenceMatcher", noted)
    assert near_path("/v1/nope", [f"/v1/{'generations'[: 4 + place % 7]}/{{id}}" for place in range(70)]) is None
    assert len(compared) < 40
