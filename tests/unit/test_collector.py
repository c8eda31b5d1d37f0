"""The garbage collector does not look at what the start has made, and what is stored is not its business at all."""

import gc
from collections.abc import Iterator

import pytest

from gateway import collector

from .builders import generation


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)
    gc.enable()
    gc.unfreeze()


def test_nothing_is_collected_until_the_start_is_over_and_little_after_that() -> None:
    collector.suspend()
    assert not gc.isenabled()
    existing = len(gc.get_objects())
    collector.resume()
    assert gc.isenabled()
    assert gc.get_threshold() == collector.THRESHOLDS
    assert gc.get_freeze_count() >= existing
    assert len(gc.get_objects()) < existing / 100


def test_a_stored_generation_is_no_object_of_the_collector() -> None:
    stored = generation()
    for value in (stored, stored.request, stored.request.settings, stored.plan, *stored.plan.routes, *stored.outputs):
        assert not gc.is_tracked(value)
