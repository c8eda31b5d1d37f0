"""The public model names, and the candidate routes of each."""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from gateway.domain.adapter.options import Option
from gateway.domain.adapter.request import Kind
from gateway.domain.clients import matches
from gateway.domain.errors import ConfigurationError, ModelNotAllowed, ModelNotFound
from gateway.domain.generation.model import GenerationRequest, Policy
from gateway.domain.routing.order import Order
from gateway.domain.routing.plan import Candidate
from gateway.settings.faults import all_faults
from gateway.settings.load import ModelSettings, Settings
from gateway.upstream.provider import Provider, UpstreamModel

_COMPARED_MAX = 200  # characters of an unknown name that are compared with the names of models
_PATTERNS_MAX = 1000  # lists of patterns whose models are remembered
_SHOWN_MAX = 20  # names and patterns in a message
ALL, KLING = "auto", "kling"  # the virtual models that exist without configuration


class Model(Struct, frozen=True, kw_only=True):
    """A model name that a client can use, with the routes that can serve it."""

    name: str
    candidates: tuple[Candidate, ...]
    order: Order = "priority"
    policy: Policy = Policy()
    adapt: str = "none"
    owned_by: str = "video-gateway"


class Catalog:
    """Every model of one configuration. It never changes: a reload of the configuration makes another catalog."""

    def __init__(self, providers: Mapping[str, Provider], settings: Settings) -> None:
        """Raises `ConfigurationError` with every route in `settings` that no enabled provider has."""
        upstream = [
            _candidate(provider, model) for provider in providers.values() for model in provider.models.values()
        ]
        self.providers = tuple(dict.fromkeys(name for each in upstream for name in _option_blocks(each)))
        self.option_shapes = _option_shapes(upstream)
        self._models: dict[str, Model] = {}
        self._by_patterns: dict[tuple[str, ...], frozenset[str]] = {}
        if upstream:
            self._add(Model(name=ALL, candidates=tuple(upstream)))
        if kling := _kling(upstream):
            self._add(Model(name=KLING, candidates=kling))
        with all_faults() as faults:
            for name, configured in settings.models.items():
                self._models.pop(name, None)
                with faults.of_part():
                    if model := _virtual(name, configured, upstream, settings):
                        self._add(model)
        self._by_bare_name: dict[str, list[Candidate]] = {}  # by the name without its provider, which several may have
        for candidate in upstream:
            self._add(Model(name=_full_name(candidate), candidates=(candidate,), owned_by=candidate.provider))
            self._by_bare_name.setdefault(candidate.model, []).append(candidate)
        for bare, candidates in self._by_bare_name.items():
            if bare in self._models or len({candidate.adapter for candidate in candidates}) > 1:
                continue
            if len(candidates) == 1:
                self._models[bare] = self._models[_full_name(candidates[0])]
            else:  # several accounts of one adapter: the same model falls back from one account to the next
                self._add(Model(name=bare, candidates=tuple(candidates)))

    def _add(self, model: Model) -> None:
        self._models[model.name] = model

    def has(self, name: str) -> bool:
        """Whether a client can ask for a model of exactly this name."""
        return name in self._models

    def resolve(self, name: str, param: str = "model", allowed: tuple[str, ...] = ()) -> Model:
        """The model with this name. `allowed` are names and patterns of models; empty: all.

        Raises `ModelNotAllowed`, or `ModelNotFound`, which names `param`, the parameter that the name is from, and
        similar names.
        """
        model = self._models.get(name)
        if model is not None:
            if allowed and model.name not in self._allowed(allowed):
                raise ModelNotAllowed(
                    f"Your client may not use the model {name!r}; it may use {_shown(allowed)}.", param=param
                )
            return model
        candidates = self._by_bare_name.get(name, [])
        if len(candidates) > 1:
            choices = " or ".join(map(_full_name, candidates))
            raise ModelNotFound(f"Several providers have a model {name!r}; use {choices}.", param=param)
        similar = _similar(name, self._models)
        if not similar:  # ignore upper and lower case
            by_lower = {model_name.lower(): model_name for model_name in self._models}
            similar = [by_lower[lower] for lower in _similar(name.lower(), by_lower)]
        hint = f"Did you mean {', '.join(similar)}?" if similar else "GET /v1/models lists the models."
        raise ModelNotFound(f"The model {name[:100]!r} does not exist. {hint}", param=param)

    def candidates(
        self, request: GenerationRequest, allowed: tuple[str, ...] = ()
    ) -> tuple[Model, tuple[Candidate, ...]]:
        """The requested model, and its candidates followed by those of the models in `fallback`. Each route once.

        If some of them make what is wanted, videos or images, the others are left out: otherwise an error for a client
        of the model `auto` that asks for an image would list the limits of every video model. `allowed` as
        in `resolve`.
        """
        model = self.resolve(request.model, allowed=allowed)
        by_route = {(candidate.provider, candidate.model): candidate for candidate in model.candidates}
        for group, name in enumerate(request.fallback if isinstance(request.fallback, tuple) else (), start=1):
            for candidate in self.resolve(name, "fallback", allowed).candidates:
                by_route.setdefault((candidate.provider, candidate.model), replace(candidate, group=group))
        every = tuple(by_route.values())
        return model, tuple(candidate for candidate in every if _makes(candidate, request.kind)) or every

    def listed(self, allowed: tuple[str, ...] = ()) -> list[Model]:
        """Every model once, under its full name: virtual models first, those of several accounts last.

        `allowed` as in `resolve`.
        """
        names = self._allowed(allowed) if allowed else self._models
        return [model for name, model in self._models.items() if name == model.name and name in names]

    def unmatched(self, patterns: Iterable[str]) -> list[str]:
        """Those of the patterns that no model has."""
        return [pattern for pattern in patterns if not self._allowed((pattern,))]

    def _allowed(self, patterns: tuple[str, ...]) -> frozenset[str]:
        """The full names of the models of which any name has one of the patterns."""
        names = self._by_patterns.get(patterns)
        if names is None:
            if len(self._by_patterns) >= _PATTERNS_MAX:
                self._by_patterns.clear()
            names = frozenset(model.name for name, model in self._models.items() if matches(patterns, [name]))
            self._by_patterns[patterns] = names
        return names


