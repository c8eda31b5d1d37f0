"""Collects the faults of several parts of a configuration, so that an operator sees all of them at once."""

from collections.abc import Iterator
from contextlib import contextmanager

from gateway.domain.errors import ConfigurationError


class Faults:
    """The faults so far. Each part is checked in a block of its own, and a fault ends only that block."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    @contextmanager
    def of_part(self) -> Iterator[None]:
        """Keep the faults of a `ConfigurationError` that the block raises, and go on after the block."""
        try:
            yield
        except ConfigurationError as error:
            self.texts += error.args


@contextmanager
def all_faults() -> Iterator[Faults]:
    """Raise one `ConfigurationError` with all faults at the end of the block, if there are any."""
    faults = Faults()
    yield faults
    if faults.texts:
        raise ConfigurationError(*faults.texts)
