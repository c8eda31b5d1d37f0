"""Models and their routes as clients read them: capabilities, prices, health."""

from collections.abc import Collection
from typing import Any, Literal

from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import replace

from gateway.domain.adapter.contract import Capability
from gateway.domain.adapter.options import schema_of
from gateway.domain.adapter.request import InputKind, Kind
from gateway.domain.clients import Sight
from gateway.domain.health.circuit import CircuitState
from gateway.domain.parameters.dimensions import short_side
from gateway.domain.routing.order import Order
from gateway.domain.routing.plan import Candidate
from gateway.domain.routing.price import Price
from gateway.generations.catalog import Model
from gateway.upstream.health import CompletionTimes, Health


class CapabilityView(Struct, frozen=True, kw_only=True):
    """What a route can do for some kinds of input."""

    kind: Kind  # what it makes
    inputs: tuple[str, ...]  # the kinds of input
    durations: tuple[int, ...]  # seconds
    resolutions: tuple[str, ...]  # those that a request can name
    qualities: tuple[str, ...]  # those that a request can name
    output_formats: tuple[str, ...]  # those that a request can name
    aspect_ratios: tuple[str, ...]  # those that a request can name
    prompt_max: int  # characters
    last_image: bool  # whether it takes a last frame
    reference_images_max: int  # 0: it takes none
    generate_audio: bool  # whether it can make sound
    negative_prompt: bool  # whether it takes one
    seed: bool  # whether it takes one
    fps: tuple[int, ...]  # whether it takes a value; or the values that it takes
    cfg_scale: tuple[float, float] | None  # the smallest and the largest value; null: it takes none
    modes: tuple[str, ...]  # those that a request can name
    n_per_submit: int  # outputs that one submit can make
    provider_options: tuple[str, ...]  # the names of its own options
    provider_option_schemas: dict[str, dict[str, Any]]  # by name: the JSON schema of its value


class ConcurrencyView(Struct, frozen=True, kw_only=True):
    """How many submits to the provider run at once. The limit falls after a 429 and rises again with success."""

    limit: int  # of the moment
    ceiling: int  # as configured
    active: int  # submits that run
    waiting: int  # submits that wait


class HealthView(Struct, frozen=True, kw_only=True):
    """How the route has worked recently, as this process has seen it."""

    circuit: CircuitState  # whether the route works at the moment
    reason: str | None  # the failure that opened the circuit
    concurrency: ConcurrencyView  # of the submits to the provider
    completion_seconds: CompletionTimes | None  # from acceptance to the result; null: none completed recently


class RouteView(Struct, frozen=True, kw_only=True):
    """One (provider, upstream model) that can serve a model."""

    provider: str | UnsetType = UNSET  # the name of the provider; absent: the client may not see it
    provider_model: str | UnsetType = UNSET  # the provider's own name of the model; absent likewise
    weight: float | None  # null unless the order is `weighted`
    capabilities: tuple[CapabilityView, ...]  # what the route can do; a request must fit one of them
    # in USD for one output; the first that applies counts; empty: no price is configured; absent: not shown
    prices: tuple[Price, ...] | UnsetType = UNSET
    health: HealthView | None  # null in the command line, which does not ask a running gateway


class ModelView(Struct, frozen=True, kw_only=True):
    """A model in OpenAI's shape, with its routes in the order of the configuration."""

    id: str  # the name for `model` in a request
    object: Literal["model"] = "model"  # the kind of this object
    created: int  # Unix seconds of the start of the gateway
    owned_by: str  # the provider, or the gateway
    order: Order  # the rule that orders the routes
    adapt: str  # what applies where a request says nothing of `adapt`
    on_ambiguous: str  # what follows a submit without a clear answer
    on_content_policy: str  # what follows a refusal of the content
    routes: tuple[RouteView, ...]  # in the order of the configuration


class ModelList(Struct, frozen=True, kw_only=True):
    """Every model."""

    object: Literal["list"] = "list"  # the kind of this object
    data: tuple[ModelView, ...]  # in the order of the configuration


def model_view(model: Model, created: int, health: Health | None = None) -> ModelView:
    """The public object of a model; without `health`, the health of its routes is null."""
    return ModelView(
        id=model.name,
        created=created,
        owned_by=model.owned_by,
        order=model.order,
        adapt=model.adapt,
        on_ambiguous=model.policy.on_ambiguous,
        on_content_policy=model.policy.on_content_policy,
        routes=tuple(
            RouteView(
                provider=candidate.provider,
                provider_model=candidate.model,
                weight=candidate.weight if model.order == "weighted" else None,
                capabilities=tuple(map(_capability_view, candidate.capabilities)),
                prices=candidate.prices,
                health=None if health is None else _health_view(candidate, health),
            )
            for candidate in model.candidates
        ),
    )


def seen(view: ModelView, sees: Collection[Sight]) -> ModelView:
    """The public object without what the client may not see."""
    routes = view.routes
    if "provider" not in sees:
        routes = tuple(replace(route, provider=UNSET, provider_model=UNSET) for route in routes)
        view = replace(view, owned_by="video-gateway")
    if "costs" not in sees:
        routes = tuple(replace(route, prices=UNSET) for route in routes)
    return view if routes is view.routes else replace(view, routes=routes)


def _health_view(candidate: Candidate, health: Health) -> HealthView:
    provider, model = candidate.provider, candidate.model
    limiter = health.submits[provider]
    return HealthView(
        circuit=health.circuit(provider, model),
        reason=health.reason(provider, model),
        concurrency=ConcurrencyView(
            limit=limiter.limit, ceiling=limiter.ceiling, active=limiter.active, waiting=limiter.waiting
        ),
        completion_seconds=health.completion_times(provider, model),
    )


_INPUT_NAMES = {InputKind.TEXT: "text", InputKind.IMAGE: "image", InputKind.REFERENCES: "reference_images"}


def _capability_view(capability: Capability) -> CapabilityView:
    return CapabilityView(
        kind=capability.kind,
        inputs=tuple(_INPUT_NAMES[kind] for kind in InputKind if kind in capability.inputs),
        durations=tuple(sorted(capability.durations)),
        resolutions=tuple(sorted(capability.resolutions, key=lambda name: short_side(name) or 0)),
        qualities=tuple(sorted(capability.qualities)),
        output_formats=tuple(sorted(capability.output_formats)),
        aspect_ratios=tuple(sorted(capability.aspect_ratios)),
        prompt_max=capability.prompt_max,
        last_image=capability.last_frame or capability.frames_with_references,
        reference_images_max=capability.references_max,
        generate_audio=capability.generate_audio,
        negative_prompt=capability.negative_prompt_max > 0,
        seed=capability.seed,
        fps=tuple(sorted(capability.fps)),
        cfg_scale=capability.cfg_scale,
        modes=tuple(capability.modes),
        n_per_submit=capability.count_max,
        provider_options=tuple(sorted(capability.options)),
        provider_option_schemas={name: schema_of(shape) for name, shape in sorted(capability.options.items())},
    )
