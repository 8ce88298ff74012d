import asyncio
import time

import pytest

from benchmarks.faults.clock import Deadlock, Killed, Overdue, VirtualLoop, run_virtually


def test_hours_pass_in_an_instant_and_in_their_order():
    seen: list[tuple[str, float]] = []

    async def wait(name: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        seen.append((name, asyncio.get_running_loop().time()))

    async def both() -> str:
        await asyncio.gather(wait("long", 7200), wait("short", 60))
        return "done"

    began = time.perf_counter()
    assert run_virtually(both) == ("done", 7200)
    assert time.perf_counter() - began < 5
    assert seen == [("short", 60), ("long", 7200)]


def test_a_wait_for_nothing_is_a_deadlock_and_a_wait_without_end_is_overdue():
    async def for_nothing() -> None:
        await asyncio.Event().wait()

    async def for_ever() -> None:
        while True:
            await asyncio.sleep(10)

    with pytest.raises(Deadlock):
        run_virtually(for_nothing)
    with pytest.raises(Overdue, match="after 1000 virtual seconds"):
        run_virtually(for_ever, end=1000)


def test_work_for_a_thread_is_done_at_once_and_its_error_is_raised_where_it_is_awaited():
    async def work() -> int:
        with pytest.raises(ZeroDivisionError):
            await asyncio.to_thread(lambda: 1 // 0)
        return await asyncio.to_thread(sum, [1, 2])

    assert run_virtually(work) == (3, 0)


@pytest.mark.parametrize("last", range(2, 9))
def test_a_loop_is_killed_before_the_callback_that_was_asked_for_and_nothing_is_cleaned_up(last: int):
    done: list[int] = []

    async def count() -> None:
        try:
            for number in range(20):
                await asyncio.sleep(0)
                done.append(number)
        finally:
            done.append(-1)

    def strike() -> None:
        raise Killed

    loop = VirtualLoop()
    loop.turns.due, loop.turns.strike = last, strike
    counting = count()
    with pytest.raises(Killed):
        loop.run_until_complete(counting)
    assert (loop.turns.done, done) == (last, list(range(last - 2)))
    loop.close()
    counting.close()
