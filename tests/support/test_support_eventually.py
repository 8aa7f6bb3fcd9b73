"""Waiting ends when it should, and says what it waited for; job functions wait for tests, wherever they run."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from tests.support import jobs
from tests.support.eventually import Gate, eventually, gates


async def test_eventually_returns_the_first_true_value() -> None:
    """Sync or async; an exception is only the last word if it is still raised at the end."""
    values = [7, 0]

    async def ask() -> int:
        if len(values) == 1 and gates["asked"].arrivals == 0:
            gates["asked"].arrivals += 1
            raise ValueError("not yet")
        return values.pop()

    assert await eventually(ask) == 7
    assert await eventually(lambda: "yes") == "yes"


async def test_eventually_says_what_it_saw() -> None:
    """The last value, or the last exception, is in the message."""
    with pytest.raises(AssertionError, match="returned 0 after"):
        await eventually(lambda: 0, timeout=0.02)
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        await eventually(lambda: 1 / 0, timeout=0.02)


async def test_gate_opens_for_threads_and_loops() -> None:
    """One ``open()`` lets through a coroutine here, one in another loop, and a thread."""
    waiting = [
        asyncio.create_task(jobs.wait_gate("g")),
        asyncio.create_task(asyncio.to_thread(jobs.wait_gate_sync, "g")),
        asyncio.create_task(asyncio.to_thread(asyncio.run, jobs.wait_gate("g"))),
    ]
    await eventually(lambda: gates["g"].arrivals == 3)
    assert not any(task.done() for task in waiting)

    gates["g"].open()

    assert await asyncio.gather(*waiting) == ["g", "g", "g"]
    assert await jobs.wait_gate("g") == "g"


async def test_gate_forgets_the_cancelled() -> None:
    """A waiter that was cancelled does not disturb ``open()``; nobody waits for ever."""
    gate = Gate()
    waiting = asyncio.create_task(gate.wait())
    await eventually(lambda: gate.arrivals)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    with pytest.raises(TimeoutError):
        await gate.wait(timeout=0.01)
    gate.open()


def test_append_to_file_never_mixes_lines(tmp_path: Path) -> None:
    """Lines that many threads append are whole."""
    path = tmp_path / "ledger"

    def append(n: int) -> None:
        for _ in range(50):
            jobs.append_to_file(str(path), f"{n}" * 50)

    threads = [threading.Thread(target=append, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert jobs.ledger(path) == {f"{n}" * 50: 50 for n in range(8)}
