"""The calls of the package `openrouter` for videos, at its own path `/api/v1` and at `/v1`."""

from calls import KEY, PATIENCE, URL, call, until
from openrouter import OpenRouter
from openrouter.errors import OpenRouterError

WAVES = {"model": "kling", "prompt": "Waves", "aspect_ratio": "16:9", "duration": 5, "resolution": "720p"}
FRAME = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}, "frame_type": "first_frame"}
ENDED = ("completed", "failed", "cancelled", "expired")


def calls(base: str) -> None:
    client = OpenRouter(api_key=KEY, server_url=URL + base, timeout_ms=int(PATIENCE * 1000))
    videos = client.video_generation
    with call(f"video_generation.generate, {base}"):
        job = videos.generate(**WAVES)
        assert job.status in ("pending", "in_progress")
    with call(f"video_generation.get_generation, {base}"):
        ended = until(lambda: videos.get_generation(job_id=job.id), lambda read: read.status in ENDED)
        assert ended.status == "completed", ended
        assert ended.unsigned_urls
    with call(f"video_generation.get_video_content, {base}"):
        assert videos.get_video_content(job_id=job.id, index=0).read()[4:8] == b"ftyp"
    with call(f"video_generation.list_videos_models, {base}"):
        assert any(model.id == "kling" for model in videos.list_videos_models().data)
    with call(f"video_generation.list_videos_models, without a key, {base}"):
        assert OpenRouter(server_url=URL + base).video_generation.list_videos_models().data
    with call(f"video_generation.generate, frame_images, {base}"):
        assert videos.generate(model="kling", prompt="Zoom in", duration=5, frame_images=[FRAME]).id
    with call(f"video_generation.generate, unknown model: refused, {base}"):
        try:
            videos.generate(model="nobody/nothing", prompt="x")
        except OpenRouterError as error:
            assert 400 <= error.status_code < 500, error  # noqa: PT017  # the script runs without pytest
        else:
            raise AssertionError("no OpenRouterError")


calls("/api/v1")
calls("/v1")
calls("/openrouter/v1")
