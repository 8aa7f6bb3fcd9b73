"""Where a history takes place: a backend, and the model beside it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar
from uuid import uuid4

from hypothesis.stateful import RuleBasedStateMachine

from aiorq2.backends import connect, sweeping
from aiorq2.backends.base import Claim
from aiorq2.backends.redis import RedisBackend
from tests.faults.histories.draws import QUEUES, SEATS
from tests.faults.model import Model
from tests.faults.model.values import Entry
from tests.faults.stored import Stored, misplaced, read
from tests.support.keys import leaks
from tests.support.lost_reply import lose_next_reply


class Stage(RuleBasedStateMachine):
    """A backend and the model, each call of which is made on both; ``url`` is set by the tests."""

    url: ClassVar[str] = ""
    count: ClassVar[int] = 0
    called: ClassVar[set[str]]
    """The scripts that were called in any history."""

    def __init__(self) -> None:
        super().__init__()
        type(self).count += 1
        self.loop = asyncio.new_event_loop()
        self.model = Model(QUEUES)
        self.entries: dict[str, Entry] = {}
        self.claims: list[Claim] = []
        self.stale = {"nobody"}
        """Beginnings of sentences about ids that were still in some list, their jobs expired, when they were given again."""
        self.live: dict[str, list[Claim]] = {seat.worker: [] for seat in SEATS}
        self.backend = self.loop.run_until_complete(self._connect())

    async def _connect(self) -> RedisBackend:
        backend = connect(self.url, key_prefix=f"t{uuid4().hex[:12]}")
        command = backend._command

        def note(name: str, *arguments: Any) -> Any:
            self.called.add(name)
            return command(name, *arguments)

        backend._command = note  # type: ignore[assignment, method-assign]
        backend.release = _nothing  # type: ignore[method-assign]  # a slice at a time, here: see `settled`
        return backend

    def teardown(self) -> None:
        """See whether anything is left behind that workers do not sweep up."""
        try:
            for queue in QUEUES:
                self.sweep(queue)
            found = leaks(self.run(self._client()), self.backend.key_prefix)
            assert [one for one in found if not one.startswith(tuple(self.stale))] == []
        finally:
            self.run(self._close())
            self.loop.close()

    async def _client(self) -> Any:
        return self.backend.sync_client()

    async def _close(self) -> None:
        (keys,) = await self.backend.run(["KEYS", f"{self.backend.key_prefix}:*"])
        if keys:
            await self.backend.run(["DEL", *keys])
        await self.backend.close()

    def sweep(self, queue: str) -> None:
        """Clean up."""
        self.run(sweeping.sweep(self.backend, queue))
        self.model.sweep(queue)
        (order,) = self.run(self.backend.run(["ZRANGE", self.backend.keys.deferred(queue), 0, -1]))
        self.run(sweeping.sweep_deferred(self.backend, queue))
        self.model.sweep_deferred(queue, [one.decode() for one in order])
        self.model.tick()
        self.run(sweeping.sweep_rates(self.backend))
        self.model.sweep_rates()
        self.run(sweeping.sweep_groups(self.backend))
        self.model.sweep_groups()
        assert self.run(sweeping.sweep_ready(self.backend, queue)) == 0
        assert self.run(sweeping.sweep_intermediate(self.backend, queue, age_s=0)) == 0
        self.settled()

    def named(self, job_id: str) -> str:
        """Return the id that is meant by ``x 1``: that of the latest job but 0 of an entry."""
        name, _, number = job_id.partition(" ")
        runs = list(self.entries[name].runs) if number and name in self.entries else []
        return runs[-int(number)] if len(runs) >= int(number or 1) else job_id.replace(" ", "-")

    def run(self, work: Awaitable[Any]) -> Any:
        """Do some work on the loop of this history."""

        async def main() -> Any:
            return await work

        return self.loop.run_until_complete(main())

    @contextmanager
    def call(self, lost: bool) -> Iterator[list[bool]]:
        """Begin a call, whose reply may get lost; what is yielded is not empty once it was."""
        self.model.tick()
        if lost:
            with lose_next_reply() as happened:
                yield happened
        else:
            yield []

    def children(self, job_id: str) -> list[str]:
        """Return who is noted as waiting for a job, in the order in which Redis goes through them."""
        key = self.backend.keys.dependents(job_id)
        ((_, found),) = self.run(self.backend.run(["SSCAN", key, 0, "COUNT", 100]))
        return [one.decode() for one in found]

    def settled(self) -> None:
        """Free those that wait, a slice at a time, until nothing is left to free; then the two must be equal."""
        while (stored := self.run(read(self.backend, QUEUES))).releasing:
            order = {parent: self.children(parent) for parent in stored.releasing}
            self.model.tick()
            self.run(self.backend.call("release", now_iso="2024-05-01T12:00:00.000000Z"))
            left = self.run(read(self.backend, QUEUES)).releasing
            for parent in stored.releasing.keys() - left.keys():
                how = stored.releasing[parent].partition(" ")[0]
                assert self.model.releasing.get(parent, how) == how
                self.model.free(parent, how, order[parent])
        assert self.model.releasing == {}
        self.compare(stored)

    def compare(self, stored: Stored) -> None:
        """See that what is stored is what the model holds, and that every job can be found."""
        self.model.tick()
        for name, value in vars(Stored.of_model(self.model)).items():
            if name != "releasing":
                assert (name, getattr(stored, name)) == (name, value)
        assert misplaced(stored) == []


async def _nothing() -> None: ...
