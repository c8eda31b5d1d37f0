"""Which routes can serve a request, and why the others cannot."""

from dataclasses import replace as with_values
from math import log
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.domain.adapter.contract import Capability, ImageLimits, ImageTransport
from gateway.domain.adapter.options import ListOf, Number, Url
from gateway.domain.adapter.request import (
    FramesInput,
    Input,
    InputKind,
    ReferencesInput,
    Settings,
    TextInput,
    UpstreamRequest,
    input_kind,
)
from gateway.domain.generation.model import Adaptation, GenerationRequest, Route
from gateway.domain.health.circuit import CircuitState
from gateway.domain.health.route_health import HealthOf, RouteHealth
from gateway.domain.routing.image_limits import ImageFacts
from gateway.domain.routing.order import Order
from gateway.domain.routing.plan import Candidate, LeftOut, Planned, param_of, plan
from gateway.domain.routing.price import Price, cost_usd
from gateway.domain.routing.settings_fit import Reason

from ....cases import every

FRAME = FramesInput(first_frame="https://images.example/a.png")
BOTH = FramesInput(first_frame="https://images.example/a.png", last_frame="https://images.example/b.png")
REFERENCES = ReferencesInput(references=("https://images.example/a.png", "https://images.example/b.png"))
HINT = '; `"adapt": "nearest"` would take {}'
TEXT_OR_FRAME = "a prompt without an image or `image` as the first frame"
PLAIN = Capability(
    inputs=frozenset({InputKind.TEXT, InputKind.IMAGE}),
    durations=frozenset({5, 10}),
    resolutions=frozenset({"720p", "1080p"}),
    aspect_ratios=frozenset({"16:9", "9:16", "1:1"}),
    prompt_max=20,
)


def candidate(*capabilities: Capability, provider: str = "acme", model: str = "one", **more: Any) -> Candidate:
    return Candidate(
        provider=provider, model=model, capability_name=model, capabilities=capabilities or (PLAIN,), **more
    )


def ask(value: Input | None = None, **changes: Any) -> GenerationRequest:
    """A request. Keyword arguments with the name of a setting become its settings."""
    settings_ = {name: changes.pop(name) for name in Settings.__struct_fields__ if name in changes}
    base = GenerationRequest(model="any", input=value or TextInput(), prompt="a boat", settings=Settings(**settings_))
    return replace(base, **changes)


def reasons(request: GenerationRequest, *capabilities: Capability, **more: Any) -> list[tuple[str, str]]:
    """Why the only candidate cannot serve the request; empty if it can."""
    planned = plan(request, [candidate(*capabilities)], **more)
    return [(reason.param, reason.message) for left in planned.left_out for reason in left.reasons]


def test_route_has_what_the_candidate_says() -> None:
    capability = with_values(PLAIN, count_max=4, defaults={"resolution": "720p", "duration_seconds": 5})
    request = ask(duration_seconds=10)
    assert plan(request, [candidate(capability)]).routes == (
        Route(
            provider="acme",
            model="one",
            capability_name="one",
            settings=Settings(duration_seconds=10, resolution="720p"),
            count_max=4,
        ),
    )


# Requests that `PLAIN` cannot honour. Each setting needs one: without a rule it would be accepted and then dropped.
NOT_HONOURED: list[tuple[dict[str, Any], str, str]] = [
    ({"duration_seconds": 7}, "duration", "takes 5, 10, not 7" + HINT.format(5)),
    ({"resolution": "4k"}, "resolution", "takes 720p, 1080p, not 4k" + HINT.format("1080p")),
    ({"aspect_ratio": "4:3"}, "aspect_ratio", "takes 16:9, 1:1, 9:16, not 4:3" + HINT.format("16:9")),
    ({"quality": "2K"}, "quality", "does not take it"),
    ({"output_format": "png"}, "output_format", "does not take it"),
    ({"fps": 24}, "fps", "does not take it"),
    ({"mode": "pro"}, "mode", "does not take it"),
    ({"generate_audio": True}, "generate_audio", "cannot make sound"),
    ({"negative_prompt": "rain"}, "negative_prompt", "takes no negative prompt"),
    ({"negative_prompt": ""}, "negative_prompt", "takes no negative prompt"),
    ({"seed": 0}, "seed", "does not honour a seed"),
    ({"cfg_scale": 0.0}, "cfg_scale", "does not honour cfg_scale"),
    ({"quality": "2K"}, "quality", "does not take it"),
    ({"output_format": "png"}, "output_format", "does not take it"),
    ({"max_cost": 1.0}, "max_cost", "has no price for this request, so a limit cannot be kept"),
    ({"prompt": " \n"}, "prompt", "requires a prompt"),
    ({"prompt": "a" * 21}, "prompt", "takes a prompt of at most 20 characters, not 21"),
    (
        {"provider_options": {"acme": {"odd": 1}}},
        "provider_options.acme",
        "does not take the option odd; it takes: none",
    ),
]


def test_every_setting_is_refused_by_a_model_without_it() -> None:
    assert set(Settings.__struct_fields__) <= {field for fields, _, _ in NOT_HONOURED for field in fields}


@every(("fields", "param", "message"), NOT_HONOURED)
def test_route_that_cannot_honour_a_parameter_is_left_out(fields: dict[str, Any], param: str, message: str) -> None:
    assert reasons(ask(**fields)) == [(param, message)]


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"duration_seconds": 5, "resolution": "1080p", "aspect_ratio": "9:16"},
        {"generate_audio": False},
        {"prompt": "a" * 20},
        {"provider_options": {"bolt": {"odd": 1}}},
    ],
)
def test_route_that_can_honour_every_parameter_is_planned(fields: dict[str, Any]) -> None:
    assert reasons(ask(**fields)) == []


def test_every_reason_is_given() -> None:
    given = reasons(ask(duration_seconds=7, seed=3, prompt="a" * 50))
    assert [param for param, _ in given] == ["duration", "seed", "prompt"]


def test_consecutive_durations_are_given_as_a_range() -> None:
    capability = with_values(PLAIN, durations=frozenset(range(3, 16)))
    assert reasons(ask(duration_seconds=16), capability) == [("duration", "takes 3 to 15, not 16" + HINT.format(15))]


