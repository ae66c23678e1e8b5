"""The garbage collector is left as it was found."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from runner.garbage_collection import rarely_collecting


@pytest.fixture(autouse=True)
def thresholds() -> Iterator[None]:
    """Those of a fresh interpreter, whatever tests before have left behind."""
    before = gc.get_threshold()
    gc.set_threshold(700, 10, 10)
    yield
    gc.set_threshold(*before)


def test_collections_are_rarer_inside_and_as_before_afterwards() -> None:
    before = gc.get_threshold()
    with pytest.raises(RuntimeError), rarely_collecting():
        assert gc.get_threshold()[0] > before[0]
        assert gc.isenabled()
        raise RuntimeError
    assert gc.get_threshold() == before


def test_of_two_passes_at_once_the_first_to_begin_restores_what_was_before() -> None:
    before = gc.get_threshold()
    first, second = rarely_collecting(), rarely_collecting()
    with first:
        second.__enter__()
    second.__exit__(None, None, None)
    assert gc.get_threshold() == before


def test_what_is_passed_over_is_looked_at_again_afterwards() -> None:
    assert gc.get_freeze_count() == 0
    with rarely_collecting() as pass_over:
        pass_over()
        assert gc.get_freeze_count() > 0
    assert gc.get_freeze_count() == 0


def test_objects_that_somebody_else_has_passed_over_stay_so() -> None:
    gc.freeze()
    try:
        frozen = gc.get_freeze_count()
        with rarely_collecting() as pass_over:
            pass_over()
            assert gc.get_freeze_count() <= frozen
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()


def test_a_collector_that_was_turned_off_stays_off() -> None:
    gc.set_threshold(0)
    with rarely_collecting():
        assert gc.get_threshold()[0] == 0
