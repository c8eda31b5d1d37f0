"""Image generations in the plan, with adapters that have nothing of any built-in provider."""

from dataclasses import replace as with_values
from typing import Any

import pytest
from msgspec.structs import replace

from gateway.domain.adapter.contract import Capability, HttpCall
from gateway.domain.adapter.request import (
    FramesInput,
    Input,
    InputKind,
    ReferencesInput,
    Settings,
    TextInput,
    UpstreamRequest,
    images_of,
)
from gateway.domain.generation.model import Adaptation, GenerationRequest
from gateway.domain.routing.image_limits import ImageFacts
from gateway.domain.routing.plan import Candidate, plan
from gateway.domain.routing.price import Price

# A model that draws from a prompt, in formats that the client chooses, and one that changes a picture.
DRAWS = Capability(
    kind="image",
    inputs=frozenset({InputKind.TEXT}),
    prompt_max=4000,
    qualities=frozenset({"1K", "2K"}),
    aspect_ratios=frozenset({"1:1", "3:2", "2:3"}),
    output_formats=frozenset({"png", "jpeg"}),
    seed=True,
    count_max=10,
)
CHANGES = with_values(
    DRAWS, inputs=frozenset({InputKind.REFERENCES}), references_max=2, output_formats=frozenset(), count_max=1
)
FILMS = Capability(
    inputs=frozenset({InputKind.TEXT, InputKind.REFERENCES}),
    prompt_max=4000,
    durations=frozenset({5}),
    aspect_ratios=frozenset({"1:1"}),
    references_max=9,
)
TWO = ReferencesInput(references=("https://images.example/a.png", "file_1"))
FACTS = {"file_1": ImageFacts(content_type="image/png", bytes=1000, width=64, height=64)}


def candidate(model: str, *capabilities: Capability, **more: Any) -> Candidate:
    return Candidate(provider="acme", model=model, capability_name=model, capabilities=capabilities, **more)


def ask(value: Input | None = None, *, count: int = 1, adapt: str | None = None, **settings: Any) -> GenerationRequest:
    return GenerationRequest(
        model="any",
        kind="image",
        input=value or TextInput(),
        prompt="a boat",
        settings=Settings(**settings),
        count=count,
        adapt=adapt,
    )


def to_upstream(request: UpstreamRequest) -> HttpCall:
    """The submit of the imagined provider, to see what the chosen route would send."""
    body = {
        "text": request.prompt,
        "pictures": list(images_of(request.input)),
        "size": request.settings.quality,
        "shape": request.settings.aspect_ratio,
        "type": request.settings.output_format,
        "seed": request.settings.seed,
    }
    return HttpCall(method="POST", path="/drawings", json={name: value for name, value in body.items() if value})


def sent_by(request: GenerationRequest, *candidates: Candidate) -> list[tuple[str, dict[str, Any]]]:
    """What each planned route sends, with the name of its model."""
    planned = plan(request, candidates, images=FACTS, links=True)
    return [
        (
            route.model,
            to_upstream(
                UpstreamRequest(
                    attempt_id="att_1",
                    model=route.model,
                    capability_name=route.capability_name,
                    prompt=request.prompt,
                    input=request.input,
                    settings=route.settings,
                    kind=request.kind,
                )
            ).json,
        )
        for route in planned.routes
    ]


MODELS = (candidate("films", FILMS), candidate("draws", DRAWS), candidate("changes", CHANGES))


def test_text_to_image_goes_to_models_that_draw() -> None:
    request = ask(quality="2K", aspect_ratio="6:4", output_format="jpeg", seed=7)
    assert sent_by(request, *MODELS) == [
        ("draws", {"text": "a boat", "size": "2K", "shape": "3:2", "type": "jpeg", "seed": 7})
    ]


def test_image_to_image_goes_to_models_that_take_references() -> None:
    assert sent_by(ask(TWO, quality="1K"), *MODELS) == [
        ("changes", {"text": "a boat", "pictures": list(TWO.references), "size": "1K"})
    ]


def test_a_model_may_draw_and_change_and_film() -> None:
    both = candidate("both", FILMS, DRAWS, CHANGES)
    assert [name for name, _ in sent_by(ask(), both)] == ["both"]
    assert [name for name, _ in sent_by(ask(TWO), both)] == ["both"]
    assert plan(ask(count=10), [both]).routes[0].count_max == 10
    film = replace(ask(), kind="video", settings=Settings(duration_seconds=5))
    assert plan(film, [both]).routes[0].settings.duration_seconds == 5