@pytest.mark.parametrize(("scale", "fits"), [(0.0, True), (1.0, True), (1.01, False), (-0.1, False)])
def test_guidance_within_its_limits(scale: float, fits: bool) -> None:
    capability = with_values(PLAIN, cfg_scale=(0.0, 1.0))
    assert (reasons(ask(cfg_scale=scale), capability) == []) is fits


@pytest.mark.parametrize(("length", "fits"), [(0, True), (9, True), (10, False)])
def test_negative_prompt_within_its_limit(length: int, fits: bool) -> None:
    capability = with_values(PLAIN, negative_prompt_max=9)
    assert (reasons(ask(negative_prompt="a" * length), capability) == []) is fits


def test_option_that_replaces_the_prompt_is_one_of_two() -> None:
    capability = with_values(PLAIN, prompt_or="shots", options={"shots": ListOf(of=Number(least=1, most=9), most=9)})
    shots = {"acme": {"shots": [1]}}
    assert reasons(ask(prompt="", provider_options=shots), capability) == []
    assert reasons(ask(provider_options=shots), capability) == [
        ("prompt", "takes `prompt` or the option shots, not both")
    ]
    assert reasons(ask(prompt=""), capability) == [("prompt", "requires a prompt or the option shots")]


def test_a_model_without_a_prompt_says_so_instead_of_a_limit_of_zero() -> None:
    capability = with_values(PLAIN, prompt_max=0, prompt_or="video_url", options={"video_url": Url()})
    options = {"acme": {"video_url": "https://a.example/v.mp4"}}
    assert reasons(ask(prompt="", provider_options=options), capability) == []
    assert reasons(ask(prompt="a boat"), capability) == [
        ("prompt", "takes no prompt; it requires the option video_url")
    ]
    assert reasons(ask(prompt="a boat", provider_options=options), capability) == [("prompt", "takes no prompt")]
    assert reasons(ask(prompt=""), capability) == [("prompt", "requires the option video_url")]
    [(param, message)] = reasons(ask(prompt=""), with_values(PLAIN, prompt_max=0))
    assert (param, message) == ("prompt", "requires a prompt, but its limit for prompts is 0 characters")


def test_a_range_of_one_value_is_shown_as_the_value() -> None:
    capability = with_values(PLAIN, cfg_scale=(0.5, 0.5))
    assert reasons(ask(cfg_scale=0.7), capability) == [("cfg_scale", "takes 0.5, not 0.7")]


# Inputs


@pytest.mark.parametrize(
    ("value", "changes", "expected"),
    [
        (FRAME, {}, []),
        (BOTH, {}, [("last_image", "takes no last frame")]),
        (BOTH, {"last_frame": True}, []),
        (
            REFERENCES,
            {},
            [
                (
                    "reference_images",
                    "does not take `reference_images`; it takes " + TEXT_OR_FRAME,
                )
            ],
        ),
        (
            REFERENCES,
            {"inputs": frozenset({InputKind.REFERENCES}), "references_max": 1},
            [("reference_images", "takes one reference image, not 2")],
        ),
        (REFERENCES, {"inputs": frozenset({InputKind.REFERENCES}), "references_max": 2}, []),
        (
            replace(REFERENCES, first_frame="x"),
            {"inputs": frozenset({InputKind.REFERENCES}), "references_max": 2},
            [("image", "takes no frames beside reference images")],
        ),
        (
            replace(REFERENCES, last_frame="x"),
            {"inputs": frozenset({InputKind.REFERENCES}), "references_max": 2},
            [("last_image", "takes no frames beside reference images")],
        ),
        (
            replace(REFERENCES, first_frame="x", last_frame="y"),
            {"inputs": frozenset({InputKind.REFERENCES}), "references_max": 2, "frames_with_references": True},
            [],
        ),
        (
            TextInput(),
            {"inputs": frozenset({InputKind.IMAGE})},
            [("image", "does not take a prompt without an image; it takes `image` as the first frame")],
        ),
    ],
)
def test_input_has_to_be_one_the_model_takes(
    value: Input, changes: dict[str, Any], expected: list[tuple[str, str]]
) -> None:
    assert reasons(ask(value), with_values(PLAIN, **changes)) == expected


BYTES = with_values(PLAIN, image_transports=(ImageTransport.BASE64, ImageTransport.URL))


def facts(**changes: Any) -> ImageFacts:
    return replace(ImageFacts(content_type="image/png", bytes=100, width=400, height=300), **changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, None),
        ({"content_type": "image/webp"}, "takes jpeg, png, not webp"),
        ({"bytes": 1001}, "takes an image of at most 1000 bytes, not 1001"),
        ({"bytes": 1000}, None),
        ({"height": 299}, "takes an image of at least 300 pixels on each side, not 400x299"),
        ({"width": 900}, "takes an image no longer than 2.5 times its width or height, not 900x300"),
        ({"width": 300, "height": 751}, "takes an image no longer than 2.5 times its width or height, not 300x751"),
        ({"width": 750}, None),
    ],
)
def test_image_whose_bytes_are_here_is_measured(changes: dict[str, Any], message: str | None) -> None:
    capability = with_values(BYTES, images=ImageLimits(max_bytes=1000, min_side=300, max_ratio=2.5))
    given = reasons(ask(FramesInput(first_frame="file_1")), capability, images={"file_1": facts(**changes)})
    assert given == ([] if message is None else [("image", message)])


def test_reason_names_the_image_that_does_not_fit() -> None:
    capability = with_values(
        BYTES,
        inputs=frozenset({InputKind.REFERENCES}),
        references_max=4,
        frames_with_references=True,
        images=ImageLimits(max_bytes=10),
    )
    value = ReferencesInput(references=("file_c",), first_frame="file_a", last_frame="file_b")
    for name, param in (("file_a", "image"), ("file_b", "last_image"), ("file_c", "reference_images")):
        assert [named for named, _ in reasons(ask(value), capability, images={name: facts()})] == [param]


@pytest.mark.parametrize(
    ("transports", "links", "can"),
    [
        ((ImageTransport.URL,), False, False),
        ((ImageTransport.URL,), True, True),
        ((ImageTransport.BASE64,), False, True),
        ((ImageTransport.UPLOAD, ImageTransport.URL), False, True),
    ],
)
def test_image_bytes_need_a_form_or_a_link(transports: tuple[ImageTransport, ...], links: bool, can: bool) -> None:
    capability = with_values(PLAIN, image_transports=transports)
    given = reasons(ask(FramesInput(first_frame="file_1")), capability, images={"file_1": facts()}, links=links)
    assert given == ([] if can else [("image", "takes images by URL alone, and the gateway has no public URL")])
    assert reasons(ask(FRAME), capability, links=links) == []  # an image that is only a URL is checked later


