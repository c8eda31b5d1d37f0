"""Loads the installed adapters by entry point, in the same way for built-in adapters and those of third parties."""

from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points

from gateway.domain.adapter.contract import Adapter
from gateway.domain.errors import ConfigurationError

GROUP = "video_gateway.adapters"


def load_adapters(group: str = GROUP) -> dict[str, Adapter]:
    """Every installed adapter by name, sorted. Raises `ConfigurationError` if one cannot be used, or without any."""
    adapters: dict[str, tuple[EntryPoint, Adapter]] = {}
    for entry in sorted(entry_points(group=group), key=lambda entry: (entry.name, _distribution(entry))):
        if entry.name in adapters:
            first = _distribution(adapters[entry.name][0])
            raise ConfigurationError(
                f"providers.{entry.name}: two adapters have this name, one from {first}, one from "
                f"{_distribution(entry)}; uninstall one of them"
            )
        adapters[entry.name] = (entry, _load(entry))
    if not adapters:
        raise ConfigurationError(
            f"providers: no adapter is installed: no distribution has an entry point in the group {group!r}"
        )
    return {name: adapter for name, (_, adapter) in adapters.items()}


def _load(entry: EntryPoint) -> Adapter:
    where = f"providers.{entry.name}: the entry point {entry.value!r} of {_distribution(entry)}"
    try:
        adapter = entry.load()
    except Exception as error:  # the module of a third party may raise anything while it is imported
        raise ConfigurationError(f"{where} cannot be loaded: {type(error).__name__}: {error}") from error
    if not isinstance(adapter, Adapter):
        raise ConfigurationError(f"{where} is of type {type(adapter).__name__}, expected an Adapter")
    if adapter.name != entry.name:
        raise ConfigurationError(f"{where} is an adapter named {adapter.name!r}; the two names must be the same")
    tables = [*adapter.capabilities.items(), *adapter.configurable.items()]
    for model, capability in ((model, row) for model, rows in tables for row in rows):
        if not isinstance(capability.options, Mapping):  # an older adapter names its options without their shapes
            raise ConfigurationError(
                f"{where}: the options of {model!r} are names only; expected the shape of each, such as"
                ' {"style": Text(most=64)} with gateway.domain.adapter.options'
            )
    return adapter


def _distribution(entry: EntryPoint) -> str:
    return "an unknown distribution" if entry.dist is None else f"{entry.dist.name} {entry.dist.version}"
