"""Which public model names there are, and the candidates behind each."""

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from gateway.domain.errors import ConfigurationError, ModelNotFound
from gateway.domain.generation.model import GenerationRequest, Policy
from gateway.domain.routing.order import Order
from gateway.domain.routing.plan import Candidate
from gateway.settings.load import ModelSettings, Settings
from gateway.upstream.provider import Provider, UpstreamModel

ALL, KLING = "auto", "kling"  # the virtual models that need no configuration


class Model(Struct, frozen=True, kw_only=True):
    """A name that a client can ask for."""

    name: str
    candidates: tuple[Candidate, ...]
    order: Order = "priority"
    policy: Policy = Policy()
    adapt: str = "none"
    owned_by: str = "video-gateway"


class Catalog:
    """Every model of the configured providers, fixed at the start."""

    def __init__(self, providers: Mapping[str, Provider], settings: Settings) -> None:
        upstream = [
            _candidate(provider, model) for provider in providers.values() for model in provider.models.values()
        ]
        self.providers = tuple(providers)
        self._models: dict[str, Model] = {}
        if upstream:
            self._add(Model(name=ALL, candidates=tuple(upstream)))
        if kling := _kling(upstream):
            self._add(Model(name=KLING, candidates=kling))
        for name, configured in settings.models.items():
            self._models.pop(name, None)
            if model := _virtual(name, configured, upstream, settings):
                self._add(model)
        self._ambiguous: dict[str, list[str]] = {}
        for candidate in upstream:
            full = f"{candidate.provider}/{candidate.model}"
            self._add(Model(name=full, candidates=(candidate,), owned_by=candidate.provider))
            self._ambiguous.setdefault(candidate.model, []).append(full)
        for bare, owners in self._ambiguous.items():
            if len(owners) == 1 and bare not in self._models:
                self._models[bare] = self._models[owners[0]]

    def _add(self, model: Model) -> None:
        self._models[model.name] = model

    def resolve(self, name: str, param: str = "model") -> Model:
        """The model of this name; `ModelNotFound` with near names, about the parameter that named it."""
        model = self._models.get(name)
        if model is not None:
            return model
        owners = self._ambiguous.get(name, [])
        if len(owners) > 1:
            raise ModelNotFound(f"The model {name!r} is served by several: use {' or '.join(owners)}.", param=param)
        near = _near(name, self._models)
        if not near:  # a difference of upper and lower case is a small one
            folded = {known.lower(): known for known in self._models}
            near = [folded[one] for one in _near(name.lower(), folded)]
        hint = f"Did you mean {', '.join(near)}?" if near else "GET /v1/models lists those there are."
        raise ModelNotFound(f"There is no model {name[:100]!r}. {hint}", param=param)

    def candidates(self, request: GenerationRequest) -> tuple[Model, tuple[Candidate, ...]]:
        """The model asked for, and its candidates followed by those of the models to fall back to."""
        model = self.resolve(request.model)
        found = {(one.provider, one.model): one for one in model.candidates}
        for group, name in enumerate(request.fallback if isinstance(request.fallback, tuple) else (), start=1):
            for one in self.resolve(name, "fallback").candidates:
                found.setdefault((one.provider, one.model), replace(one, group=group))
        return model, tuple(found.values())

    def listed(self) -> list[Model]:
        """Every model once, under its full name, virtual ones first."""
        return [model for name, model in self._models.items() if name == model.name]


def _near(name: str, known: Iterable[str]) -> list[str]:
    return difflib.get_close_matches(name, list(known), n=5, cutoff=0.6)


def _candidate(provider: Provider, model: UpstreamModel) -> Candidate:
    return Candidate(
        provider=provider.name,
        model=model.name,
        row=model.row,
        capabilities=model.capabilities,
        prices=model.prices,
    )


def _kling(upstream: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """The routes that are Kling by their name, the newest version first."""

    def version(candidate: Candidate) -> tuple[int, int]:
        found = re.match(r"kling-[a-z]*(\d+)(?:[.-](\d+))?", candidate.model.lower())
        return (int(found[1]), int(found[2] or 0)) if found else (0, 0)

    named = [candidate for candidate in upstream if candidate.model.lower().startswith("kling")]
    return tuple(sorted(named, key=version, reverse=True))


def _virtual(name: str, configured: ModelSettings, upstream: Sequence[Candidate], settings: Settings) -> Model | None:
    """A configured model; `None` when every provider behind it is switched off."""
    known = {f"{candidate.provider}/{candidate.model}": candidate for candidate in upstream}
    candidates: list[Candidate] = []
    for index, route in enumerate(configured.routes):
        candidate = known.get(route)
        if candidate is not None:
            weight = configured.weights[index] if configured.weights else 1.0
            seconds = configured.attempt_timeout_seconds
            changed = replace(candidate, weight=weight, order=configured.order, attempt_timeout_seconds=seconds)
            candidates.append(changed)
        elif route.partition("/")[0] in settings.enabled:
            near = difflib.get_close_matches(route, known, n=3, cutoff=0.4)
            hint = f"did you mean {' or '.join(near)}?" if near else f"known are {', '.join(known)}"
            raise ConfigurationError(f"models.{name}.routes[{index}]: there is no route {route!r}; {hint}")
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