SMALL = ImageLimits(max_bytes=50_000, min_side=100, max_ratio=2.5)
LARGE = facts(bytes=90_000, width=500, height=400)


@pytest.mark.parametrize(
    ("adapt", "form", "image", "given"),
    [
        ("nearest", ImageTransport.BASE64, LARGE, "250x200 image/jpeg, at most 50000 bytes"),
        ("nearest", ImageTransport.UPLOAD, LARGE, "250x200 image/jpeg, at most 50000 bytes"),
        (
            "nearest",
            ImageTransport.BASE64,
            facts(content_type="image/gif", width=200, height=150),
            "200x150 image/jpeg, at",
        ),
        ("nearest", ImageTransport.BASE64, facts(width=200, height=150), ""),
        ("nearest", ImageTransport.BASE64, facts(width=2000, height=101), None),
        ("nearest", ImageTransport.BASE64, facts(width=99, height=100), None),
        ("nearest", ImageTransport.URL, LARGE, None),
        ("none", ImageTransport.BASE64, LARGE, None),
        (None, ImageTransport.BASE64, LARGE, None),
    ],
)
def test_image_is_converted_if_that_is_allowed(
    adapt: Any, form: ImageTransport, image: ImageFacts, given: str | None
) -> None:
    limits = with_values(PLAIN, image_transports=(form,), images=SMALL)
    request = ask(FramesInput(first_frame="file_1"), adapt=adapt)
    planned = plan(request, [candidate(limits)], {"file_1": image}, links=True)
    if given is None:
        assert [reason.param for reason in planned.left_out[0].reasons] == ["image"]
    elif given:
        [made] = planned.routes[0].adaptations
        assert (made.param, made.given[: len(given)]) == ("image", given)
        original = f"{image.width}x{image.height} {image.content_type}, {image.bytes} bytes"
        assert made.asked == original
    else:
        assert planned.routes[0].adaptations == ()


def test_each_converted_image_is_an_adaptation() -> None:
    both = with_values(
        BYTES, inputs=frozenset({InputKind.REFERENCES}), references_max=4, frames_with_references=True, images=SMALL
    )
    value = ReferencesInput(references=("file_fits", "file_a", "file_b"), last_frame="file_b")
    images = {"file_fits": facts(), "file_a": LARGE, "file_b": LARGE}
    [route] = plan(ask(value, adapt="nearest"), [candidate(both)], images).routes
    assert [adaptation.param for adaptation in route.adaptations] == ["last_image", "reference_images[1]"]


# Modes, rules, several capabilities


MODES = with_values(PLAIN, modes={"std": "720p", "pro": "1080p"})


@pytest.mark.parametrize(
    ("mode", "resolution", "adapt", "fits"),
    [
        ("pro", None, None, True),
        ("pro", "1080p", None, True),
        ("pro", "720p", None, False),
        ("std", "480p", "nearest", True),
        ("pro", "480p", "nearest", False),
        ("max", None, "nearest", False),
    ],
)
def test_mode_and_resolution_agree(mode: str, resolution: str | None, adapt: str | None, fits: bool) -> None:
    request = ask(mode=mode, resolution=resolution, adapt=adapt)
    assert (reasons(request, MODES) == []) is fits


def test_rule_sees_what_will_be_sent() -> None:
    seen: list[UpstreamRequest] = []

    def rule(request: UpstreamRequest) -> str | None:
        seen.append(request)
        return "not today" if request.settings.duration_seconds == 5 else None

    capability = with_values(
        PLAIN, rules=(rule,), options={"a": Number(least=0, most=9)}, defaults={"duration_seconds": 5}, count_max=2
    )
    request = ask(FRAME, provider_options={"acme": {"a": 1}, "bolt": {"b": 2}}, count=3)
    assert reasons(request, capability) == [("provider_options.acme", "not today")]
    assert (seen[0].options, seen[0].input, seen[0].count) == ({"a": 1}, FRAME, 2)


def test_rules_are_not_called_for_a_request_that_does_not_fit_anyway() -> None:
    def broken(_: UpstreamRequest) -> str | None:
        raise AssertionError("asked")

    assert [param for param, _ in reasons(ask(seed=1), with_values(PLAIN, rules=(broken,)))] == ["seed"]


def test_first_capability_that_fits_is_used() -> None:
    short = with_values(PLAIN, durations=frozenset({5}), count_max=4)
    long = with_values(PLAIN, durations=frozenset({10}), count_max=1)
    assert plan(ask(duration_seconds=10), [candidate(short, long)]).routes[0].count_max == 1
    assert plan(ask(), [candidate(short, long)]).routes[0].count_max == 4


def test_capability_with_the_fewest_reasons_gives_them() -> None:
    far = with_values(PLAIN, durations=frozenset({5}), prompt_max=1)
    near = with_values(PLAIN, durations=frozenset({5}))
    assert reasons(ask(duration_seconds=10), far, near) == [("duration", "takes 5, not 10" + HINT.format(5))]


# The nearest value


