"""The message and the parameter of a request that no route can serve."""

import pytest

from gateway.domain.routing.plan import LeftOut, Reason
from gateway.generations.no_route import NoSuitableRoute

SHORT = Reason(param="duration", message="takes 5, not 7")
LONG = Reason(param="duration", message="takes 5, 10, not 7")
SEED = Reason(param="seed", message="does not honour a seed")
SOUND = Reason(param="provider_options.acme", message="Sound needs mode pro.")  # a sentence of an adapter
IMAGE = Reason(param="image", message="does not take `image`")


def refused(*routes: tuple[Reason, ...]) -> NoSuitableRoute:
    left_out = [LeftOut(provider="acme", model=f"m{at}", reasons=reasons) for at, reasons in enumerate(routes)]
    return NoSuitableRoute("auto", left_out)


@pytest.mark.parametrize(
    ("routes", "param", "message"),
    [
        ([(SHORT, SEED)], "duration", " acme/m0: `duration`: takes 5, not 7, `seed`: does not honour a seed."),
        ([(SOUND,)], "provider_options.acme", " acme/m0: `provider_options.acme`: Sound needs mode pro."),
        ([(SEED,)], "seed", " acme/m0: `seed`: does not honour a seed."),
        ([(SHORT,)] * 12, "duration", " All 12 routes: `duration`: takes 5, not 7."),
        (
            [(SHORT,), (LONG,), (LONG, SEED)],
            "duration",
            " All 3 routes refuse `duration`, 2 of them for this reason: takes 5, 10, not 7.",
        ),
        (
            [(SHORT,), (LONG,)],
            "duration",
            " All 2 routes refuse `duration`, one of them for this reason: takes 5, not 7.",
        ),
        (
            [(SHORT,), (SHORT, SEED)],
            "duration",
            " All 2 routes refuse `duration`, all of them for this reason: takes 5, not 7.",
        ),
        (
            [(IMAGE,), (SEED, SHORT), (SHORT,)],
            None,
            " 2 of 3 routes refuse `duration`, all of them for this reason: takes 5, not 7.",
        ),
        ([], None, ""),
    ],
)
def test_the_message_says_the_common_or_the_most_frequent_reason(
    routes: list[tuple[Reason, ...]], param: str | None, message: str
) -> None:
    error = refused(*routes)
    assert (error.param, error.code, error.status) == (param, "unsupported_parameter", 422)
    start = f"No route of the model 'auto' can do this.{message}"
    assert error.detail in {start, f"{start} `error.routes` lists the reasons of every route."}
    assert [route.reasons for route in error.left_out] == routes


def test_the_message_has_the_names_that_the_client_has_used() -> None:
    error = refused((IMAGE, SEED)).in_words({"image": "frame_images[0]", "duration": "seconds"})

    assert error.detail == (
        "No route of the model 'auto' can do this. acme/m0: `frame_images[0]`: does not take `frame_images[0]`,"
        " `seed`: does not honour a seed."
    )
    assert error.param == "frame_images[0]"
    assert [reason.param for route in error.left_out for reason in route.reasons] == ["frame_images[0]", "seed"]


def test_a_reason_names_other_fields_in_the_client_s_words_too() -> None:
    reason = Reason(param="image", message="it takes `image` or `reference_images`, and not `mode`")
    error = refused((reason,)).in_words({"image": "frame_images", "reference_images": "input_references"})

    assert "`frame_images`: it takes `frame_images` or `input_references`, and not `mode`." in error.detail


def test_the_message_stays_short_however_many_routes_there_are() -> None:
    routes = [(Reason(param=f"p{at % 7}", message=f"message {at}"),) for at in range(500)]
    assert len(refused(*routes).detail) < 300
