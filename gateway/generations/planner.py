"""Finds the routes of a request: reads the facts about its images, then asks the pure rules in `domain/routing`."""

import difflib
from collections.abc import Callable, Collection, Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from gateway.clock import Clock
from gateway.domain.adapter.request import images_of
from gateway.domain.clients import Limits
from gateway.domain.errors import InvalidImage, InvalidParameter
from gateway.domain.generation.model import GenerationRequest, Route
from gateway.domain.money.budgets import Budget, BudgetState
from gateway.domain.routing.image_limits import ImageFacts
from gateway.domain.routing.plan import Candidate, Planned, param_of, plan
from gateway.generations.catalog import Catalog, Model
from gateway.generations.no_route import NoSuitableRoute
from gateway.inputs.prepare import FILE_PREFIX
from gateway.media.image_formats import CONVERTED, INSTEAD
from gateway.store.port import Store
from gateway.upstream.health import Health


class Quote(Struct, frozen=True, kw_only=True):
    """The routes that a request would get, and why it would not get the others."""

    model: Model
    request: GenerationRequest
    planned: Planned
    images: Mapping[str, ImageFacts]  # of images whose bytes the gateway has, by their name in the request
    budgets: tuple[BudgetState, ...] = ()  # what the budgets of the client have left


class Planner:
    """Plans requests. It starts nothing and stores nothing."""

    def __init__(
        self, store: Store, health: Health, clock: Clock, *, links: bool, limits_of: Callable[[str], Limits]
    ) -> None:
        """`links`: the gateway has a public URL, so that providers can download files from it.

        `limits_of` takes an owner id.
        """
        self._limits_of = limits_of
        self._clock = clock
        self._links = links
        self._store = store
        self._health = health

    async def quote(
        self,
        request: GenerationRequest,
        catalog: Catalog,
        *,
        key: str,
        images: Mapping[str, ImageFacts],
        seed: str,
        budgets: Sequence[Budget] = (),
    ) -> Quote:
        """The routes in their order, and the reasons for which other routes are left out.

        `catalog` is the one by which the request was read: a reload may have put another one in place meanwhile.

        `images` are the facts about images whose bytes came with the request. `seed` decides the weighted order. With
        `budgets`, a route without a price is left out. Raises `ModelNotFound`, `ModelNotAllowed`, `InvalidParameter`,
        and `InvalidImage` for a `file_…` that does not exist.
        """
        model, candidates = catalog.candidates(request, self._limits_of(key).models)
        _check_options(request, candidates, catalog.providers)
        if not request.prompt.strip() and not request.provider_options:
            raise _no_prompt(candidates)
        facts = dict(images)
        if named := named_files(request, images):
            stored, now = await self._store.files(named, key), self._clock.now()
            for name in named:
                file = stored.get(name)
                if file is None or (file.expires_at is not None and file.expires_at <= now):
                    raise InvalidImage(
                        f"The file {name[:100]!r} does not exist; upload it first, or check its id.",
                        param=param_of(request, name),
                    )
                facts[name] = file.facts
        if request.adapt is None and model.adapt == "nearest":
            request = replace(request, adapt="nearest")
        planned = plan(
            request,
            candidates,
            facts,
            health=self._health.of,
            seed=seed,
            links=self._links,
            budget=bool(budgets),
        )
        return Quote(model=model, request=request, planned=planned, images=facts)

    async def routes(
        self,
        request: GenerationRequest,
        catalog: Catalog,
        *,
        key: str,
        images: Mapping[str, ImageFacts],
        seed: str,
        budgets: Sequence[Budget],
    ) -> tuple[Model, tuple[Route, ...]]:
        """The model and its routes in their order, at least one. Raises what `quote` raises.

        Without a route it raises `NoSuitableRoute` with every reason, or `InvalidImage`.
        """
        quote = await self.quote(request, catalog, key=key, images=images, seed=seed, budgets=budgets)
        if not quote.planned.routes:
            raise _unconverted(quote) or NoSuitableRoute(request.model, quote.planned.left_out)
        return quote.model, quote.planned.routes


def named_files(request: GenerationRequest, inline: Collection[str]) -> list[str]:
    """The ids (`file_…`) of stored images that the request uses, without those that came `inline`."""
    names = dict.fromkeys(images_of(request.input))
    return [name for name in names if name.startswith(FILE_PREFIX) and name not in inline]


def _no_prompt(candidates: Sequence[Candidate]) -> InvalidParameter:
    """The error for a request without a prompt. It names the option that the model takes instead, if all routes do.

    Without it, a client of a model that takes no prompt would be asked for one, and be refused when it sends one.
    """
    instead = {
        (candidate.adapter or candidate.provider, capability.prompt_or, capability.prompt_max == 0)
        for candidate in candidates
        for capability in candidate.capabilities
    }
    if len(instead) == 1:
        [(provider, option, without_prompt)] = instead
        if option is not None:
            path = f"provider_options.{provider}.{option}"
            if without_prompt:
                return InvalidParameter(f"`{path}` is required: the model takes it instead of a prompt.", param=path)
            return InvalidParameter(f"`prompt` is required, or `{path}` instead of it.", param="prompt")
    return InvalidParameter("`prompt` is required.", param="prompt")


def _check_options(request: GenerationRequest, candidates: Sequence[Candidate], providers: Collection[str]) -> None:
    """Refuse `provider_options` that no candidate can use: without this check they would be dropped silently."""
    serving = dict.fromkeys(
        name for candidate in candidates for name in (candidate.adapter, candidate.provider) if name
    )
    for provider, options in request.provider_options.items():
        where = f"provider_options.{provider[:64]}"
        if provider not in providers:
            configured = ", ".join(providers)
            raise InvalidParameter(
                f"`{where}`: this provider does not exist; configured are {configured}.", param=where
            )
        if provider not in serving:
            only = ", ".join(serving)
            raise InvalidParameter(f"`{where}`: the model {request.model!r} is served by {only} only.", param=where)
        known_options = {
            option
            for candidate in candidates
            if provider in {candidate.provider, candidate.adapter}
            for capability in candidate.capabilities
            for option in capability.options
        }
        for option in options:
            if option not in known_options:
                similar = difflib.get_close_matches(option[:64], known_options, n=1)
                options_text = ", ".join(sorted(known_options)) or "none"
                hint = f"did you mean {similar[0]!r}?" if similar else f"its routes take: {options_text}."
                where_option = f"{where}.{option[:64]}"
                raise InvalidParameter(f"`{where_option}`: this option does not exist; {hint}", param=where_option)


def _unconverted(quote: Quote) -> InvalidImage | None:
    """The refusal of an image whose format no route takes, although `adapt: "nearest"` would convert it.

    `None` if something else is the reason.
    """
    if quote.request.adapt == "nearest":
        return None
    for name in images_of(quote.request.input):
        facts = quote.images.get(name)
        if facts is None or facts.content_type not in CONVERTED:
            continue
        param = param_of(quote.request, name)
        other = f"not {facts.content_type.removeprefix('image/')}"
        if all(
            any(reason.param == param and other in reason.message for reason in route.reasons)
            for route in quote.planned.left_out
        ):
            message = f"`{param}` is in the format {CONVERTED[facts.content_type]}, which no route of this model takes."
            return InvalidImage(f"{message} {INSTEAD}", param=param)
    return None