@every(
    ("name", "supported", "requested", "given"),
    [
        ("durations", {4, 6, 8}, 5, 6),
        ("durations", {5, 10}, 7, 5),
        ("durations", {5, 10}, 60, 10),
        ("durations", {4, 7}, 5, 4),
        ("durations", {5, 6}, 5.2, 5),
        ("durations", {5, 6}, 5.5, 6),
        ("resolutions", {"720p", "4k"}, "1080p", "720p"),
        ("resolutions", {"720p", "1080p"}, "900p", "1080p"),
        ("resolutions", {"720p", "1080p", "4k"}, "1440p", "1080p"),
        ("resolutions", {"720p", "1080p"}, "1088p", "1080p"),
        ("resolutions", {"720p", "1080p"}, "4k", "1080p"),
        ("resolutions", {"720p", "1080p"}, "480p", "720p"),
        ("aspect_ratios", {"16:9", "9:16", "1:1"}, "21:9", "16:9"),
        ("aspect_ratios", {"16:9", "9:16", "1:1"}, "4:3", "16:9"),
        ("aspect_ratios", {"16:9", "9:16", "1:1"}, "3:4", "9:16"),
        ("aspect_ratios", {"16:9", "9:16", "1:1"}, "5:4", "1:1"),
        ("aspect_ratios", {"16:9", "9:16"}, "99:1", "16:9"),
        ("aspect_ratios", {"16:9", "1:1"}, "133:100", "1:1"),
        ("aspect_ratios", {"16:9", "9:16", "1:1"}, "4:7", "9:16"),
        ("aspect_ratios", {"16:9", "9:16", "1:1"}, "2.35:1", "16:9"),
        ("aspect_ratios", {"16:9", "auto"}, "4:7", "16:9"),
    ],
)
def test_nearest_value_is_sent_and_reported(name: str, supported: set[Any], requested: Any, given: Any) -> None:
    setting = {"durations": "duration_seconds", "resolutions": "resolution", "aspect_ratios": "aspect_ratio"}[name]
    param = {"durations": "duration"}.get(name, setting)
    capability = with_values(PLAIN, **{name: frozenset(supported)})
    route = plan(ask(**{setting: requested}, adapt="nearest"), [candidate(capability)]).routes[0]
    assert getattr(route.settings, setting) == given
    assert route.adaptations == (Adaptation(param=param, asked=requested, given=given),)


@pytest.mark.parametrize("fields", [{"seed": 1}, {"fps": 24}, {"generate_audio": True}, {"mode": "pro"}])
def test_nearest_never_drops_a_setting_without_a_nearest_value(fields: dict[str, Any]) -> None:
    assert reasons(ask(**fields, adapt="nearest"))


def test_nearest_does_not_invent_a_ratio_where_none_can_be_set() -> None:
    capability = with_values(PLAIN, aspect_ratios=frozenset())
    assert reasons(ask(aspect_ratio="1:1", adapt="nearest"), capability) == [("aspect_ratio", "does not take it")]


@pytest.mark.parametrize(
    ("name", "supported", "requested"),
    [
        ("resolutions", "2160p", "4k"),
        ("resolutions", "4K", "4k"),
        ("aspect_ratios", "7:3", "21:9"),
        ("aspect_ratios", "32:18", "16:9"),
    ],
)
def test_another_name_of_the_same_value_does_not_count_as_a_change(name: str, supported: str, requested: str) -> None:
    capability = with_values(PLAIN, **{name: frozenset({supported, "1:1", "720p"})})
    [route] = plan(ask(**{name[:-1]: requested}, adapt="nearest"), [candidate(capability)]).routes
    assert (getattr(route.settings, name[:-1]), route.adaptations) == (supported, ())


def test_a_mode_is_found_by_any_name_of_it() -> None:
    capability = with_values(PLAIN, modes={"Standard": "720p", "PRO": "1080p"})
    for requested, sent in {"std": "Standard", "pro": "PRO"}.items():
        assert plan(ask(mode=requested), [candidate(capability)]).routes[0].settings.mode == sent


def test_capability_that_takes_the_request_unchanged_wins_over_a_nearest_one() -> None:
    near, exact = with_values(PLAIN, durations=frozenset({4})), with_values(PLAIN, durations=frozenset({5}))
    [route] = plan(ask(duration_seconds=5, adapt="nearest"), [candidate(near, exact)]).routes
    assert (route.settings.duration_seconds, route.adaptations) == (5, ())


# The ratio of a video that follows its image


FOLLOWS = with_values(PLAIN, aspect_ratios=frozenset())
HELD = FramesInput(first_frame="file_a")


def size(width: int, height: int) -> dict[str, ImageFacts]:
    return {"file_a": ImageFacts(content_type="image/png", bytes=1000, width=width, height=height)}


FOLLOWING = with_values(FOLLOWS, image_transports=(ImageTransport.UPLOAD, ImageTransport.URL))


@every("image", [(1280, 720), (1366, 768), (854, 480), (1920, 1088)])
@every("adapt", [None, "none", "nearest"])
def test_ratio_that_the_image_has_anyway_is_accepted(image: tuple[int, int], adapt: str | None) -> None:
    planned = plan(ask(HELD, aspect_ratio="16:9", adapt=adapt), [candidate(FOLLOWING)], size(*image))
    [route] = planned.routes
    assert (route.settings.aspect_ratio, route.adaptations) == (None, ())


@pytest.mark.parametrize(
    ("image", "given"),
    [((720, 1280), "9:16"), ((1000, 1000), "1:1"), ((1792, 1024), "7:4"), ((1000, 701), "1.43:1"), (None, None)],
)
def test_another_ratio_is_left_out_if_that_is_allowed(image: tuple[int, int] | None, given: str | None) -> None:
    value, images = (FRAME, {}) if image is None else (HELD, size(*image))
    [route] = plan(ask(value, aspect_ratio="16:9", adapt="nearest"), [candidate(FOLLOWING)], images).routes
    assert route.settings.aspect_ratio is None
    assert route.adaptations == (Adaptation(param="aspect_ratio", asked="16:9", given=given),)
    [(param, message)] = reasons(ask(value, aspect_ratio="16:9"), FOLLOWING, images=images)
    assert param == "aspect_ratio"
    assert "follows the image" in message
    assert '"adapt": "nearest"' in message
    assert image is None or f"{image[0]}x{image[1]}" in message


def test_references_and_text_have_no_ratio_of_their_own() -> None:
    capability = with_values(FOLLOWS, inputs=frozenset(InputKind), references_max=2)
    for value in (TextInput(), REFERENCES):
        assert reasons(ask(value, aspect_ratio="16:9", adapt="nearest"), capability) == [
            ("aspect_ratio", "does not take it")
        ]


# The whole plan


def test_order_of_the_candidates_is_kept() -> None:
    models = [candidate(model=name) for name in ("c", "a", "b")]
    assert [route.model for route in plan(ask(), models).routes] == ["c", "a", "b"]


def test_without_fallback_one_route_is_left_and_the_others_are_reported() -> None:
    models = [candidate(with_values(PLAIN, prompt_max=1), model="no"), candidate(model="yes"), candidate(model="also")]
    planned = plan(ask(fallback=False), models)
    assert [route.model for route in planned.routes] == ["yes"]
    assert [(omitted.model, omitted.reasons[0].param) for omitted in planned.left_out] == [
        ("no", "prompt"),
        ("also", "fallback"),
    ]


def test_no_candidates_no_routes() -> None:
    assert plan(ask(), []) == Planned(routes=(), left_out=())