@pytest.mark.parametrize(
    ("request_", "model", "param", "message"),
    [
        (ask(), "films", "model", "makes videos: use POST /v1/videos/generations"),
        (replace(ask(), kind="video"), "draws", "model", "makes images: use POST /v1/images/generations"),
        (
            ask(TWO),
            "draws",
            "reference_images",
            "does not take `reference_images`; it takes a prompt without an image",
        ),
        (
            ask(ReferencesInput(references=("file_1",) * 3)),
            "changes",
            "reference_images",
            "takes at most 2 reference images, not 3",
        ),
        (
            ask(FramesInput(first_frame="file_1")),
            "draws",
            "reference_images",
            "does not take `image` as the first frame; it takes a prompt without an image",
        ),
        (ask(TWO, output_format="png"), "changes", "output_format", "does not take it"),
        (ask(output_format="webp"), "draws", "output_format", "takes jpeg, png, not webp"),
        (ask(quality="4K"), "draws", "quality", 'takes 1K, 2K, not 4K; `"adapt": "nearest"` would take 2K'),
        (ask(duration_seconds=5), "draws", "duration", "does not take it"),
    ],
)
def test_a_model_that_cannot_make_the_image_says_why(
    request_: GenerationRequest, model: str, param: str, message: str
) -> None:
    (chosen,) = [entry for entry in MODELS if entry.model == model]
    planned = plan(request_, [chosen], images=FACTS, links=True)
    assert [(reason.param, reason.message) for left in planned.left_out for reason in left.reasons] == [
        (param, message)
    ]


def test_nearest_changes_quality_and_ratio_and_says_so() -> None:
    (route,) = plan(ask(quality="4K", aspect_ratio="16:9", adapt="nearest"), [candidate("draws", DRAWS)]).routes
    assert (route.settings.quality, route.settings.aspect_ratio) == ("2K", "3:2")
    assert route.adaptations == (
        Adaptation(param="aspect_ratio", asked="16:9", given="3:2"),
        Adaptation(param="quality", asked="4K", given="2K"),
    )


BY_QUALITY = (Price(per_clip=0.02, quality="1K"), Price(per_clip=0.04, quality="2K"))


@pytest.mark.parametrize(
    ("quality", "assumes", "cost"),
    [("1K", {}, 0.02), ("2K", {"quality": "1K"}, 0.04), (None, {"quality": "1K"}, 0.02), (None, {}, 0.04)],
)
def test_an_image_costs_what_its_quality_costs(quality: str | None, assumes: dict[str, Any], cost: float) -> None:
    """Without a quality it is the provider's own default, and the dearest one if that is not known."""
    draws = candidate("draws", with_values(DRAWS, assumes=assumes), prices=BY_QUALITY)
    assert plan(ask(quality=quality), [draws]).routes[0].cost_usd == cost


@pytest.mark.parametrize(
    ("mode", "assumes", "cost"),
    [("std", {}, 1), ("pro", {"mode": "std"}, 3), (None, {"mode": "std"}, 1), (None, {}, 3)],
)
def test_a_mode_that_means_no_resolution_has_its_own_price(
    mode: str | None, assumes: dict[str, Any], cost: float
) -> None:
    modes = with_values(DRAWS, modes={"std": None, "pro": None}, assumes=assumes)
    prices = (Price(per_clip=1, mode="std"), Price(per_clip=3, mode="pro"))
    assert plan(ask(mode=mode), [candidate("draws", modes, prices=prices)]).routes[0].cost_usd == cost


@pytest.mark.parametrize(("resolution", "cost"), [("720p", 1), ("1080p", 2), (None, 2)])
@pytest.mark.parametrize("mode", ["std", None])
def test_a_mode_that_means_no_resolution_goes_with_any(mode: str | None, resolution: str | None, cost: float) -> None:
    films = with_values(FILMS, modes={"std": None}, resolutions=frozenset({"720p", "1080p"}))
    prices = (Price(per_clip=1, resolution="720p"), Price(per_clip=2, resolution="1080p"))
    request = replace(ask(mode=mode, resolution=resolution), kind="video")
    (route,) = plan(request, [candidate("films", films, prices=prices)]).routes
    assert (route.settings.mode, route.settings.resolution, route.cost_usd) == (mode, resolution, cost)
