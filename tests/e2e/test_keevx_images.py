"""Images of Keevx through the engine, with the sandbox as the provider: what is bought, and how tasks are followed."""

import io
from typing import Any

import httpx
import pytest
from PIL import Image

from gateway.domain.adapter.failure import FailureKind
from gateway.domain.adapter.request import Input, ReferencesInput, Settings, TextInput
from gateway.domain.errors import GatewayError
from gateway.domain.generation.model import AttemptState, Generation, GenerationRequest
from gateway.domain.routing.image_limits import ImageFacts
from gateway.generations.repeats import InlineFile
from gateway.generations.service import Generations

from .conftest import T0, Gateway

OWNER = "key_of_a_test"
URLS = tuple(f"https://example.com/{number}.png" for number in range(6))


async def create(
    gateway: Gateway,
    value: Input | None = None,
    *,
    model: str = "image",
    prompt: str = "A lake.",
    count: int = 1,
    files: dict[str, InlineFile] | None = None,
    **settings: Any,
) -> Generation:
    """Create an image generation as any API of the gateway does."""
    generations: Generations = gateway.app.litestar.state.context.generations
    request = GenerationRequest(
        model=model,
        kind="image",
        input=value or TextInput(),
        prompt=prompt,
        count=count,
        settings=Settings(**settings),
    )
    return (await generations.create(request, key=OWNER, files=files)).generation


async def until_files(gateway: Gateway, generation: Generation) -> Generation:
    """Move the clock until the provider has named a file for every output."""

    async def all_found() -> bool:
        stored = await gateway.stored(generation.id)
        return stored.status.terminal or all(output.artifact is not None for output in stored.outputs)

    await gateway.clock.run_until(all_found)
    return await gateway.stored(generation.id)


async def until_end(gateway: Gateway, generation: Generation) -> Generation:
    async def ended() -> bool:
        return (await gateway.stored(generation.id)).status.terminal

    await gateway.clock.run_until(ended)
    return await gateway.stored(generation.id)


def sent(gateway: Gateway) -> list[dict[str, Any]]:
    """The bodies of the submits that started tasks, each once, without the address for callbacks."""
    bodies = {task.fingerprint: dict(task.request) for task in gateway.sandbox.state.tasks.values()}
    return [{name: value for name, value in body.items() if name != "callback_url"} for body in bodies.values()]


@pytest.fixture
async def polling(gateway: Gateway) -> Gateway:
    """A gateway with every provider, to which the sandbox sends no callbacks."""
    gateway.sandbox.fault("keevx", "callback", "none", times=None)
    return gateway


@pytest.mark.parametrize("model", ["keevx/image", "image", "auto"])
async def test_an_image_is_made_from_a_prompt_under_every_name(polling: Gateway, model: str) -> None:
    generation = await create(polling, model=model, quality="1K", aspect_ratio="1:1", mode="pro")
    stored = await until_files(polling, generation)

    assert sent(polling) == [{"prompt": "A lake.", "module": "pro", "image_quality": "1K", "image_ratio": "1:1"}]
    assert (polling.submits, polling.paid) == ({"keevx": 1}, {"keevx": 1})
    [output] = stored.outputs
    assert output.artifact is not None
    async with httpx.AsyncClient(trust_env=False) as client:
        file = await client.get(output.artifact.url)
    with Image.open(io.BytesIO(file.content)) as image:
        assert (image.format, image.size) == ("PNG", (90, 90))


async def test_several_images_are_one_submit_and_a_task_each(polling: Gateway) -> None:
    stored = await until_files(polling, await create(polling, count=8))

    [attempt] = stored.attempts
    assert [task.ref.path for task in attempt.tasks] == ["/image_generate"] * 8
    assert {task.ref.id for task in attempt.tasks} == set(polling.sandbox.state.tasks)
    assert (polling.submits, polling.paid) == ({"keevx": 1}, {"keevx": 8})
    assert sent(polling) == [{"prompt": "A lake.", "generate_count": 8}]


async def test_a_task_is_polled_every_ten_seconds_and_given_up_after_ten_minutes(polling: Gateway) -> None:
    polling.sandbox.fault("keevx", "task", "stuck")
    generation = await create(polling)
    await polling.clock.run_for(65)
    assert polling.received("keevx", "poll") in {5, 6}  # the pauses vary a little

    async def given_up() -> bool:
        return (await polling.stored(generation.id)).attempts[0].state is AttemptState.ABANDONED

    await polling.clock.run_until(given_up)
    assert 590 <= polling.clock.now().timestamp() - T0 <= 680


async def test_five_references_arrive_in_their_order(polling: Gateway) -> None:
    await until_files(polling, await create(polling, ReferencesInput(references=URLS[:5])))
    assert sent(polling) == [{"prompt": "A lake.", "reference_images": list(URLS[:5])}]


