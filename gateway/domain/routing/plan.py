"""Which routes can do exactly what was asked, in order, and why each other one cannot. Pure."""

from collections.abc import Callable, Collection, Mapping, Sequence
from math import isclose
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from gateway.domain.adapter.contract import Capability, ImageForm
from gateway.domain.adapter.request import (
    ImageToVideo,
    Input,
    InputKind,
    ReferencesToVideo,
    Settings,
    UpstreamRequest,
    images_of,
    input_kind,
)
from gateway.domain.generation.model import Adaptation, GenerationRequest, Route
from gateway.domain.health.route_health import HealthOf, RouteHealth, unknown_health
from gateway.domain.parameters.dimensions import (
    equal_ratio,
    equal_resolution,
    has_ratio,
    image_ratio_name,
    nearest_duration,
    nearest_ratio,
    nearest_resolution,
    short_side,
)
from gateway.domain.parameters.spellings import equal_mode
from gateway.domain.routing.image_limits import ImageFacts, asked_words, given_words, misfits, remake
from gateway.domain.routing.order import Order, Place, in_order
from gateway.domain.routing.price import Price, cost_usd


class Candidate(Struct, frozen=True, kw_only=True):
    """A route before anybody asked whether it can."""

    provider: str
    model: str
    row: str
    capabilities: tuple[Capability, ...]
    prices: tuple[Price, ...] = ()
    weight: float = 1.0
    group: int = 0  # 0: of the model asked for; behind it those of each model to fall back to
    order: Order = "priority"  # of its group
    attempt_timeout_seconds: float | None = None  # over the provider's own


class Reason(Struct, frozen=True, kw_only=True):
    """Why a route cannot do what was asked."""

    param: str
    message: str


class LeftOut(Struct, frozen=True, kw_only=True):
    """A candidate with its reasons, never empty."""

    provider: str
    model: str
    reasons: tuple[Reason, ...]


class Planned(Struct, frozen=True, kw_only=True):
    """The routes in order, and the rest."""

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
) -> Planned:
    """The routes in the order of their groups, open circuits last.

    `images` tells of those that the gateway holds, by their `file_…` name; `links`: it can give a provider URLs of
    them; `seed` decides what `weighted` leaves open.
    """
    able: list[tuple[Place, Route]] = []
    left_out: list[LeftOut] = []
    for candidate in candidates:
        found = _route(request, candidate, images or {}, links=links)
        if isinstance(found, Route):
            able.append((_place(candidate, found, health), found))
        else:
            left_out.append(LeftOut(provider=candidate.provider, model=candidate.model, reasons=found))
    if request.fallback is False:  # the first route alone, whatever its circuit says
        able = [(replace(place, health=RouteHealth(seconds=place.health.seconds)), route) for place, route in able]
    routes = in_order(able, seed)
    if request.fallback is False:
        unused = Reason(param="fallback", message="is not needed: a route before it can, and `fallback` is off")
        left_out += [LeftOut(provider=one.provider, model=one.model, reasons=(unused,)) for one in routes[1:]]
        routes = routes[:1]
    return Planned(routes=tuple(routes), left_out=tuple(left_out))


def _place(candidate: Candidate, route: Route, health: HealthOf) -> Place:
    return Place(
        name=f"{candidate.provider}/{candidate.model}",
        group=candidate.group,
        order=candidate.order,
        weight=candidate.weight,
        cost_usd=route.cost_usd,
        health=health(candidate.provider, candidate.model),
    )