def test_candidate_without_any_capability_is_left_out() -> None:
    nothing = Candidate(provider="acme", model="one", capability_name="one", capabilities=())
    left = plan(ask(), [nothing]).left_out
    assert [type(omitted) for omitted in left] == [LeftOut]
    assert [type(reason) for reason in left[0].reasons] == [Reason]


RATIOS = ["16:9", "9:16", "1:1", "4:3", "3:4", "21:9"]
RESOLUTIONS = ["480p", "720p", "1080p", "4k"]
CAPABILITIES = st.builds(
    Capability,
    inputs=st.frozensets(st.sampled_from(InputKind), min_size=1),
    durations=st.frozensets(st.integers(3, 15)),
    resolutions=st.frozensets(st.sampled_from(RESOLUTIONS)),
    aspect_ratios=st.frozensets(st.sampled_from(RATIOS)),
    prompt_max=st.sampled_from([5, 2500]),
    last_frame=st.booleans(),
    frames_with_references=st.booleans(),
    references_max=st.integers(0, 3),
    generate_audio=st.booleans(),
    negative_prompt_max=st.sampled_from([0, 3, 100]),
    seed=st.booleans(),
    fps=st.frozensets(st.sampled_from([24, 30])),
    cfg_scale=st.none() | st.just((0.0, 1.0)),
    modes=st.sampled_from([{}, {"std": "720p", "pro": "1080p"}, {"std": None, "pro": None}]),
    kind=st.sampled_from(["video", "image"]),
    qualities=st.frozensets(st.sampled_from(["1K", "2K", "4K"])),
    output_formats=st.frozensets(st.sampled_from(["png", "jpeg"])),
    count_max=st.integers(1, 4),
    options=st.dictionaries(st.sampled_from(["a", "b"]), st.just(Number(least=0, most=9))),
    defaults=st.sampled_from([{}, {"duration_seconds": 5}, {"resolution": "720p", "duration_seconds": 8}]),
    assumes=st.sampled_from([{}, {"duration_seconds": 5}, {"resolution": "720p", "generate_audio": False}]),
)
CANDIDATES = st.lists(
    st.builds(
        candidate,
        CAPABILITIES,
        CAPABILITIES,
        provider=st.sampled_from(["acme", "bolt"]),
        model=st.sampled_from(["one", "two", "three"]),
    ),
    max_size=4,
)
MAYBE = st.none()
SETTINGS = st.builds(
    Settings,
    duration_seconds=MAYBE | st.integers(1, 20),
    resolution=MAYBE | st.sampled_from(RESOLUTIONS),
    aspect_ratio=MAYBE | st.sampled_from(RATIOS),
    generate_audio=MAYBE | st.booleans(),
    negative_prompt=MAYBE | st.sampled_from(["", "rain"]),
    seed=MAYBE | st.integers(0, 1),
    fps=MAYBE | st.sampled_from([24, 30]),
    cfg_scale=MAYBE | st.sampled_from([0.0, 0.5, 2.0]),
    mode=MAYBE | st.sampled_from(["std", "pro"]),
    quality=MAYBE | st.sampled_from(["1K", "4K"]),
    output_format=MAYBE | st.just("png"),
)
REQUESTS = st.builds(
    GenerationRequest,
    model=st.just("any"),
    kind=st.sampled_from(["video", "image"]),
    input=st.sampled_from([TextInput(), FRAME, BOTH, REFERENCES, replace(REFERENCES, first_frame="x")]),
    prompt=st.sampled_from(["", "boat", "a longer one"]),
    settings=SETTINGS,
    count=st.integers(1, 4),
    provider_options=st.sampled_from([{}, {"acme": {"a": 1}}, {"bolt": {"c": 1}}]),
    adapt=st.sampled_from([None, "none", "nearest"]),
    fallback=st.sampled_from([True, False]),
)


@settings(max_examples=120)
@given(request=REQUESTS, candidates=CANDIDATES)
def test_any_plan_keeps_its_promises(request: GenerationRequest, candidates: list[Candidate]) -> None:
    planned = plan(request, candidates)

    assert len(planned.routes) + len(planned.left_out) == len(candidates)
    assert all(
        left.reasons and all(reason.param and reason.message for reason in left.reasons) for left in planned.left_out
    )
    assert request.fallback is not False or len(planned.routes) <= 1
    names = iter([(entry.provider, entry.model) for entry in candidates])
    assert all((route.provider, route.model) in names for route in planned.routes), (
        "the routes keep the order of the candidates"
    )
    for route in planned.routes:
        check_route(request, route, [entry for entry in candidates if entry.model == route.model])


def check_route(request: GenerationRequest, route: Route, candidates: list[Candidate]) -> None:
    """The route sends the requested settings except those it adapted, and one capability of its model takes all."""
    requested, sent = request.settings, route.settings
    names = {"duration": "duration_seconds"}
    adapted = {names.get(adaptation.param, adaptation.param): adaptation for adaptation in route.adaptations}
    assert not adapted or request.adapt == "nearest"
    for name in Settings.__struct_fields__:
        value = getattr(requested, name)
        if name == "aspect_ratio" and value is not None and sent.aspect_ratio is None:
            # The video follows an image whose size is not known.
            assert (adapted[name].asked, adapted[name].given) == (value, None)
        elif name in adapted:
            assert (adapted[name].asked, adapted[name].given) == (value, getattr(sent, name))
            assert adapted[name].given != value
        elif value is not None:
            assert getattr(sent, name) == value
    assert any(takes(row, request, sent, route) for entry in candidates for row in entry.capabilities)