async def test_six_references_are_refused_and_nothing_is_bought(polling: Gateway) -> None:
    """The sandbox, like Keevx, would take six and use five."""
    with pytest.raises(GatewayError, match="takes at most 5 reference images, not 6"):
        await create(polling, ReferencesInput(references=URLS))
    assert (polling.submits, polling.paid) == ({}, {})


@pytest.mark.parametrize("form", ["PNG", "BMP", "GIF"])
async def test_the_bytes_of_a_reference_are_uploaded(polling: Gateway, form: str) -> None:
    out = io.BytesIO()
    Image.new("RGB", (32, 32), "teal").save(out, form)
    facts = ImageFacts(content_type=f"image/{form.lower()}", bytes=len(out.getvalue()), width=32, height=32)
    files = {"file_1": InlineFile(out.getvalue(), facts)}
    await until_files(polling, await create(polling, ReferencesInput(references=("file_1",)), files=files))

    [body] = sent(polling)
    [upload] = polling.sandbox.state.uploads.values()
    assert (upload.data, upload.content_type) == (out.getvalue(), facts.content_type)
    assert body["reference_images"][0].startswith(f"{polling.sandbox.url}/files/uploads/")


async def test_a_creation_that_failed_is_sent_again(polling: Gateway) -> None:
    """Keevx documents that nothing was created, so a second submit buys nothing twice."""
    polling.sandbox.fault("keevx", "submit", "530003")
    stored = await until_files(polling, await create(polling))
    assert (polling.submits, polling.paid) == ({"keevx": 2}, {"keevx": 1})
    assert [attempt.state for attempt in stored.attempts][:1] == [AttemptState.REFUSED]


async def test_a_creation_that_names_a_task_is_followed_and_never_sent_again(polling: Gateway) -> None:
    polling.sandbox.fault(
        "keevx", "submit", "reply", json={"code": 530003, "msg": "x", "data": {"task_ids": ["i2is-1"]}}
    )
    generation = await create(polling)
    await polling.clock.run_for(60)
    [attempt] = (await polling.stored(generation.id)).attempts
    assert [(task.ref.id, task.ref.path) for task in attempt.tasks] == [("i2is-1", "/image_generate")]
    assert polling.submits == {"keevx": 1}


@pytest.mark.parametrize(
    ("prompt", "kind"),
    [
        ("[[sandbox:keevx:task:fail_content]]", FailureKind.CONTENT_POLICY),
        ("[[sandbox:keevx:task:fail_content?message=图像生成因内容策略失败]]", FailureKind.CONTENT_POLICY),
        ("[[sandbox:keevx:task:fail_image]]", FailureKind.INVALID_REQUEST),
        ("[[sandbox:keevx:submit:100002_validation]]", FailureKind.INVALID_REQUEST),
        ("[[sandbox:keevx:submit:530002]]", FailureKind.INVALID_REQUEST),
    ],
)
async def test_a_failure_of_the_input_ends_the_generation(polling: Gateway, prompt: str, kind: FailureKind) -> None:
    ended = await until_end(polling, await create(polling, prompt=prompt))
    assert ended.status == "failed"
    assert [attempt.failure.kind for attempt in ended.attempts if attempt.failure] == [kind]
    assert polling.submits == {"keevx": 1}


async def test_a_task_that_only_a_callback_names_is_read_as_an_image(gateway: Gateway) -> None:
    """The reply to the submit is lost. The callback names the task, and it is polled at the path of images."""
    gateway.sandbox.fault("keevx", "callback", "none", times=None)
    gateway.sandbox.fault("keevx", "submit", "close_after_accept")
    generation = await create(gateway)

    async def unclear() -> bool:
        attempts = (await gateway.stored(generation.id)).attempts
        return bool(attempts) and attempts[0].state is AttemptState.UNKNOWN

    await gateway.clock.run_until(unclear)
    [task] = gateway.sandbox.state.tasks.values()
    data = {"task_id": task.id, "status": "SUCCEEDED", "image_url": "http://169.254.169.254/", "error_message": ""}
    callback = {"code": 0, "msg": "ok", "task_type": "image_generate", "data": data}
    answer = await gateway.client.post(str(task.callback_url), json=callback)
    assert answer.status_code == 200
    stored = await until_files(gateway, generation)

    assert [(ref.id, ref.path) for ref in (each.ref for each in stored.attempts[0].tasks)] == [
        (task.id, "/image_generate")
    ]
    assert [output.artifact.url for output in stored.outputs if output.artifact] == [task.result_url]
    assert (gateway.submits, gateway.paid) == ({"keevx": 1}, {"keevx": 1})


async def test_a_video_beside_it_is_read_at_its_own_path(polling: Gateway) -> None:
    image = await create(polling)
    video = await polling.post(model="keevx/V", image="https://example.com/first.jpg")
    assert (await polling.finish(video["id"]))["status"] == "completed"
    paths = {
        generation.kind: generation.attempts[0].tasks[0].ref.path
        for generation in (await polling.stored(image.id), await polling.stored(video["id"]))
    }
    assert paths == {"image": "/image_generate", "video": ""}