def _route(
    request: GenerationRequest, candidate: Candidate, images: Mapping[str, ImageFacts], *, links: bool
) -> Route | tuple[Reason, ...]:
    kind = input_kind(request.input)
    fitting = [one for one in candidate.capabilities if kind in one.inputs]
    if not fitting:
        return (_no_such_input(kind, candidate),)
    # The rows that take these images, where there are any: only their reasons help the client.
    taking = [one for one in fitting if not _check_input(request, one)] or fitting
    adapted: Route | None = None
    best: tuple[Reason, ...] = ()
    for capability in taking:
        settings, adaptations, reasons = _fit_settings(request, capability, images)
        reasons += _check_prompt(request, candidate.provider, capability)
        cost = cost_usd(candidate.prices, settings, capability, alike=candidate.model != candidate.row)
        reasons += _check_cost(request, cost)
        reasons += _check_input(request, capability)
        made, misfitting = _fit_images(request, capability, images, links=links)
        adaptations, reasons = adaptations + made, reasons + misfitting
        if not reasons:
            reasons += _check_rules(request, candidate, capability, settings)
        if not reasons:
            route = Route(
                provider=candidate.provider,
                model=candidate.model,
                row=candidate.row,
                settings=settings,
                count_max=capability.count_max,
                adaptations=tuple(adaptations),
                cost_usd=cost,
                attempt_timeout_seconds=candidate.attempt_timeout_seconds,
            )
            if not adaptations:  # a later row may take exactly what was asked
                return route
            adapted = adapted or route
        elif not best or len(reasons) < len(best):
            best = tuple(reasons)
    if len(taking) < len(fitting):  # without these images the model takes more
        best = tuple(replace(reason, message=f"{_with_images(request)}: {reason.message}") for reason in best)
    return adapted or best


def _with_images(request: GenerationRequest) -> str:
    with_last = isinstance(request.input, ImageToVideo) and request.input.last_frame is not None
    return "with a last image" if with_last else "with these images"


_INPUT_WORDS = {
    InputKind.TEXT: "a prompt without an image",
    InputKind.IMAGE: "`image` as the first frame",
    InputKind.REFERENCES: "`reference_images`",
}


def _no_such_input(kind: InputKind, candidate: Candidate) -> Reason:
    takes = {one for capability in candidate.capabilities for one in capability.inputs}
    words = " or ".join(_INPUT_WORDS[one] for one in InputKind if one in takes)
    param = "reference_images" if kind is InputKind.REFERENCES else "image"
    return Reason(param=param, message=f"does not take {_INPUT_WORDS[kind]}; it takes {words}")


_Match = Callable[[Any, Any], Any]  # asked, supported → the one that serves, or None


def _fit_settings(
    request: GenerationRequest, capability: Capability, images: Mapping[str, ImageFacts]
) -> tuple[Settings, list[Adaptation], list[Reason]]:
    """The settings that a model is sent, what was changed in them, and what it cannot be asked."""
    asked = request.settings
    reasons: list[Reason] = []
    adaptations: list[Adaptation] = []
    changes: dict[str, Any] = {}

    def fit(setting: str, param: str, supported: Collection[Any], equal: _Match, nearest: _Match) -> None:
        value = getattr(asked, setting)
        if value is None:
            return
        given = equal(value, supported)
        if given is None:
            given = nearest(value, supported)
            if given is None or request.adapt != "nearest":
                reasons.append(Reason(param=param, message=_unsupported(value, supported, given)))
                return
            adaptations.append(Adaptation(param=param, asked=value, given=given))
        changes[setting] = given

    fit("duration_seconds", "duration", capability.durations, _itself, nearest_duration)
    fit("resolution", "resolution", frozenset(capability.resolutions), equal_resolution, nearest_resolution)
    if asked.aspect_ratio is not None and isinstance(request.input, ImageToVideo) and not capability.aspect_ratios:
        changes["aspect_ratio"] = None  # the model has no such parameter: its video has the ratio of the image
        unlike = _ratio_beside_image(asked.aspect_ratio, images.get(request.input.first_frame), request.adapt)
        if isinstance(unlike, Adaptation):
            adaptations.append(unlike)
        elif unlike is not None:
            reasons.append(unlike)
    else:
        fit("aspect_ratio", "aspect_ratio", frozenset(capability.aspect_ratios), equal_ratio, nearest_ratio)
    fit("fps", "fps", capability.fps, _itself, _none)
    fit("mode", "mode", capability.modes, equal_mode, _none)
    reasons += _check_switches(asked, capability)
    mode, resolution = changes.get("mode"), changes.get("resolution")
    if not reasons and mode is not None and resolution not in {None, capability.modes[mode]}:
        message = f"`{mode}` means {capability.modes[mode]} here, `resolution` says {asked.resolution}"
        reasons.append(Reason(param="mode", message=message))
    defaults = {name: value for name, value in capability.defaults.items() if getattr(asked, name) is None}
    return replace(asked, **{**defaults, **changes}), adaptations, reasons