def takes(row: Capability, request: GenerationRequest, sent: Settings, route: Route) -> bool:
    """Whether a capability takes a request: written independently of the code under test."""
    frames = request.input
    requested = request.settings
    return all(
        [
            row.kind == request.kind,
            input_kind(frames) in row.inputs,
            requested.duration_seconds is None or sent.duration_seconds in row.durations,
            requested.resolution is None or sent.resolution in row.resolutions,
            requested.aspect_ratio is None or sent.aspect_ratio in row.aspect_ratios
            or (sent.aspect_ratio is None and not row.aspect_ratios and isinstance(frames, FramesInput)),
            requested.mode is None or (requested.resolution is None and requested.mode in row.modes)
            or row.modes.get(requested.mode, "no such mode") in {None, sent.resolution},
            requested.quality is None or sent.quality in row.qualities,
            requested.output_format is None or requested.output_format in row.output_formats,
            requested.fps is None or requested.fps in row.fps,
            requested.seed is None or row.seed,
            not requested.generate_audio or row.generate_audio,
            requested.negative_prompt is None or 0 < row.negative_prompt_max >= len(requested.negative_prompt),
            requested.cfg_scale is None or (row.cfg_scale is not None and requested.cfg_scale <= row.cfg_scale[1]),
            0 < len(request.prompt.strip()) <= len(request.prompt) <= row.prompt_max,
            not isinstance(frames, FramesInput) or frames.last_frame is None or row.last_frame,
            not isinstance(frames, ReferencesInput) or len(frames.references) <= row.references_max,
            not isinstance(frames, ReferencesInput) or frames.first_frame is None or row.frames_with_references,
            request.provider_options.get(route.provider, {}).keys() <= row.options.keys(),
            route.count_max == row.count_max,
        ]
    )  # fmt: skip


@settings(max_examples=100)
@given(request=REQUESTS, candidates=CANDIDATES, place=st.integers(0, 4))
def test_candidate_that_cannot_changes_nothing_for_the_others(
    request: GenerationRequest, candidates: list[Candidate], place: int
) -> None:
    useless = candidate(with_values(PLAIN, inputs=frozenset(), prompt_max=0), provider="corp", model="none")
    more = [*candidates[:place], useless, *candidates[place:]]

    with_it, without = plan(request, more), plan(request, candidates)

    assert with_it.routes == without.routes
    assert [omitted for omitted in with_it.left_out if omitted.provider != "corp"] == list(without.left_out)
    assert [omitted.provider for omitted in with_it.left_out].count("corp") == 1


@settings(max_examples=100)
@given(
    sides=st.tuples(st.integers(1, 99), st.integers(1, 99)),
    supported=st.sets(st.sampled_from(["16:9", "4:3", "1:1", "21:9"]), min_size=1),
)
def test_nearest_ratio_of_a_portrait_format_is_the_turned_one_of_the_landscape_format(
    sides: tuple[int, int], supported: set[str]
) -> None:
    def turned(ratio: str) -> str:
        width, _, height = ratio.partition(":")
        return f"{height}:{width}"

    def shape(ratio: str) -> float:
        width, _, height = ratio.partition(":")
        return round(log(int(width) / int(height)), 9)

    def nearest(ratio: str) -> str:
        capability = with_values(PLAIN, aspect_ratios=frozenset(supported | {turned(ratio) for ratio in supported}))
        route = plan(ask(aspect_ratio=ratio, adapt="nearest"), [candidate(capability)]).routes[0]
        return str(route.settings.aspect_ratio)

    ratio = f"{sides[0]}:{sides[1]}"
    if sides[0] != sides[1]:
        assert shape(nearest(turned(ratio))) == -shape(nearest(ratio))


# Price


PER_SECOND = (Price(per_second=0.1),)


def models_of(planned: Planned) -> list[str]:
    return [route.model for route in planned.routes]


def test_route_has_the_price_of_an_output() -> None:
    routes = plan(ask(duration_seconds=10, count=3), [candidate(prices=PER_SECOND), candidate(model="two")]).routes
    assert [route.cost_usd for route in routes] == [1.0, None]


def test_length_that_the_route_fills_in_has_its_price() -> None:
    capability = with_values(PLAIN, defaults={"duration_seconds": 8})
    assert plan(ask(), [candidate(capability, prices=PER_SECOND)]).routes[0].cost_usd == 0.8


@pytest.mark.parametrize(
    ("changes", "cost"),
    [({"assumes": {"duration_seconds": 5}}, 0.5), ({}, 1.0), ({"durations": frozenset()}, None)],
)
def test_length_that_is_not_sent_has_its_price(changes: dict[str, Any], cost: float | None) -> None:
    [route] = plan(ask(), [candidate(with_values(PLAIN, **changes), prices=PER_SECOND)]).routes
    assert (route.cost_usd, route.settings.duration_seconds) == (cost, None), "an assumed length is priced and not sent"


@pytest.mark.parametrize(("row", "cost"), [("one", 1.0), ("another", 2.0)])
def test_sound_that_a_model_with_the_capability_of_another_may_add_has_its_price(row: str, cost: float) -> None:
    capability = with_values(PLAIN, generate_audio=True, assumes={"generate_audio": False})
    prices = (Price(per_clip=2, generate_audio=True), Price(per_clip=1))
    follows = replace(candidate(capability, prices=prices), capability_name=row)
    assert plan(ask(), [follows]).routes[0].cost_usd == cost
    assert models_of(plan(ask(max_cost=1.0), [follows])) == (["one"] if row == "one" else [])
    assert plan(ask(generate_audio=False), [follows]).routes[0].cost_usd == 1.0


def test_adapted_value_is_the_one_that_is_paid_for() -> None:
    request = ask(duration_seconds=60, resolution="4k", adapt="nearest")
    prices = (Price(per_second=0.1, resolution="1080p"), Price(per_clip=99))
    assert plan(request, [candidate(prices=prices)]).routes[0].cost_usd == 1.0


@pytest.mark.parametrize(("mode", "cost"), [("std", 1.0), ("pro", 2.0), (None, 2.0)])
def test_mode_costs_what_its_resolution_costs(mode: str | None, cost: float) -> None:
    prices = (Price(per_clip=1, resolution="720p"), Price(per_clip=2, resolution="1080p"), Price(per_clip=3))
    assert plan(ask(mode=mode), [candidate(MODES, prices=prices)]).routes[0].cost_usd == cost


@pytest.mark.parametrize(
    ("count", "limit", "message"),
    [
        (1, 0.5, None),
        (1, 0.49, "costs 0.5 USD, not at most 0.49"),
        (4, 2.0, None),
        (4, 1.99, "costs 2 USD, not at most 1.99"),
        (1, 0.0, "costs 0.5 USD, not at most 0"),
        (3, 1.5, None),
    ],
)
def test_max_cost_is_for_all_outputs_together(count: int, limit: float, message: str | None) -> None:
    request = ask(duration_seconds=5, count=count, max_cost=limit)
    planned = plan(request, [candidate(prices=PER_SECOND)])
    given = [(reason.param, reason.message) for left in planned.left_out for reason in left.reasons]
    assert given == ([] if message is None else [("max_cost", message)])


