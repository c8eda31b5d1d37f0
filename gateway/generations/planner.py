"""From a request to its routes: the model, what is known of its images, the providers' health, the pure plan."""

import difflib
from collections.abc import Collection, Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from gateway.clock import Clock
from gateway.domain.adapter.request import images_of
from gateway.domain.errors import InvalidImage, InvalidParameter
from gateway.domain.generation.model import GenerationRequest, Route
from gateway.domain.routing.image_limits import ImageFacts
from gateway.domain.routing.plan import Candidate, Planned, param_of, plan
from gateway.generations.catalog import Catalog, Model
from gateway.generations.no_route import NoSuitableRoute
from gateway.inputs.prepare import FILE_PREFIX
from gateway.media.image_formats import CONVERTED, INSTEAD
from gateway.store.port import Store
from gateway.upstream.health import Health


class Quote(Struct, frozen=True, kw_only=True):
    """What would be done with a request."""

    model: Model
    request: GenerationRequest
    planned: Planned
    images: Mapping[str, ImageFacts]  # those that the gateway holds, by their names in the request


class Planner:
    """Starts nothing and stores nothing."""

    def __init__(self, store: Store, catalog: Catalog, health: Health, clock: Clock, *, links: bool) -> None:
        """`links`: providers can read files from the gateway itself."""
        self._clock = clock
        self._links = links
        self._store = store
        self._catalog = catalog
        self._health = health

    async def quote(
        self, request: GenerationRequest, *, key: str, images: Mapping[str, ImageFacts], seed: str
    ) -> Quote:
        """The routes in order, and why each other one is left out; `images` are those that came with the request."""
        model, candidates = self._catalog.candidates(request)
        _check_options(request, candidates, self._catalog.providers)
        if not request.prompt.strip() and not request.provider_options:
            raise InvalidParameter("`prompt` is required.", param="prompt")
        known = dict(images)
        if named := named_files(request, images):
            stored, now = await self._store.files(named, key), self._clock.now()
            for name in named:
                file = stored.get(name)
                if file is None or (file.expires_at is not None and file.expires_at <= now):
                    raise InvalidImage(f"There is no file {name[:100]!r}.", param=param_of(request, name))
                known[name] = file.facts
        if request.adapt is None and model.adapt == "nearest":
            request = replace(request, adapt="nearest")
        planned = plan(request, candidates, known, health=self._health.of, seed=seed, links=self._links)
        return Quote(model=model, request=request, planned=planned, images=known)

    async def routes(
        self, request: GenerationRequest, *, key: str, images: Mapping[str, ImageFacts], seed: str
    ) -> tuple[Model, tuple[Route, ...]]:
        """The routes in order, at least one: else `NoSuitableRoute` with every reason."""
        quote = await self.quote(request, key=key, images=images, seed=seed)
        if not quote.planned.routes:
            raise _unconverted(quote) or NoSuitableRoute(request.model, quote.planned.left_out)
        return quote.model, quote.planned.routes


def named_files(request: GenerationRequest, known: Collection[str]) -> list[str]:
    """The images that the request names by their `file_…`, without those that are known."""
    return [
        name for name in dict.fromkeys(images_of(request.input)) if name.startswith(FILE_PREFIX) and name not in known
    ]


def _check_options(request: GenerationRequest, candidates: Sequence[Candidate], providers: Collection[str]) -> None:
    """Options that no route could be given would be dropped in silence."""
    asked = list(dict.fromkeys(candidate.provider for candidate in candidates))
    for provider, options in request.provider_options.items():
        where = f"provider_options.{provider[:64]}"
        if provider not in providers:
            known = ", ".join(providers)
            raise InvalidParameter(f"`{where}`: there is no such provider; configured are {known}.", param=where)
        if provider not in asked:
            serving = ", ".join(asked)
            raise InvalidParameter(f"`{where}`: the model {request.model!r} is served by {serving} only.", param=where)
        known_options = {
            option
            for candidate in candidates
            if candidate.provider == provider
            for capability in candidate.capabilities
            for option in capability.options
        }
        for option in options:
            if option not in known_options:
                near = difflib.get_close_matches(option, known_options, n=1)
                takes = ", ".join(sorted(known_options)) or "none"
                hint = f"did you mean {near[0]!r}?" if near else f"its routes take: {takes}."
                where_option = f"{where}.{option[:64]}"
                raise InvalidParameter(f"`{where_option}`: there is no such option; {hint}", param=where_option)


def _unconverted(quote: Quote) -> InvalidImage | None:
    """The refusal of an image in a format that no route takes, and that the gateway converts where that is asked."""
    if quote.request.adapt == "nearest":
        return None
    for name in images_of(quote.request.input):
        facts = quote.images.get(name)
        if facts is None or facts.content_type not in CONVERTED:
            continue
        param = param_of(quote.request, name)
        other = f"not {facts.content_type.removeprefix('image/')}"
        if all(
            any(one.param == param and other in one.message for one in left.reasons) for left in quote.planned.left_out
        ):
            message = f"`{param}` is in the format {CONVERTED[facts.content_type]}, which no route of this model takes."
            return InvalidImage(f"{message} {INSTEAD}", param=param)
    return None
