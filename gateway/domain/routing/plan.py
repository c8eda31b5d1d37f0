"""Which routes can serve a request, in which order, and why each other route cannot. Pure.

Nothing that the client sent is dropped or changed silently: a route that cannot honour a parameter is left out with the
reason, or changes the value because the client allowed it with `adapt`.
"""

from collections.abc import Mapping, Sequence
from math import isclose
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from gateway.domain.adapter.contract import Capability, ImageTransport
from gateway.domain.adapter.options import OptionFault, options_of, read_option
from gateway.domain.adapter.request import (
    FramesInput,
    Input,
    InputKind,
    Kind,
    ReferencesInput,
    Settings,
    UpstreamRequest,
    images_of,
    input_kind,
)
from gateway.domain.generation.model import Adaptation, GenerationRequest, Route
from gateway.domain.health.route_health import HealthOf, RouteHealth, unknown_health
from gateway.domain.routing.image_limits import ImageFacts, conversion_text, image_text, misfits, not_converted, remake
from gateway.domain.routing.order import Order, RankKey, in_order
from gateway.domain.routing.price import Price, SideCosts, cost_usd, side_costs
from gateway.domain.routing.settings_fit import Reason, fit_settings


class Candidate(Struct, frozen=True, kw_only=True):
    """A route that the model's configuration offers. Whether it can serve a request is still to be found out."""

    provider: str
    model: str  # the provider's own name
    capability_name: str  # the entry of the adapter's capability table that the model follows
    capabilities: tuple[Capability, ...]
    prices: tuple[Price, ...] = ()
    weight: float = 1.0
    group: int = 0  # 0: the requested model; then one number for each model to fall back to
    order: Order = "priority"  # within its group
    attempt_timeout_seconds: float | None = None  # replaces that of the provider
    adapter: str = ""  # the adapter of the provider; "": it has the provider's own name
    service: str = ""  # see `Route.service`

    def options(self, request: GenerationRequest) -> Mapping[str, Any]:
        """The provider options of the request that are for this route."""
        return options_of(request.provider_options, self.adapter, self.provider)

    def options_path(self, request: GenerationRequest, option: str = "") -> str:
        """The path of the object in the request that has this option: the account's own, or that of its adapter."""
        of_account = option in request.provider_options.get(self.provider, {})
        return f"provider_options.{self.provider if of_account or not self.adapter else self.adapter}"


class LeftOut(Struct, frozen=True, kw_only=True):
    """A candidate that cannot serve the request, with at least one reason."""

    provider: str
    model: str
    reasons: tuple[Reason, ...]


class Planned(Struct, frozen=True, kw_only=True):
    """The routes that can serve the request, in their order, and the candidates that cannot."""

    routes: tuple[Route, ...]
    left_out: tuple[LeftOut, ...]


def plan(
    request: GenerationRequest,
    candidates: Sequence[Candidate],
    images: Mapping[str, ImageFacts] | None = None,
    *,
    health: HealthOf = unknown_health,
    seed: str = "",
    links: bool = False,
    budget: bool = False,
) -> Planned:
    """The routes for a request: open circuits last, then by group, then by the order of the group.

    `images`: the images whose bytes the gateway has, by their `file_…` name. `links`: the gateway has a public URL, so
    a provider can fetch these images from it. `seed` decides the random part of the order `weighted`. `budget`: a
    budget limits what the client may spend, so every route needs a price.
    """
    able: list[tuple[RankKey, Route]] = []
    left_out: list[LeftOut] = []
    for candidate in candidates:
        result = _route(request, candidate, images or {}, links=links, budget=budget)
        if isinstance(result, Route):
            able.append((_rank_key(candidate, result, health), result))
        else:
            left_out.append(LeftOut(provider=candidate.provider, model=candidate.model, reasons=result))
    if request.fallback is False:  # only the first route is used, so an open circuit must not change which one that is
        able = [(replace(key, health=RouteHealth(seconds=key.health.seconds)), route) for key, route in able]
    routes = in_order(able, seed)
    if request.fallback is False:
        unused = Reason(param="fallback", message="is not needed: a route before it can, and `fallback` is off")
        left_out += [LeftOut(provider=route.provider, model=route.model, reasons=(unused,)) for route in routes[1:]]
        routes = routes[:1]
    return Planned(routes=tuple(routes), left_out=tuple(left_out))


def _rank_key(candidate: Candidate, route: Route, health: HealthOf) -> RankKey:
    return RankKey(
        name=f"{candidate.provider}/{candidate.model}",
        group=candidate.group,
        order=candidate.order,
        weight=candidate.weight,
        cost_usd=route.cost_usd,
        health=health(candidate.provider, candidate.model),
    )


