"""What happens now and then: time goes by, the dead are found, registries are trimmed, what is lost is found again."""

from __future__ import annotations

from uuid import uuid4

from hypothesis import strategies as st
from hypothesis.stateful import rule

from aiorq2.backends import sweeping
from tests.faults.histories.draws import ANY, QUEUES
from tests.faults.histories.stage import Stage
from tests.faults.model.values import MAX_DEATHS, Lease
from tests.faults.stored import pass_time, read

ISO = "2024-05-01T12:00:00.000000Z"


class OnUpkeep(Stage):
    """The verbs of upkeep."""

    @rule(
        seconds=st.sampled_from([100.0, 600.0, 1200.0, 4000.0]),
        queue=st.sampled_from(QUEUES),
        limit=st.sampled_from([1, 100, 100]),
        dies=st.booleans(),
    )
    def advance(self, seconds: float, queue: str, limit: int, dies: bool) -> None:
        """Let time go by, and free what dead workers have left; whoever does may die before he frees those that wait for it."""
        self.run(pass_time(self.backend, seconds))
        self.model.advance(seconds)
        self.settled()
        reaped = self.run(self.backend.reap(queue, max_deaths=MAX_DEATHS, limit=limit))
        requeued, failed = self.model.reap(queue, limit)
        assert (list(reaped.requeued), list(reaped.failed)) == (requeued, failed)
        if dies:
            self.compare(self.run(read(self.backend, QUEUES)))
        else:
            self.settled()

    @rule(queue=st.sampled_from(QUEUES), limit=st.sampled_from([1, 100]), lost=st.booleans())
    def keep_up(self, queue: str, limit: int, lost: bool) -> None:
        """Move what is due, and clean up, as every worker does now and then."""
        with self.call(lost) as was_lost:
            moved, _ = self.run(self.backend.promote(queue, limit=limit))
        expected = self.model.promote(queue, limit)
        if was_lost:  # it is promoted a second time
            self.model.tick()
            expected = self.model.promote(queue, limit)
        assert moved == expected
        self.settled()
        self.sweep(queue)

    @rule(queue=st.sampled_from(QUEUES))
    def compact(self, queue: str) -> None:
        """Take out of a queue what nobody could run."""
        self.run(sweeping.compact(self.backend, queue))
        self.model.compact(queue)
        self.settled()

    @rule(is_suspended=st.booleans())
    def suspend(self, is_suspended: bool) -> None:
        """Have workers start nothing, or go on."""
        key = self.backend.keys.suspended()
        self.run(self.backend.run(["SET", key, 1] if is_suspended else ["DEL", key]))
        self.model.is_suspended = is_suspended

    @rule(job_id=ANY, lost=st.booleans())
    def mislay(self, job_id: str, lost: bool) -> None:
        """A job gets lost, as no verb does it: it is in no list. The doctor finds it."""
        job_id = self.named(job_id)
        job = self.model.jobs.get(job_id)
        waits = {"queued", "started", "deferred", "rate_limited"}
        if job is None or not (
            job.status in waits or (job.status == "scheduled" and job.has_started)
        ):
            return
        self.run(self._mislay(job_id, job.terms.queue, job.terms.rate))
        self.model.mislay(job_id)
        lease = Lease(job_id, uuid4().hex)
        with self.call(lost) as was_lost:
            call = self.backend.call("relist", id=job_id, execution=lease.execution, now_iso=ISO)
            reply = self.run(call)
        placed = self.model.relist(job_id, lease)
        assert reply[1] == (self.model.relist(job_id, lease) if was_lost else placed)
        self.settled()

    async def _mislay(self, job_id: str, queue: str, rate: tuple[str, int] | None) -> None:
        keys = self.backend.keys
        leases = [lease.member for lease in self.model.leases[queue] if lease.job_id == job_id]
        await self.backend.run(
            ["LREM", keys.queue(queue), 0, job_id],
            ["ZREM", keys.wip(queue), "-", *leases],
            ["ZREM", keys.deferred(queue), job_id],
            ["ZREM", keys.scheduled(queue), job_id],
            ["ZREM", keys.rate_waiting(rate[0] if rate else "-"), job_id],
        )

    @rule(job_id=ANY)
    def rq_dies(self, job_id: str) -> None:
        """An rq worker dies that has taken a job out of its queue, or that was about to enqueue a dependent."""
        job_id = self.named(job_id)
        job = self.model.jobs.get(job_id)
        if job is None or job.status not in ("queued", "deferred"):
            return
        queue, keys = job.terms.queue, self.backend.keys
        if job.status == "deferred":
            self.run(
                self.backend.run(
                    ["ZREM", keys.deferred(queue), job_id],
                    ["HSET", keys.job(job_id), "status", "ready_to_enqueue"],
                    ["ZADD", keys.ready(queue), 1, job_id],
                )
            )
            self.model.tick()
            assert self.run(sweeping.sweep_ready(self.backend, queue)) == 1
        elif self.model.queues[queue].count(job_id) == 1:
            self.run(
                self.backend.run(
                    ["LREM", keys.queue(queue), 0, job_id],
                    ["LPUSH", keys.intermediate(queue), job_id],
                )
            )
            assert self.run(sweeping.sweep_intermediate(self.backend, queue, age_s=0)) == 1
        else:
            return
        self.model.recover(job_id)
        self.settled()
