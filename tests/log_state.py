"""Keeps the configuration of logs in a test from reaching the tests after it in the same process."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from gateway import log_context
from gateway.domain.redaction import NO_SECRETS
from gateway.log import _Values

_SERVER = ("uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi")  # a server sets their levels


@contextmanager
def logs_as_before() -> Iterator[None]:
    """Restore the logs of the process after the block, in which `gateway.log.configure` may be called."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    levels = {name: logging.getLogger(name).level for name in _SERVER}
    showwarning = warnings.showwarning
    try:
        yield
    finally:
        logging.captureWarnings(capture=False)
        warnings.showwarning = showwarning
        root.handlers, root.level = handlers, level
        for name, earlier in levels.items():
            logging.getLogger(name).setLevel(earlier)
        _Values.redactor = NO_SECRETS
        structlog.reset_defaults()
        log_context.begin()