def _route(
    request: GenerationRequest, candidate: Candidate, images: Mapping[str, ImageFacts], *, links: bool, budget: bool
) -> Route | tuple[Reason, ...]:
    """The route that the candidate becomes, or why it cannot serve the request.

    A model may have several capabilities. One that takes the request unchanged wins over one that adapts it. If none
    can, the reasons of the capability with the fewest reasons are given.
    """
    of_kind = [capability for capability in candidate.capabilities if capability.kind == request.kind]
    if not of_kind:
        return (_OTHER_KIND[request.kind],)
    given = input_kind(request.input)
    fitting = [capability for capability in of_kind if given in capability.inputs]
    if not fitting:
        return (_no_such_input(given, request.kind, of_kind),)
    # If some capabilities take these images, only their reasons help the client.
    taking = [capability for capability in fitting if not _check_input(request, capability)] or fitting
    adapted: Route | None = None
    best: tuple[Reason, ...] = ()
    for capability in taking:
        settings, adaptations, reasons = fit_settings(request, capability, images)
        reasons += _check_prompt(request, candidate, capability)
        alike = candidate.model != candidate.capability_name
        cost = cost_usd(candidate.prices, settings, capability, alike=alike)
        side = side_costs(candidate.prices, settings, capability, alike=alike)
        reasons += _check_cost(request, cost, side, budget=budget)
        reasons += _check_input(request, capability)
        made, misfitting = _fit_images(request, capability, images, links=links)
        adaptations, reasons = adaptations + made, reasons + misfitting
        if not reasons:
            reasons += _check_rules(request, candidate, capability, settings)
        if not reasons:
            route = Route(
                provider=candidate.provider,
                model=candidate.model,
                capability_name=candidate.capability_name,
                settings=settings,
                count_max=capability.count_max,
                adaptations=tuple(adaptations),
                cost_usd=cost,
                failure_usd=side.failure,
                refusal_usd=side.refusal,
                attempt_timeout_seconds=candidate.attempt_timeout_seconds,
                service=candidate.service,
            )
            if not adaptations:  # otherwise a later capability may take the request unchanged
                return route
            adapted = adapted or route
        elif not best or len(reasons) < len(best):
            best = tuple(reasons)
    if len(taking) < len(fitting):  # the model has further capabilities for requests without these images
        best = tuple(replace(reason, message=f"{_with_images(request)}: {reason.message}") for reason in best)
    return adapted or best


def _with_images(request: GenerationRequest) -> str:
    with_last = isinstance(request.input, FramesInput) and request.input.last_frame is not None
    return "with a last image" if with_last else "with these images"


_INPUT_WORDS = {
    InputKind.TEXT: "a prompt without an image",
    InputKind.IMAGE: "`image` as the first frame",
    InputKind.REFERENCES: "`reference_images`",
}
_OTHER_KIND: Mapping[Kind, Reason] = {
    "video": Reason(param="model", message="makes images: use POST /v1/images/generations"),
    "image": Reason(param="model", message="makes videos: use POST /v1/videos/generations"),
}


def _no_such_input(given: InputKind, kind: Kind, capabilities: Sequence[Capability]) -> Reason:
    supported = {input_ for capability in capabilities for input_ in capability.inputs}
    words = " or ".join(_INPUT_WORDS[input_] for input_ in InputKind if input_ in supported)
    param = "reference_images" if given is InputKind.REFERENCES or kind == "image" else "image"
    return Reason(param=param, message=f"does not take {_INPUT_WORDS[given]}; it takes {words}")


def _check_prompt(request: GenerationRequest, candidate: Candidate, capability: Capability) -> list[Reason]:
    reasons: list[Reason] = []
    options = candidate.options(request)
    unknown = sorted(options.keys() - capability.options)
    if unknown:
        allowed = ", ".join(sorted(capability.options)) or "none"
        message = f"does not take the option {', '.join(unknown)}; it takes: {allowed}"
        reasons.append(Reason(param=candidate.options_path(request, unknown[0]), message=message))
    reasons += _misshapen(request, candidate, capability)
    fault = _prompt_fault(request.prompt, options, capability)
    return reasons if fault is None else [*reasons, Reason(param="prompt", message=fault)]


def _misshapen(request: GenerationRequest, candidate: Candidate, capability: Capability) -> list[Reason]:
    """Why this model does not take the values of options that another model of the provider takes."""
    reasons: list[Reason] = []
    for name, value in candidate.options(request).items():
        if (shape := capability.options.get(name)) is not None:
            try:
                read_option(shape, value, f"{candidate.options_path(request, name)}.{name}", lambda _: None)
            except OptionFault as fault:
                reasons.append(Reason(param=fault.path, message=fault.message))
    return reasons


def _prompt_fault(prompt: str, options: Mapping[str, object], capability: Capability) -> str | None:
    """Return what is wrong with a prompt, or with its absence; None if the model takes it."""
    option, most = capability.prompt_or, capability.prompt_max
    replaced = option is not None and option in options
    if prompt and most == 0:
        return "takes no prompt" + ("" if option is None or replaced else f"; it requires the option {option}")
    if prompt and replaced:
        return f"takes `prompt` or the option {option}, not both"
    if not prompt.strip() and not replaced:
        accepted = [*(["a prompt"] if most else []), *([] if option is None else [f"the option {option}"])]
        return f"requires {' or '.join(accepted) or 'a prompt, but its limit for prompts is 0 characters'}"
    return f"takes a prompt of at most {most} characters, not {len(prompt)}" if len(prompt) > most else None


