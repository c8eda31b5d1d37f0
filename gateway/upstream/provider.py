"""An adapter bound to its configuration: the account that is used, and the models that can be asked for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from msgspec import structs

from gateway.domain.adapter.contract import Adapter, Capability, Credential, Polling
from gateway.domain.errors import ConfigurationError
from gateway.domain.routing.price import Price
from gateway.settings.load import ProviderModel, ProviderSettings, Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamModel:
    """One upstream model of a configured provider."""

    name: str
    row: str  # the entry of the adapter's tables that it follows
    capabilities: tuple[Capability, ...]
    polling: Polling
    prices: tuple[Price, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """A configured provider."""

    name: str
    adapter: Adapter
    credential: Credential
    base_url: str
    models: Mapping[str, UpstreamModel]
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    concurrency: int = 32  # submits at once
    read_concurrency: int = 512  # readings of tasks at once
    form: str | None = None
    read_timeout_seconds: float = 30.0
    usual_polling: Polling | None = None  # as configured for all models; None: the adapter's own
    accepts_work: bool = True  # False: it is disabled, and only the tasks that it runs already are followed

    def polling(self, model: str) -> Polling:
        """When to read a task of this model; of a model that was taken out of the configuration, as of the others."""
        known = self.models.get(model)
        return (self.usual_polling or self.adapter.polling) if known is None else known.polling


def bind(settings: Settings, adapters: Mapping[str, Adapter]) -> dict[str, Provider]:
    """Every provider that is enabled, or is disabled and has a key, in the order of the configuration."""
    return {
        name: _provider(adapters[name], account) if account.enabled else _follow_only(adapters[name], account)
        for name, account in settings.providers.items()
        if account.enabled or account.api_key
    }


def accepting(providers: Mapping[str, Provider]) -> dict[str, Provider]:
    """Those of the providers that new work may go to."""
    return {name: provider for name, provider in providers.items() if provider.accepts_work}


def _follow_only(adapter: Adapter, account: ProviderSettings) -> Provider:
    """A disabled provider. What is wrong with its models or its form matters to new submits alone."""
    try:
        provider = _provider(adapter, account)
    except ConfigurationError:
        provider = _provider(adapter, structs.replace(account, models={}, form=None))
    return replace(provider, accepts_work=False)


def _provider(adapter: Adapter, settings: ProviderSettings) -> Provider:
    if settings.form is not None and settings.form not in adapter.forms:
        expected = ", ".join(filter(None, adapter.forms)) or "nothing: this provider has one form"
        raise ConfigurationError(f"providers.{adapter.name}.form: {settings.form!r}; expected {expected}")
    names = [*adapter.capabilities, *(name for name in settings.models if name not in adapter.capabilities)]
    return Provider(
        name=adapter.name,
        adapter=adapter,
        credential=Credential(api_key=settings.api_key.reveal()),
        base_url=settings.base_url or adapter.base_url,
        models={name: _model(adapter, settings, name) for name in names},
        headers={name: value.reveal() for name, value in settings.headers.items()},
        concurrency=settings.concurrency,
        read_concurrency=settings.read_concurrency,
        form=settings.form,
        usual_polling=settings.over(adapter.polling),
    )


def _model(adapter: Adapter, settings: ProviderSettings, name: str) -> UpstreamModel:
    configured = settings.models.get(name, ProviderModel())
    rows = {**adapter.configurable, **adapter.capabilities}
    row = configured.like or (name if name in rows else adapter.default_row)
    where = f"providers.{adapter.name}.models.{name}"
    if row is None:
        raise ConfigurationError(f"{where}.like: missing; expected the known model that it follows: {', '.join(rows)}")
    if row not in rows:
        raise ConfigurationError(f"{where}.like: {row!r}; expected one of {', '.join(rows)}")
    polling = settings.over(adapter.polling_by_model.get(row, adapter.polling))
    overridden = [_overridden(capability, configured) for capability in rows[row]]
    capabilities = tuple(one for one in overridden if _makes_its_default(one))
    if not capabilities:
        made = ", ".join(sorted({one.modes[one.defaults["mode"]] for one in overridden}))
        raise ConfigurationError(f"{where}.resolutions: {row} makes {made} alone; add it, or follow another by `like`")
    _check_prices(configured.prices, capabilities, where)
    return UpstreamModel(
        name=name,
        row=row,
        capabilities=capabilities,
        polling=configured.over(polling),
        prices=configured.prices,
    )


def _makes_its_default(capability: Capability) -> bool:
    """Whether the mode that is filled in where none was asked for makes a resolution that the configuration allows."""
    made = capability.modes.get(capability.defaults.get("mode", ""))
    return made is None or made in capability.resolutions


def _check_prices(prices: Sequence[Price], capabilities: Sequence[Capability], where: str) -> None:
    """A row that can never apply is a misspelt one."""
    known = {
        "resolution": {one for capability in capabilities for one in capability.resolutions},
        "mode": {one for capability in capabilities for one in capability.modes},
    }
    known["resolution"] |= {one for capability in capabilities for one in capability.modes.values()}
    for place, price in enumerate(prices):
        if price.per_clip is None and price.per_second is None:
            raise ConfigurationError(f"{where}.prices[{place}]: expected per_second or per_clip")
        if price.per_second and not any(capability.durations for capability in capabilities):
            raise ConfigurationError(f"{where}.prices[{place}].per_second: the model's length cannot be asked for")
        if price.generate_audio and not any(capability.generate_audio for capability in capabilities):
            raise ConfigurationError(f"{where}.prices[{place}].generate_audio: the model has no sound")
        for earlier, before in enumerate(prices[:place]):
            if before.covers(price):
                told = f"can never apply behind prices[{earlier}]; put it before"
                raise ConfigurationError(f"{where}.prices[{place}]: {told}")
        for name, values in known.items():
            said = getattr(price, name)
            if said is not None and said not in values:
                expected = ", ".join(sorted(values)) or "nothing: the model has none"
                raise ConfigurationError(f"{where}.prices[{place}].{name}: {said!r}; expected {expected}")


def _overridden(capability: Capability, model: ProviderModel) -> Capability:
    """The capability as the configuration narrows or widens it."""
    changes: dict[str, Any] = {}
    if model.durations is not None:
        changes["durations"] = frozenset(model.durations)
    if model.resolutions is not None:
        changes["resolutions"] = frozenset(model.resolutions)
    if model.aspect_ratios is not None:
        changes["aspect_ratios"] = frozenset(model.aspect_ratios)
    if model.prompt_max is not None:
        changes["prompt_max"] = model.prompt_max
    if model.generate_audio is not None:
        changes["generate_audio"] = model.generate_audio
    return replace(capability, **changes)
