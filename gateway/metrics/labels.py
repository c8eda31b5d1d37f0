"""The values of labels. There are as many as the configuration and the code have: no client can add one."""

from collections.abc import Callable, Mapping
from typing import Protocol

OTHER = "other"  # a name that the configuration does not have
NONE = "none"  # no provider, no failure
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class HasModels(Protocol):
    """What is needed of a provider."""

    @property
    def models(self) -> Mapping[str, object]:
        """By the name at the provider."""
        ...


class Labels:
    """Replaces every name that is not configured by `OTHER`."""

    def __init__(self, providers: Callable[[], Mapping[str, HasModels]], is_model: Callable[[str], bool]) -> None:
        """`providers` are those of the present configuration; `is_model` says whether it has a model of this name."""
        self._providers = providers
        self._is_model = is_model

    def provider(self, name: str | None) -> str:
        """The label of a provider; `NONE` without one."""
        return NONE if name is None else name if name in self._providers() else OTHER

    def route(self, provider: str, model: str) -> tuple[str, str]:
        """The labels of a provider and of its own name of a model."""
        configured = self._providers().get(provider)
        if configured is None:
            return OTHER, OTHER
        return provider, model if model in configured.models else OTHER

    def model(self, name: str) -> str:
        """The label of a model as a client named it."""
        return name if self._is_model(name) else OTHER


def method(name: str) -> str:
    """The label of an HTTP method: a client can invent one."""
    return name if name in METHODS else OTHER