def _itself(asked: Any, supported: Collection[Any]) -> Any:  # a number or a word
    return asked if asked in supported else None


def _none(asked: object, supported: Collection[Any]) -> None:  # the same shape as the others
    """Of this setting no value is near to another."""


def _ratio_beside_image(asked: str, image: ImageFacts | None, adapt: str | None) -> Adaptation | Reason | None:
    """What becomes of a ratio that was asked of a model whose video has the ratio of the image.

    `None` where the image has that ratio anyway. Otherwise only a client that allows the nearest value gets the ratio
    of the image in place of the asked one; the ratio of an image behind a URL is not known yet.
    """
    if image is not None and has_ratio(image.width, image.height, asked):
        return None
    if adapt == "nearest":
        given = None if image is None else image_ratio_name(image.width, image.height)
        return Adaptation(param="aspect_ratio", asked=asked, given=given)
    size = "whose size is not known before it is fetched" if image is None else f"which is {image.width}x{image.height}"
    remedy = 'leave `aspect_ratio` out, or send `"adapt": "nearest"` to have it left out here'
    return Reason(param="aspect_ratio", message=f"follows the image, {size}, so {asked} cannot be asked for: {remedy}")


def _check_switches(asked: Settings, capability: Capability) -> list[Reason]:
    """The settings that a model either honours or does not have."""
    reasons: list[Reason] = []
    if asked.generate_audio and not capability.generate_audio:
        reasons.append(Reason(param="generate_audio", message="cannot make sound"))
    if asked.negative_prompt is not None:
        limit = capability.negative_prompt_max
        if limit == 0:
            reasons.append(Reason(param="negative_prompt", message="takes no negative prompt"))
        elif len(asked.negative_prompt) > limit:
            message = f"takes a negative prompt of at most {limit} characters, not {len(asked.negative_prompt)}"
            reasons.append(Reason(param="negative_prompt", message=message))
    if asked.seed is not None and not capability.seed:
        reasons.append(Reason(param="seed", message="does not honour a seed"))
    if asked.cfg_scale is not None:
        if capability.cfg_scale is None:
            reasons.append(Reason(param="cfg_scale", message="does not honour cfg_scale"))
        elif not capability.cfg_scale[0] <= asked.cfg_scale <= capability.cfg_scale[1]:
            low, high = capability.cfg_scale
            takes = f"{low:g}" if low == high else f"{low:g} to {high:g}"
            reasons.append(Reason(param="cfg_scale", message=f"takes {takes}, not {asked.cfg_scale:g}"))
    return reasons


def _check_prompt(request: GenerationRequest, provider: str, capability: Capability) -> list[Reason]:
    reasons: list[Reason] = []
    options = request.provider_options.get(provider, {})
    unknown = sorted(options.keys() - capability.options)
    if unknown:
        allowed = ", ".join(sorted(capability.options)) or "none"
        message = f"does not take the option {', '.join(unknown)}; it takes: {allowed}"
        reasons.append(Reason(param=f"provider_options.{provider}", message=message))
    fault = _prompt_fault(request.prompt, options, capability)
    return reasons if fault is None else [*reasons, Reason(param="prompt", message=fault)]


def _prompt_fault(prompt: str, options: Mapping[str, object], capability: Capability) -> str | None:
    """Return what is wrong with a prompt, or with its absence; None if the model takes it."""
    option, most = capability.prompt_or, capability.prompt_max
    replaced = option is not None and option in options
    if prompt and most == 0:
        return "takes no prompt"
    if prompt and replaced:
        return f"takes `prompt` or the option {option}, not both"
    if not prompt.strip() and not replaced:
        accepted = [*(["a prompt"] if most else []), *([] if option is None else [f"the option {option}"])]
        return f"requires {' or '.join(accepted) or 'a prompt, but its limit for prompts is 0 characters'}"
    return f"takes a prompt of at most {most} characters, not {len(prompt)}" if len(prompt) > most else None


