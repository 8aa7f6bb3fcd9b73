"""Who works where: looking at workers, rq's included."""

from __future__ import annotations

from aiorq2.backends import inspect
from aiorq2.backends.base import Tally
from aiorq2.backends.inspect import WorkerRecord
from aiorq2.backends.kept import Source, backend_of
from aiorq2.backends.redis import RedisBackend
from aiorq2.errors import InvalidOption
from aiorq2.pump import Pump


class Roster:
    """The half of ``Worker`` that looks at workers. What is told of one is a ``WorkerRecord``, as it was when it was read."""

    name: str
    queues: tuple[str, ...]
    backend: RedisBackend
    _pump: Pump | None
    _last_tally: Tally

    # -- of all ----------------------------------------------------------------------------------------------------------

    @classmethod
    async def all(
        cls,
        backend: Source | None = None,
        queue: object | None = None,
        *,
        connection: Source | None = None,
    ) -> list[WorkerRecord]:
        """Return what is known of all living workers, or of those of a queue, rq's included. Redis: 2 calls.

        Args:
            queue: its name, or a ``Queue``, whose backend is asked then.
        """
        given = backend if backend is not None else connection
        if given is None and queue is not None:
            given = getattr(queue, "backend", None)
        return await inspect.workers(backend_of(given), _name_of(queue))

    @classmethod
    async def count(
        cls,
        backend: Source | None = None,
        queue: object | None = None,
        *,
        connection: Source | None = None,
    ) -> int:
        """Return how many living workers there are; as ``all``."""
        return len(await cls.all(backend, queue, connection=connection))

    @classmethod
    async def all_keys(
        cls,
        backend: Source | None = None,
        queue: object | None = None,
        *,
        connection: Source | None = None,
    ) -> list[str]:
        """Return the keys of the living workers; as ``all``."""
        return [one.key for one in await cls.all(backend, queue, connection=connection)]

    @classmethod
    async def find_by_key(
        cls,
        worker_key: str,
        backend: Source | None = None,
        *,
        connection: Source | None = None,
    ) -> WorkerRecord | None:
        """Return what is known of the worker with this key, also if it has just ended; None if there is none. Redis: 1 call.

        Raises:
            InvalidOption: it is not the key of a worker under the backend's prefix.
        """
        found = backend_of(backend, connection)
        prefix = found.keys.worker("")
        if not worker_key.startswith(prefix):
            raise InvalidOption(
                f"{worker_key[:60]!r} is not the key of a worker: they begin with {prefix!r}"
            )
        return await inspect.worker(found, worker_key.removeprefix(prefix))

    # -- of itself -------------------------------------------------------------------------------------------------------

    @property
    def _tally(self) -> Tally:
        return self._last_tally if self._pump is None else self._pump.tally

    @property
    def state(self) -> str:
        """What it does: ``idle``, ``busy`` or ``suspended``, or ``started`` while it does not work."""
        if self._pump is None:
            return "started"
        if self._pump.tally.is_suspended:
            return "suspended"
        return "busy" if self._pump.runs.unsettled else "idle"

    @property
    def successful_job_count(self) -> int:
        """How many jobs have succeeded since ``work`` was called; so for the others below."""
        return self._tally.successes

    @property
    def failed_job_count(self) -> int:
        """How many runs have failed, those that are repeated included."""
        return self._tally.failures

    @property
    def total_working_time(self) -> float:
        """How many seconds all runs have taken."""
        return self._tally.working_time_s

    @property
    def job_ids(self) -> tuple[str, ...]:
        """The jobs that run now."""
        return (
            tuple(one.job_id for one in self._pump.runs.leases()) if self._pump is not None else ()
        )

    @property
    def key(self) -> str:
        """The key of its hash in Redis."""
        return self.backend.keys.worker(self.name)

    def queue_names(self) -> list[str]:
        """Return the names of its queues, the most important first."""
        return list(self.queues)

    def queue_keys(self) -> list[str]:
        """Return the keys of the lists of its queues."""
        return [self.backend.keys.queue(name) for name in self.queues]


def _name_of(queue: object | None) -> str | None:
    return queue if queue is None or isinstance(queue, str) else str(getattr(queue, "name", queue))
