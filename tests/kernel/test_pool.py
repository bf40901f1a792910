"""parkcos/kernel/pool.py."""

from __future__ import annotations

import threading

import pytest

from parkcos.errors import UsageError, WouldHang
from parkcos.kernel import AsyncThreadPool, Task
from tests.kernel.virtual import VirtualKernel


@pytest.fixture
def pool():
    pool = AsyncThreadPool(3)
    yield pool
    pool.terminate()


def test_results_and_exceptions(pool):
    def fails():
        raise KeyError("x")

    def main():
        assert (yield pool.async_task(divmod, 7, 2)) == (3, 1)
        assert (yield pool.async_task(int, "ff", base=16)) == 255
        assert (yield pool.async_task(target=int, args=("ff",), kwargs={"base": 16})) == 255
        assert (yield pool.async_task(threading.get_ident)) != threading.get_ident()
        with pytest.raises(KeyError):
            yield pool.async_task(fails)
        with pytest.raises(SystemExit):
            yield pool.async_task(exits)
        with pytest.raises(UsageError):
            pool.async_task(7)

    def exits():
        raise SystemExit(1)

    VirtualKernel(threads=True).main(main)
    pool.join()


def test_as_many_at_a_time_as_it_has_threads(pool):
    barrier = threading.Barrier(3, timeout=30)

    def one():
        return (yield pool.async_task(barrier.wait))

    async def main():
        tasks = [Task(one) for _ in range(3)]
        assert sorted([await task for task in tasks]) == [0, 1, 2]

    VirtualKernel(threads=True).main(main)


def test_inside_a_task_it_would_hang(pool):
    def main():
        for fn in (pool.join, pool.terminate):
            with pytest.raises(WouldHang):
                fn()
        yield

    VirtualKernel(threads=True).main(main)


def test_terminated():
    pool = AsyncThreadPool(1)
    pool.terminate()
    pool.terminate()
    assert not any(thread.is_alive() for thread in pool._threads)

    def main():
        with pytest.raises(UsageError):
            yield pool.async_task(print)

    VirtualKernel(threads=True).main(main)


@pytest.mark.parametrize("number", [0, -1, 1.5, None])
def test_a_number_of_threads(number):
    with pytest.raises(UsageError):
        AsyncThreadPool(number)