def _check_cost(request: GenerationRequest, cost: float | None, side: SideCosts, *, budget: bool) -> list[Reason]:
    if cost is None and budget:
        return [Reason(param="model", message="has no price for this request, so your budget could not be kept")]
    if request.max_cost is None:
        return []
    if cost is None:  # without a price the gateway could not keep the limit
        return [Reason(param="max_cost", message="has no price for this request, so a limit cannot be kept")]
    total = max(cost, side.failure or 0.0, side.refusal) * request.count
    if total <= request.max_cost or isclose(total, request.max_cost):
        return []
    return [Reason(param="max_cost", message=f"costs {total:g} USD, not at most {request.max_cost:g}")]


def _check_input(request: GenerationRequest, capability: Capability) -> list[Reason]:
    reasons: list[Reason] = []
    match request.input:
        case FramesInput(last_frame=last) if last is not None and not capability.last_frame:
            reasons.append(Reason(param="last_image", message="takes no last frame"))
        case ReferencesInput(references=references, first_frame=first, last_frame=last):
            if len(references) > capability.references_max:
                most = capability.references_max
                takes = {0: "no reference images", 1: "one reference image"}.get(
                    most, f"at most {most} reference images"
                )
                reasons.append(Reason(param="reference_images", message=f"takes {takes}, not {len(references)}"))
            if not capability.frames_with_references and (first is not None or last is not None):
                param = "image" if first is not None else "last_image"
                reasons.append(Reason(param=param, message="takes no frames beside reference images"))
        case _:
            pass
    return reasons


def bytes_transport(capability: Capability) -> ImageTransport | None:
    """The form in which a model prefers the bytes of an image; `None` if it takes only URLs."""
    return next((transport for transport in capability.image_transports if transport is not ImageTransport.URL), None)


def _fit_images(
    request: GenerationRequest, capability: Capability, images: Mapping[str, ImageFacts], *, links: bool
) -> tuple[list[Adaptation], list[Reason]]:
    """How the images whose bytes the gateway has must be converted, and why one of them cannot be used.

    An image that is only a URL is not judged here: the provider fetches it, or the gateway does before the submit.
    """
    adaptations: list[Adaptation] = []
    reasons: list[Reason] = []
    in_bytes = bytes_transport(capability) is not None
    for name in dict.fromkeys(images_of(request.input)):
        param, facts = param_of(request, name), images.get(name)
        if facts is None:
            continue
        if not in_bytes and not links:
            reasons.append(Reason(param=param, message="takes images by URL alone, and the gateway has no public URL"))
            continue
        wrong = misfits(facts, capability.images)
        # A converted image is not stored, so a link cannot lead to it: only a model that takes bytes can have it.
        may_change = bool(wrong) and in_bytes and request.adapt == "nearest"
        made = remake(facts, capability.images) if may_change else None
        if made is None:
            hint = not_converted(facts, capability.images) if may_change else ""
            reasons += (Reason(param=param, message=message + hint) for message in wrong)
        else:
            path = param_path(request.input, name)
            adaptations.append(Adaptation(param=path, asked=image_text(facts), given=conversion_text(made)))
    return adaptations, reasons


def param_of(request: GenerationRequest, image: str) -> str:
    """The name of the parameter that an image of the request came in, for example `reference_images`."""
    return param_path(request.input, image).partition("[")[0]


def param_path(value: Input, image: str) -> str:
    """The path of an image within the request, for example `image` or `reference_images[2]`."""
    match value:
        case FramesInput(first_frame=first) | ReferencesInput(first_frame=first) if image == first:
            return "image"
        case FramesInput(last_frame=last) | ReferencesInput(last_frame=last) if image == last:
            return "last_image"
        case ReferencesInput(references=references) if image in references:
            return f"reference_images[{references.index(image)}]"
        case _:
            return "image"


def _check_rules(
    request: GenerationRequest, candidate: Candidate, capability: Capability, settings: Settings
) -> list[Reason]:
    """Why the adapter's own rules refuse the request; they see it as it would be submitted."""
    options = candidate.options(request)
    submit = UpstreamRequest(
        attempt_id="",
        model=candidate.model,
        capability_name=candidate.capability_name,
        prompt=request.prompt,
        input=request.input,
        settings=settings,
        kind=request.kind,
        count=min(request.count, capability.count_max),
        options=options,
    )
    refusals = (rule(submit) for rule in capability.rules)
    path = candidate.options_path(request, next(iter(options), ""))
    return [Reason(param=path, message=why) for why in refusals if why is not None]
