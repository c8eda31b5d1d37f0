"""The calls of the package `litellm` with the provider `openai` and `api_base` of the gateway."""

import io
from typing import Any

import litellm
from calls import IMAGE, KEY, PATIENCE, URL, call, until

TO: dict[str, Any] = {"api_base": f"{URL}/v1", "api_key": KEY, "timeout": PATIENCE}
VIDEO, IMAGES = "openai/sora-2", "openai/keevx/image"


def refused(arguments: dict[str, Any], *errors: type[Exception]) -> None:
    """The package raises one of its own errors for it."""
    try:
        litellm.video_generation(prompt="x", **arguments)
    except errors:
        return
    raise AssertionError(f"none of {errors}")


def videos() -> None:
    with call("video_generation"):
        assert litellm.video_generation(prompt="Waves", model=VIDEO, **TO).status == "queued"
    with call("video_generation, seconds, size, user"):
        made = litellm.video_generation(prompt="Waves", model=VIDEO, seconds="5", size="1280x720", user="u1", **TO)
    with call("video_generation, input_reference"):
        reference = io.BytesIO(IMAGE.read_bytes())
        assert litellm.video_generation(prompt="Zoom in", model=VIDEO, input_reference=reference, **TO).id
    with call("video_generation, fields of the gateway in extra_body"):
        assert litellm.video_generation(prompt="Waves", model=VIDEO, extra_body={"aspect_ratio": "16:9"}, **TO).id
    with call("video_generation, unknown model: refused"):
        refused(
            {"model": "openai/sora-2-xyz", **TO},
            litellm.exceptions.APIError,
            litellm.exceptions.BadRequestError,
            litellm.exceptions.NotFoundError,
        )
    with call("video_generation, wrong key: refused"):
        refused({"model": VIDEO, **TO, "api_key": "sk-nobody"}, litellm.exceptions.AuthenticationError)
    with call("video_status"):
        read = until(lambda: litellm.video_status(made.id, **TO), lambda video: video.status in ("completed", "failed"))
        assert read.status == "completed"
    with call("video_content"):
        assert litellm.video_content(made.id, **TO)[4:8] == b"ftyp"
    with call("video_list"):
        assert litellm.video_list(custom_llm_provider="openai", **TO)
    with call("video_remix"):
        assert litellm.video_remix(made.id, prompt="at night", **TO).id


def images() -> None:
    with call("image_generation"):
        assert litellm.image_generation(prompt="A lake", model=IMAGES, **TO).data
    with call("image_edit"):
        assert litellm.image_edit(image=IMAGE.open("rb"), prompt="at night", model=IMAGES, **TO).data


def rest() -> None:
    with call("create_file"):
        file = ("a.png", IMAGE.read_bytes())
        assert litellm.create_file(file=file, purpose="vision", custom_llm_provider="openai", **TO).id
    with call("get_valid_models"):
        names = litellm.get_valid_models(
            check_provider_endpoint=True, custom_llm_provider="openai", api_base=f"{URL}/v1", api_key=KEY
        )
        assert "openai/sora-2" in names or "sora-2" in names


videos()
images()
rest()
