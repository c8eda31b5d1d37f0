"""Input images for a submit: a URL that cannot be fetched is fetched once for each generation."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from msgspec.structs import replace

from gateway.domain.adapter.contract import Capability, ImageTransport
from gateway.domain.adapter.options import URL_MAX
from gateway.domain.adapter.request import FramesInput, InputKind
from gateway.domain.generation.model import Generation
from gateway.fetch.fetcher import FetchRefused
from gateway.inputs import prepare
from gateway.inputs.prepare import InputPreparer
from gateway.inputs.provider_uploads import InputRefused
from gateway.live import Live

from ..builders import World, generation

URL = "https://images.example/a.png"


class Fetcher:
    """Refuses every URL, and remembers each call."""

    def __init__(self) -> None:
        self.urls: list[str] = []

    @asynccontextmanager
    async def get(self, url: str, **_: Any) -> AsyncIterator[None]:
        self.urls.append(url)
        raise FetchRefused("images.example does not lead to a public address")
        yield


class Model:
    """A model that takes images in these forms."""

    def __init__(self, *transports: ImageTransport) -> None:
        self.capabilities = (
            Capability(
                kind="video",
                inputs=frozenset({InputKind.IMAGE}),
                durations=frozenset(),
                resolutions=frozenset(),
                aspect_ratios=frozenset(),
                prompt_max=100,
                image_transports=transports,
            ),
        )


class Provider:
    """A provider with one model of any name."""

    def __init__(self, *transports: ImageTransport, accepts_work: bool = True) -> None:
        self.models = dict.fromkeys(("one", "two"), Model(*transports))
        self.accepts_work = accepts_work


Make = Callable[..., InputPreparer]


@pytest.fixture
def fetcher() -> Fetcher:
    return Fetcher()


@pytest.fixture
def inputs_with(fetcher: Fetcher) -> Make:
    def make(**providers: Provider) -> InputPreparer:
        unused: Any = None
        named: Any = providers
        fetching: Any = fetcher
        return InputPreparer(
            store=unused,
            blobs=unused,
            uploading=unused,
            fetcher=fetching,
            providers=named,
            allow=Live(()),
            link=None,
            clock=unused,
        )

    return make


def from_image(name: str = "gen_1") -> Generation:
    plain = generation("acme/one", "bolt/two")
    return replace(plain, id=name, request=replace(plain.request, input=FramesInput(first_frame=URL)))


async def refusal(inputs: InputPreparer, made: Generation, provider: Any) -> InputRefused:
    world = World(made)
    with pytest.raises(InputRefused) as refused:
        await inputs.ready(world.generation, world.attempt(1), provider)
    return refused.value


async def test_a_failed_fetch_is_remembered_for_its_generation_alone(inputs_with: Make, fetcher: Fetcher) -> None:
    provider = Provider(ImageTransport.BASE64)
    inputs = inputs_with(acme=provider, bolt=Provider(ImageTransport.BASE64))
    first = await refusal(inputs, from_image(), provider)
    again = await refusal(inputs, from_image(), provider)
    assert (first.failure, len(fetcher.urls)) == (again.failure, 1)
    await refusal(inputs, from_image("gen_2"), provider)
    assert fetcher.urls == [URL, URL]


@pytest.mark.parametrize(
    ("other", "elsewhere"),
    [
        (Provider(ImageTransport.BASE64), False),
        (Provider(ImageTransport.URL), True),
        (Provider(ImageTransport.UPLOAD, ImageTransport.URL), True),
        (Provider(ImageTransport.URL, accepts_work=False), False),
    ],
)
async def test_another_route_is_tried_only_where_it_passes_the_url_on(
    inputs_with: Make, other: Provider, elsewhere: bool
) -> None:
    provider = Provider(ImageTransport.BASE64)
    refused = await refusal(inputs_with(acme=provider, bolt=other), from_image(), provider)
    assert refused.failure.elsewhere is elsewhere
    assert refused.failure.message.startswith("`image`: the URL could not be fetched: images.example does not lead to")


async def test_the_remembered_fetches_are_bounded(
    inputs_with: Make, fetcher: Fetcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepare, "FAILED_FETCHES_MAX", 2)
    provider = Provider(ImageTransport.BASE64)
    inputs = inputs_with(acme=provider)
    for number in (1, 2, 3):
        await refusal(inputs, from_image(f"gen_{number}"), provider)
    await refusal(inputs, from_image("gen_3"), provider)
    assert len(fetcher.urls) == 3
    await refusal(inputs, from_image("gen_1"), provider)
    assert len(fetcher.urls) == 4


def test_the_remembered_fetches_fit_into_memory() -> None:
    """A client can fill them with the longest URLs, and they stay until the gateway stops."""
    assert prepare.FAILED_FETCHES_MAX * URL_MAX <= 10_000_000
