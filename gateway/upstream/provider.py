"""An adapter with its configuration: the account that is used, and the models that the account offers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from msgspec import structs

from gateway.domain.adapter.contract import Adapter, Capability, Credential, Polling
from gateway.domain.errors import ConfigurationError
from gateway.domain.redaction import NO_SECRETS, Redactor
from gateway.domain.routing.price import Price
from gateway.settings.environment import variable_prefix
from gateway.settings.faults import all_faults
from gateway.settings.load import ProviderModel, ProviderSettings, Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamModel:
    """One upstream model of a configured provider."""

    name: str
    capability_name: str  # the entry of the adapter's capability tables that describes it
    capabilities: tuple[Capability, ...]
    polling: Polling
    prices: tuple[Price, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """A configured provider."""

    name: str  # of the account: that of its table in the configuration
    adapter: Adapter
    credential: Credential
    base_url: str
    models: Mapping[str, UpstreamModel]
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    concurrency: int = 32  # submits at the same time
    read_concurrency: int = 512  # polls at the same time
    variant: str | None = None
    read_timeout_seconds: float = 30.0
    usual_polling: Polling | None = None  # as configured for all models; None: as in the adapter
    redactor: Redactor = NO_SECRETS  # of every secret of the configuration, for what the provider answers
    accepts_work: bool = True  # False: it is disabled, and only its existing tasks are polled
    # The first account in the configuration with the same adapter and base URL: what one of them refuses because of the
    # request, the others refuse too. "": this one.
    service: str = ""

    def is_same_account(self, other: "Provider") -> bool:
        """Whether calls of both reach the same account, so that what was learnt with one counts for the other."""
        ours = (self.adapter.name, self.base_url, self.credential, dict(self.headers))
        return ours == (other.adapter.name, other.base_url, other.credential, dict(other.headers))

    def polling(self, model: str) -> Polling:
        """When to poll a task of this model. A model that was removed from the configuration has the usual values."""
        configured = self.models.get(model)
        return (self.usual_polling or self.adapter.polling) if configured is None else configured.polling


def bind(settings: Settings, adapters: Mapping[str, Adapter]) -> dict[str, Provider]:
    """Every provider that is enabled, or that is disabled but has a key, in the order of the configuration.

    Raises `ConfigurationError` with the faults of all of them; each names the key of the configuration.
    """
    providers: dict[str, Provider] = {}
    services: dict[tuple[str, str], str] = {}
    with all_faults() as faults:
        for name, account in settings.providers.items():
            if account.enabled or account.has_key:
                adapter = adapters[account.adapter or name]
                with faults.of_part():
                    provider = (_provider if account.enabled else _follow_only)(name, adapter, account)
                    service = services.setdefault((adapter.name, provider.base_url), name)
                    providers[name] = replace(provider, service="" if service == name else service)
    return providers


def providers_of(settings: Settings, adapters: Mapping[str, Adapter]) -> dict[str, Provider]:
    """The providers that take work or whose tasks are polled. Raises what `bind` raises, and an error without any."""
    providers = bind(settings, adapters)
    if not providers:
        names = ", ".join(f"{variable_prefix(name)}_API_KEY" for name in adapters)
        raise ConfigurationError(
            f"providers: none is configured; set one of {names}, or write a [providers.NAME] table"
        )
    return providers


def changed_accounts(before: Mapping[str, Provider], after: Mapping[str, Provider]) -> set[str]:
    """The names of which the account is not the same as before: another key, address or header."""
    return {name for name in before.keys() & after.keys() if not before[name].is_same_account(after[name])}


def other_adapters(before: Mapping[str, Provider], after: Mapping[str, Provider]) -> list[str]:
    """The names of which the account has another adapter than before, which cannot read the tasks from before."""
    return [name for name in after if name in before and before[name].adapter.name != after[name].adapter.name]


def accepting(providers: Mapping[str, Provider]) -> dict[str, Provider]:
    """The providers that new work may be sent to."""
    return {name: provider for name, provider in providers.items() if provider.accepts_work}


def _follow_only(name: str, adapter: Adapter, account: ProviderSettings) -> Provider:
    """A disabled provider. A mistake in its models or its form is ignored, because it concerns only new submits."""
    try:
        provider = _provider(name, adapter, account)
    except ConfigurationError:
        provider = _provider(name, adapter, structs.replace(account, models={}, form=None))
    return replace(provider, accepts_work=False)


def _provider(account: str, adapter: Adapter, settings: ProviderSettings) -> Provider:
    names = [*adapter.capabilities, *(name for name in settings.models if name not in adapter.capabilities)]
    models: dict[str, UpstreamModel] = {}
    with all_faults() as faults:
        with faults.of_part():
            _check_form(account, adapter, settings.form)
        for name in names:
            with faults.of_part():
                models[name] = _model(account, adapter, settings, name)
    return Provider(
        name=account,
        adapter=adapter,
        credential=Credential(
            api_key=settings.api_key.reveal(),
            secrets={name: value.reveal() for name, value in settings.secrets.items()},
        ),
        base_url=settings.base_url or adapter.base_url,
        models=models,
        headers={name: value.reveal() for name, value in settings.headers.items()},
        concurrency=settings.concurrency,
        read_concurrency=settings.read_concurrency,
        variant=settings.form,
        usual_polling=settings.over(adapter.polling),
    )


def _check_form(account: str, adapter: Adapter, form: str | None) -> None:
    if form is not None and form not in adapter.variants:
        expected = ", ".join(filter(None, adapter.variants)) or "no value: this provider has one form; remove the key"
        raise ConfigurationError(f"providers.{account}.form: {form!r}; expected {expected}")


def _model(account: str, adapter: Adapter, settings: ProviderSettings, name: str) -> UpstreamModel:
    configured = settings.models.get(name, ProviderModel())
    profiles = {**adapter.configurable, **adapter.capabilities}
    profile = configured.like or (name if name in profiles else adapter.default_capability_name)
    where = f"providers.{account}.models.{name}"
    if profile is None:
        raise ConfigurationError(
            f"{where}.like: missing; expected the model whose limits it has, one of {', '.join(profiles)}"
        )
    if profile not in profiles:
        raise ConfigurationError(f"{where}.like: {profile!r}; expected one of {', '.join(profiles)}")
    polling = settings.over(adapter.polling_by_model.get(profile, adapter.polling))
    overridden = [_overridden(capability, configured) for capability in profiles[profile]]
    capabilities = tuple(capability for capability in overridden if _makes_its_default(capability))
    if not capabilities:
        resolutions = {capability.modes[capability.defaults["mode"]] for capability in overridden}
        made = ", ".join(sorted(filter(None, resolutions)))
        raise ConfigurationError(
            f"{where}.resolutions: {profile} makes only {made}; add it to the list, or name another model in `like`"
        )
    _check_prices(configured.prices, capabilities, where)
    return UpstreamModel(
        name=name,
        capability_name=profile,
        capabilities=capabilities,
        polling=configured.over(polling),
        prices=configured.prices,
    )


def _makes_its_default(capability: Capability) -> bool:
    """Whether the default mode, which is used for a request without one, makes a resolution that is configured."""
    made = capability.modes.get(capability.defaults.get("mode", ""))
    return made is None or made in capability.resolutions


def _check_prices(prices: Sequence[Price], capabilities: Sequence[Capability], where: str) -> None:
    """Refuse price rows that can never apply, because each is a mistake. Raises `ConfigurationError`."""
    possible = {
        "resolution": {value for capability in capabilities for value in capability.resolutions},
        "quality": {value for capability in capabilities for value in capability.qualities},
        "mode": {value for capability in capabilities for value in capability.modes},
    }
    possible["resolution"] |= {value for capability in capabilities for value in capability.modes.values() if value}
    for index, price in enumerate(prices):
        if price.per_clip is None and price.per_second is None:
            raise ConfigurationError(f"{where}.prices[{index}]: expected per_second or per_clip")
        if price.per_second and not any(capability.durations for capability in capabilities):
            raise ConfigurationError(
                f"{where}.prices[{index}].per_second: the model has no `duration` to choose; use per_clip"
            )
        if price.generate_audio and not any(capability.generate_audio for capability in capabilities):
            raise ConfigurationError(
                f"{where}.prices[{index}].generate_audio: the model makes no sound; remove this row"
            )
        for earlier_index, earlier in enumerate(prices[:index]):
            if earlier.covers(price):
                reason = (
                    f"can never apply, because prices[{earlier_index}] always applies first; put it before that row"
                )
                raise ConfigurationError(f"{where}.prices[{index}]: {reason}")
        for name, values in possible.items():
            value = getattr(price, name)
            if value is not None and value not in values:
                expected = ", ".join(sorted(values)) or "no value: the model has none; remove the key"
                raise ConfigurationError(f"{where}.prices[{index}].{name}: {value!r}; expected {expected}")


def _overridden(capability: Capability, model: ProviderModel) -> Capability:
    """The capability with the values that the configuration sets."""
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
