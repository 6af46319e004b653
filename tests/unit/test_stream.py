from __future__ import annotations

import threading
import time
from itertools import count, islice

import pytest

from boxless.stream import batched, default_workers, ordered_map


@pytest.mark.parametrize("workers", [0, 1, 4])
def test_results_come_in_the_order_of_the_sources(workers: int) -> None:
    def slow_at_first(number: int) -> int:
        time.sleep(0.02 if number % 4 == 0 else 0)
        return number * number

    assert list(ordered_map(slow_at_first, range(12), workers=workers, ahead=6)) == [n * n for n in range(12)]


@pytest.mark.parametrize("ahead", [1, 3])
def test_no_more_sources_are_taken_than_are_ahead(ahead: int) -> None:
    taken = count()
    stream = ordered_map(lambda n: n, taken, workers=2, ahead=ahead)
    assert list(islice(stream, 5)) == [0, 1, 2, 3, 4]
    assert next(taken) <= 5 + ahead
    stream.close()


def test_an_endless_source_is_no_trouble() -> None:
    assert list(islice(ordered_map(str, count(), workers=2, ahead=4), 3)) == ["0", "1", "2"]


@pytest.mark.parametrize("workers", [0, 2])
def test_an_exception_comes_in_its_turn(workers: int) -> None:
    def fails_at_two(number: int) -> int:
        if number == 2:
            raise ValueError("two")
        return number

    stream = ordered_map(fails_at_two, range(5), workers=workers, ahead=4)
    assert [next(stream), next(stream)] == [0, 1]
    with pytest.raises(ValueError, match="two"):
        next(stream)


def test_work_goes_on_in_several_threads_at_once() -> None:
    meeting = threading.Barrier(3, timeout=10)  # passes only if three are in the function together
    assert len(list(ordered_map(lambda n: meeting.wait(), range(3), workers=3, ahead=3))) == 3


def test_a_consumer_that_stops_leaves_no_thread() -> None:
    before = threading.active_count()
    stream = ordered_map(str, range(100), workers=3, ahead=10)
    next(stream)
    stream.close()
    assert threading.active_count() == before


@pytest.mark.parametrize(("number", "expected"), [(0, []), (3, [[0, 1, 2]]), (5, [[0, 1, 2], [3, 4]])])
def test_batches_hold_everything_once(number: int, expected: list[list[int]]) -> None:
    assert list(batched(range(number), 3)) == expected


def test_there_is_at_least_one_worker_and_at_most_eight() -> None:
    assert 1 <= default_workers() <= 8