def _shown(patterns: Sequence[str]) -> str:
    more = len(patterns) - _SHOWN_MAX
    return ", ".join(patterns[:_SHOWN_MAX]) + (f" and {more} more" if more > 0 else "")


def _makes(candidate: Candidate, kind: Kind) -> bool:
    return any(capability.kind == kind for capability in candidate.capabilities)


def _similar(name: str, names: Iterable[str]) -> list[str]:
    return difflib.get_close_matches(name[:_COMPARED_MAX], list(names), n=5, cutoff=0.6)


def _candidate(provider: Provider, model: UpstreamModel) -> Candidate:
    return Candidate(
        provider=provider.name,
        model=model.name,
        capability_name=model.capability_name,
        capabilities=model.capabilities,
        prices=model.prices,
        adapter=provider.adapter.name,
        service=provider.service,
    )


def _full_name(candidate: Candidate) -> str:
    return f"{candidate.provider}/{candidate.model}"


def _option_blocks(candidate: Candidate) -> tuple[str, str]:
    """The names under which `provider_options` may have options for a route."""
    return candidate.adapter, candidate.provider


def _kling(upstream: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """The routes whose model name begins with "kling", the newest version first."""

    def version(candidate: Candidate) -> tuple[int, int]:
        match = re.match(r"kling-[a-z]*(\d+)(?:[.-](\d+))?", candidate.model.lower())
        return (int(match[1]), int(match[2] or 0)) if match else (0, 0)

    kling = [candidate for candidate in upstream if candidate.model.lower().startswith("kling")]
    return tuple(sorted(kling, key=version, reverse=True))


def _virtual(name: str, configured: ModelSettings, upstream: Sequence[Candidate], settings: Settings) -> Model | None:
    """A configured virtual model; `None` if every provider in its routes is disabled.

    Raises `ConfigurationError` for the routes that no enabled provider has.
    """
    by_name = {_full_name(candidate): candidate for candidate in upstream}
    candidates: list[Candidate] = []
    missing: list[str] = []
    for index, route in enumerate(configured.routes):
        candidate = by_name.get(route)
        if candidate is not None:
            weight = configured.weights[index] if configured.weights else 1.0
            seconds = configured.attempt_timeout_seconds
            changed = replace(candidate, weight=weight, order=configured.order, attempt_timeout_seconds=seconds)
            candidates.append(changed)
        elif route.partition("/")[0] in settings.enabled:
            similar = difflib.get_close_matches(route, by_name, n=3, cutoff=0.4)
            hint = f"did you mean {' or '.join(similar)}?" if similar else f"the routes are {', '.join(by_name)}"
            missing.append(f"models.{name}.routes[{index}]: the route {route!r} does not exist; {hint}")
    if missing:
        raise ConfigurationError(*missing)
    if not candidates:
        return None
    policy = Policy(on_ambiguous=configured.on_ambiguous, on_content_policy=configured.on_content_policy)
    return Model(
        name=name,
        candidates=tuple(candidates),
        order=configured.order,
        policy=policy,
        adapt=configured.adapt,
    )


def _option_shapes(candidates: Iterable[Candidate]) -> dict[str, dict[str, tuple[Option, ...]]]:
    """By provider or adapter, and by option: its shapes, several if models differ."""
    shapes: dict[str, dict[str, tuple[Option, ...]]] = {}
    for candidate, block in ((each, block) for each in candidates for block in dict.fromkeys(_option_blocks(each))):
        of_provider = shapes.setdefault(block, {})
        for capability in candidate.capabilities:
            for name, shape in capability.options.items():
                others = of_provider.get(name, ())
                of_provider[name] = others if shape in others else (*others, shape)
    return shapes
