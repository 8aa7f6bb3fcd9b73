"""The half of a job that runs in a process of its own."""

from __future__ import annotations

import anyio.to_process

from aiorq2 import offload
from aiorq2.offload import Parcel
from aiorq2.payloads import Call


def run_there(parcel: Parcel) -> tuple[bool, bool]:
    """Return whether this process would have outlived its parent before the job was run, and would after it."""
    watched = offload._die_with_parent.cache_info
    before = watched().currsize == 0
    assert offload.run_parcel(parcel).failure is None
    return before, watched().currsize == 0


async def test_process_that_was_not_warmed_up_does_not_outlive_its_worker_either() -> None:
    """The one that was may have gone to another job meanwhile."""
    call = Call("tests.support.jobs.add_sync", None, (1, 2), {})
    parcel = Parcel("j", {}, call, None, None, "p")

    assert await anyio.to_process.run_sync(run_there, parcel) == (True, False)
