import threading
import time

import pytest

from p2uformat.errors import InvalidArgument
from p2uformat.parallel import for_each, ordered_map, worker_count


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_results_come_in_order(threads):
    def late(number):
        time.sleep(0.001 * (number % 3))
        return number

    assert list(ordered_map(late, range(30), threads)) == list(range(30))


def test_few_results_wait():
    started = []
    results = ordered_map(started.append, range(1000), 2)
    next(results)
    time.sleep(0.05)
    assert len(started) < 10
    results.close()


@pytest.mark.parametrize("threads", [1, 3])
def test_an_error_ends_it(threads):
    def fail(number):
        if number == 3:
            raise KeyError(number)
        return number

    before = threading.active_count()
    with pytest.raises(KeyError):
        list(ordered_map(fail, range(100), threads))
    assert threading.active_count() == before


@pytest.mark.parametrize("threads", [0, -1, 1.5, "2", True])
def test_other_counts_are_refused(threads):
    with pytest.raises(InvalidArgument):
        worker_count(threads)


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_each_item_is_taken_once(threads):
    seen = []
    for_each(seen.append, range(1000), threads)
    assert sorted(seen) == list(range(1000))


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_the_first_error_ends_the_work_and_is_raised(threads):
    taken = []

    def work(item):
        taken.append(item)
        if item == 10:
            raise KeyError(item)

    with pytest.raises(KeyError):
        for_each(work, iter(range(10**9)), threads)
    assert len(taken) < 10**6