def test_limit_is_not_missed_by_floating_point_rounding() -> None:
    assert 0.1 * 3 > 0.3
    assert plan(ask(count=3, max_cost=0.3), [candidate(prices=(Price(per_clip=0.1),))]).routes


def test_limit_leaves_out_expensive_and_unpriced_routes() -> None:
    models = [
        candidate(model="dear", prices=(Price(per_clip=2),)),
        candidate(model="unpriced"),
        candidate(with_values(PLAIN, durations=frozenset()), model="free of length", prices=PER_SECOND),
        candidate(model="fits", prices=(Price(per_clip=1),)),
    ]
    planned = plan(ask(max_cost=1.0), models)
    assert models_of(planned) == ["fits"]
    assert [(omitted.model, omitted.reasons[0].message) for omitted in planned.left_out] == [
        ("dear", "costs 2 USD, not at most 1"),
        ("unpriced", "has no price for this request, so a limit cannot be kept"),
        ("free of length", "has no price for this request, so a limit cannot be kept"),
    ]


def test_capability_that_is_within_the_limit_is_used() -> None:
    long = with_values(PLAIN, defaults={"duration_seconds": 10})
    short = with_values(PLAIN, defaults={"duration_seconds": 5})
    [route] = plan(ask(max_cost=0.5), [candidate(long, short, prices=PER_SECOND)]).routes
    assert (route.settings.duration_seconds, route.cost_usd) == (5, 0.5)


# Order and health


def states(**circuits: CircuitState) -> HealthOf:
    """The circuit of each named model; the circuits of the others are closed."""
    return lambda _provider, model: RouteHealth(circuit=circuits.get(model, CircuitState.CLOSED))


def test_open_circuits_are_last_and_not_left_out() -> None:
    models = [candidate(model=name) for name in ("a", "b", "c")]
    planned = plan(ask(), models, health=states(a=CircuitState.OPEN, b=CircuitState.HALF_OPEN))
    assert models_of(planned) == ["b", "c", "a"]
    assert planned.left_out == ()


@pytest.mark.parametrize("circuit", CircuitState)
def test_without_fallback_the_first_route_counts_whatever_its_circuit_says(circuit: CircuitState) -> None:
    models = [candidate(model=name) for name in ("a", "b")]
    planned = plan(ask(fallback=False), models, health=states(a=circuit))
    assert models_of(planned) == ["a"]
    assert [(omitted.model, omitted.reasons[0].param) for omitted in planned.left_out] == [("b", "fallback")]


def test_without_fallback_the_first_route_is_that_of_its_order() -> None:
    times = {"slow": RouteHealth(seconds=90.0), "quick": RouteHealth(seconds=30.0, circuit=CircuitState.OPEN)}
    models = [candidate(model=name, order="fastest") for name in times]
    assert models_of(plan(ask(fallback=False), models, health=lambda _, model: times[model])) == ["quick"]
    models = [
        candidate(model="dear", order="cheapest", prices=(Price(per_clip=2),)),
        candidate(model="cheap", order="cheapest", prices=(Price(per_clip=1),)),
    ]
    assert models_of(plan(ask(fallback=False), models, health=states(cheap=CircuitState.OPEN))) == ["cheap"]


@pytest.mark.parametrize("fallback", [True, ("bolt/two",)])
def test_with_fallback_an_open_circuit_is_last(fallback: bool | tuple[str, ...]) -> None:
    models = [candidate(model=name) for name in ("a", "b")]
    assert models_of(plan(ask(fallback=fallback), models, health=states(a=CircuitState.OPEN))) == ["b", "a"]


def test_time_of_an_attempt_goes_with_its_route() -> None:
    models = [candidate(model="own"), candidate(model="short", attempt_timeout_seconds=60.0)]
    assert [route.attempt_timeout_seconds for route in plan(ask(), models).routes] == [None, 60.0]


@pytest.mark.parametrize(
    ("value", "image", "param"),
    [
        (FramesInput(first_frame="a", last_frame="b"), "a", "image"),
        (FramesInput(first_frame="a", last_frame="b"), "b", "last_image"),
        (FramesInput(first_frame="a", last_frame="a"), "a", "image"),
        (ReferencesInput(references=("a", "b"), first_frame="c", last_frame="d"), "b", "reference_images"),
        (ReferencesInput(references=("a", "b"), first_frame="c", last_frame="d"), "c", "image"),
        (ReferencesInput(references=("a", "b"), first_frame="c", last_frame="d"), "d", "last_image"),
    ],
)
def test_parameter_that_an_image_came_in(value: Input, image: str, param: str) -> None:
    assert param_of(ask(value), image) == param


def test_health_is_read_only_for_routes_that_can_serve() -> None:
    calls: list[tuple[str, str]] = []

    def health(provider: str, model: str) -> RouteHealth:
        calls.append((provider, model))
        return RouteHealth()

    cannot = candidate(with_values(PLAIN, prompt_max=1), model="cannot")
    plan(ask(), [candidate(), cannot, candidate(provider="bolt", model="two")], health=health)
    assert calls == [("acme", "one"), ("bolt", "two")]


def test_cheapest_is_by_what_this_request_costs() -> None:
    models = [
        candidate(model="clip", order="cheapest", prices=(Price(per_clip=0.7),)),
        candidate(model="second", order="cheapest", prices=PER_SECOND),
        candidate(model="unpriced", order="cheapest"),
    ]
    assert models_of(plan(ask(duration_seconds=5), models)) == ["second", "clip", "unpriced"]
    assert models_of(plan(ask(duration_seconds=10), models)) == ["clip", "second", "unpriced"]


def test_fastest_is_by_the_times_that_are_known() -> None:
    times = {"slow": 90.0, "quick": 30.0, "new": None}
    models = [candidate(model=name, order="fastest") for name in times]
    planned = plan(ask(), models, health=lambda _, model: RouteHealth(seconds=times[model]))
    assert models_of(planned) == ["new", "quick", "slow"]


def test_weighted_follows_the_weights_and_the_seed() -> None:
    models = [candidate(model="a", order="weighted", weight=1.0), candidate(model="b", order="weighted", weight=3.0)]
    firsts = [models_of(plan(ask(), models, seed=f"gen_{number}"))[0] for number in range(1000)]
    assert 0.69 < firsts.count("b") / 1000 < 0.81
    assert firsts == [models_of(plan(ask(), models, seed=f"gen_{number}"))[0] for number in range(1000)]