def _check_cost(request: GenerationRequest, cost: float | None) -> list[Reason]:
    if request.max_cost is None:
        return []
    if cost is None:  # a limit that cannot be kept is not promised
        return [Reason(param="max_cost", message="has no price for this request, so a limit cannot be kept")]
    total = cost * request.count
    if total <= request.max_cost or isclose(total, request.max_cost):
        return []
    return [Reason(param="max_cost", message=f"costs {total:g} USD, not at most {request.max_cost:g}")]


def _check_input(request: GenerationRequest, capability: Capability) -> list[Reason]:
    reasons: list[Reason] = []
    match request.input:
        case ImageToVideo(last_frame=last) if last is not None and not capability.last_frame:
            reasons.append(Reason(param="last_image", message="takes no last frame"))
        case ReferencesToVideo(references=references, first_frame=first, last_frame=last):
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


def bytes_form(capability: Capability) -> ImageForm | None:
    """How a model takes the bytes of an image, as it likes best; `None` where it takes URLs alone."""
    return next((form for form in capability.image_forms if form is not ImageForm.URL), None)


def _fit_images(
    request: GenerationRequest, capability: Capability, images: Mapping[str, ImageFacts], *, links: bool
) -> tuple[list[Adaptation], list[Reason]]:
    """What is to be made of the images that the gateway holds, and why one cannot be used.

    Of a URL nothing is known: what is behind it is seen by the provider, or by the gateway just before the submit.
    """
    adaptations: list[Adaptation] = []
    reasons: list[Reason] = []
    in_bytes = bytes_form(capability) is not None
    for name in dict.fromkeys(images_of(request.input)):
        param, facts = param_of(request, name), images.get(name)
        if facts is None:
            continue
        if not in_bytes and not links:
            reasons.append(Reason(param=param, message="takes images by URL alone, and the gateway has no public URL"))
            continue
        wrong = misfits(facts, capability.images)
        # What is made of a picture is nowhere kept: there is nothing that a link could lead to.
        made = remake(facts, capability.images) if wrong and in_bytes and request.adapt == "nearest" else None
        if made is None:
            reasons += (Reason(param=param, message=message) for message in wrong)
        else:
            place = place_of(request.input, name)
            adaptations.append(Adaptation(param=place, asked=asked_words(facts), given=given_words(made)))
    return adaptations, reasons


def param_of(request: GenerationRequest, image: str) -> str:
    """The parameter that an image of the request came in."""
    return place_of(request.input, image).partition("[")[0]


def place_of(value: Input, image: str) -> str:
    """The same, of reference images with the number of the one."""
    match value:
        case ImageToVideo(first_frame=first) | ReferencesToVideo(first_frame=first) if image == first:
            return "image"
        case ImageToVideo(last_frame=last) | ReferencesToVideo(last_frame=last) if image == last:
            return "last_image"
        case ReferencesToVideo(references=references) if image in references:
            return f"reference_images[{references.index(image)}]"
        case _:
            return "image"


def _check_rules(
    request: GenerationRequest, candidate: Candidate, capability: Capability, settings: Settings
) -> list[Reason]:
    options = request.provider_options.get(candidate.provider, {})
    draft = UpstreamRequest(
        attempt_id="",
        model=candidate.model,
        row=candidate.row,
        prompt=request.prompt,
        input=request.input,
        settings=settings,
        count=min(request.count, capability.count_max),
        options=options,
    )
    found = (rule(draft) for rule in capability.rules)
    return [Reason(param=f"provider_options.{candidate.provider}", message=why) for why in found if why is not None]


def _unsupported(value: object, supported: Collection[Any], nearest: object) -> str:
    """What a model takes instead, and which of it `adapt` would take."""
    if not supported:
        return "does not take it"
    ordered = sorted(supported, key=lambda one: (_rank(one), str(one)))
    takes = ", ".join(map(str, ordered))
    if (
        all(isinstance(one, int) for one in ordered)
        and len(ordered) > 2
        and ordered[-1] - ordered[0] == len(ordered) - 1
    ):
        takes = f"{ordered[0]} to {ordered[-1]}"
    hint = "" if nearest is None else f'; `"adapt": "nearest"` would take {nearest}'
    return f"takes {takes}, not {value}{hint}"


def _rank(value: object) -> float:
    return value if isinstance(value, int) else short_side(str(value)) or 0
