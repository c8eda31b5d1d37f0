"""The size and the length that OpenAI's video shows, which has no place for warnings."""

import pytest
from msgspec.structs import replace

from gateway.api.dialects.openai_videos import size_text, video_view
from gateway.domain.adapter.failure import FailureKind
from gateway.domain.adapter.messages import failed
from gateway.domain.adapter.request import Settings
from gateway.domain.adapter.task import Status

from ...builders import World, done, generation

FIRST = Settings(duration_seconds=5, resolution="720p", aspect_ratio="16:9")
SECOND = Settings(duration_seconds=10, resolution="1080p", aspect_ratio="9:16")


def test_they_are_those_of_the_route_that_is_in_use() -> None:
    start = generation("acme/a", "bolt/b")
    routes = tuple(
        replace(route, settings=settings) for route, settings in zip(start.plan.routes, (FIRST, SECOND), strict=True)
    )
    world = World(replace(start, plan=replace(start.plan, routes=routes)))

    def shown() -> tuple[str, str, str]:
        view = video_view(world.generation)
        return view.status, view.size, view.seconds

    assert shown() == ("queued", "1280x720", "5")
    world.accept(1, "t1")
    world.read(1, failed(FailureKind.TASK_FAILED, "It broke."))
    world.accept(2, "t2")
    assert shown()[1:] == ("1080x1920", "10")
    world.read(2, done())
    assert world.generation.status is Status.COMPLETED
    assert shown() == ("completed", "1080x1920", "10")


@pytest.mark.parametrize(
    ("resolution", "ratio", "size"),
    [
        ("720p", "16:9", "1280x720"),
        ("720p", "9:16", "720x1280"),
        ("1080p", "1:1", "1080x1080"),
        ("480p", "16:9", "854x480"),
        ("1024p", "7:4", "1792x1024"),
        ("4k", "16:9", "3840x2160"),
        ("720p", None, None),
        (None, "16:9", None),
    ],
)
def test_a_size_is_a_resolution_and_a_ratio(resolution: str | None, ratio: str | None, size: str | None) -> None:
    assert size_text(Settings(resolution=resolution, aspect_ratio=ratio)) == size