def test_models_to_fall_back_to_come_in_their_own_order() -> None:
    models = [
        candidate(model="main", prices=(Price(per_clip=9),)),
        candidate(model="dear", group=1, order="cheapest", prices=(Price(per_clip=2),)),
        candidate(model="cheap", group=1, order="cheapest", prices=(Price(per_clip=1),)),
        candidate(model="last", group=2, prices=(Price(per_clip=0.1),)),
    ]
    assert models_of(plan(ask(), models)) == ["main", "cheap", "dear", "last"]
    with_open = plan(ask(), models, health=states(main=CircuitState.OPEN))
    assert models_of(with_open) == ["cheap", "dear", "last", "main"]


ORDERS: tuple[Order, ...] = ("priority", "weighted", "fastest", "cheapest")
PRICES = st.lists(
    st.builds(
        Price,
        per_clip=st.sampled_from([0.0, 0.2]),
        per_second=st.sampled_from([0.0, 0.1]),
        resolution=st.none() | st.sampled_from(["720p", "1080p"]),
        generate_audio=st.none() | st.booleans(),
    ),
    max_size=2,
).map(tuple)
MODELS = st.lists(
    st.builds(
        candidate,
        CAPABILITIES,
        CAPABILITIES,
        provider=st.sampled_from(["acme", "bolt"]),
        model=st.sampled_from(["one", "two", "three", "four"]),
        group=st.integers(0, 1),
        prices=PRICES,
        weight=st.sampled_from([0.0, 1.0, 3.0]),
    ),
    max_size=5,
    unique_by=lambda entry: (entry.provider, entry.model),
)
HEALTH = st.dictionaries(
    st.tuples(st.sampled_from(["acme", "bolt"]), st.sampled_from(["one", "two", "three", "four"])),
    st.builds(
        RouteHealth,
        circuit=st.sampled_from(CircuitState),
        seconds=st.none() | st.sampled_from([10.0, 60.0]),
    ),
)
SIMPLE_REQUESTS = st.builds(
    lambda request, limit: replace(request, max_cost=limit),
    st.one_of(REQUESTS, st.builds(ask, duration_seconds=st.sampled_from([None, 5]), count=st.integers(1, 4))),
    st.none() | st.sampled_from([0.0, 0.7, 3.0]),
)


@settings(max_examples=120)
@given(
    request=SIMPLE_REQUESTS,
    candidates=MODELS,
    order=st.sampled_from(ORDERS),
    healths=HEALTH,
    seed=st.sampled_from(["gen_1", "gen_2"]),
    place=st.integers(0, 5),
)
def test_any_plan_in_any_order_keeps_its_promises(
    *,
    request: GenerationRequest,
    candidates: list[Candidate],
    order: Order,
    healths: dict[tuple[str, str], RouteHealth],
    seed: str,
    place: int,
) -> None:
    candidates = [replace(entry, order=order) for entry in candidates]

    def health(provider: str, model: str) -> RouteHealth:
        return healths.get((provider, model), RouteHealth())

    planned = plan(request, candidates, health=health, seed=seed)

    by_name = {(entry.provider, entry.model): entry for entry in candidates}
    listed = [(omitted.provider, omitted.model) for omitted in (*planned.routes, *planned.left_out)]
    assert sorted(listed) == sorted(by_name), "each candidate is planned or left out, exactly once"
    assert all(
        left.reasons and all(reason.param and reason.message for reason in left.reasons) for left in planned.left_out
    )
    for route in planned.routes:
        entry = by_name[route.provider, route.model]
        check_route(request, route, [entry])
        assert route.cost_usd in {cost_usd(entry.prices, route.settings, row) for row in entry.capabilities}
        if request.max_cost is not None:
            assert route.cost_usd is not None
            assert route.cost_usd * request.count <= request.max_cost + 1e-9
    check_order([by_name[route.provider, route.model] for route in planned.routes], planned, health)
    if request.fallback is False:  # it must be the first route as if every circuit were closed
        times = {name: replace(value, circuit=CircuitState.CLOSED) for name, value in healths.items()}
        whole = plan(
            replace(request, fallback=True), candidates, health=lambda *name: times.get(name, RouteHealth()), seed=seed
        )
        assert planned.routes == whole.routes[:1]

    assert plan(request, candidates, health=health, seed=seed) == planned
    useless = candidate(with_values(PLAIN, prompt_max=0), provider="corp", model="none", order=order, weight=99.0)
    more = plan(request, [*candidates[:place], useless, *candidates[place:]], health=health, seed=seed)
    assert more.routes == planned.routes
    assert [omitted for omitted in more.left_out if omitted.provider != "corp"] == list(planned.left_out)


def check_order(candidates: list[Candidate], planned: Planned, health: HealthOf) -> None:
    """Open circuits are last, groups follow in their order, and each group has its own order."""
    healths = [health(entry.provider, entry.model) for entry in candidates]
    ranks = [
        (value.circuit is CircuitState.OPEN, entry.group) for value, entry in zip(healths, candidates, strict=True)
    ]
    assert ranks == sorted(ranks)
    for rank in set(ranks):
        within = [index for index, other in enumerate(ranks) if other == rank]
        costs = [planned.routes[index].cost_usd for index in within]
        times = [healths[index].seconds for index in within]
        weights = [candidates[index].weight for index in within]
        match candidates[within[0]].order:
            case "cheapest":
                assert costs == sorted(costs, key=lambda cost: (cost is None, cost or 0))
            case "fastest":
                assert times == sorted(times, key=lambda time: (time is not None, time or 0))
            case "weighted":
                assert [weight == 0 for weight in weights] == sorted(weight == 0 for weight in weights)


@settings(max_examples=100)
@given(candidates=MODELS, order=st.sampled_from(ORDERS), seed=st.text(max_size=4))
def test_equal_routes_keep_the_order_of_the_candidates(candidates: list[Candidate], order: Order, seed: str) -> None:
    same = [replace(entry, order=order, capabilities=(PLAIN,), prices=PER_SECOND, weight=0.0) for entry in candidates]
    routes = plan(ask(), same, seed=seed).routes
    expected = sorted(same, key=lambda entry: entry.group)
    assert [(route.provider, route.model) for route in routes] == [(entry.provider, entry.model) for entry in expected]
