"""RQ's stand-alone decorator: a function that can be enqueued where it is called."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, Protocol, TypeVar, cast

from aiorq2.allowlist import register
from aiorq2.backends.kept import Source
from aiorq2.callables import cut_repr
from aiorq2.errors import InvalidFunction
from aiorq2.job import Job
from aiorq2.job_options import lasting
from aiorq2.options import EnqueueOptions
from aiorq2.queue import Queue
from aiorq2.timing import Duration

P = ParamSpec("P")
R_co = TypeVar("R_co", covariant=True)
R = TypeVar("R")

_AT_THE_CALL = ("depends_on", "job_id", "at_front")
"""RQ's options that can be given with the arguments; everything else is an argument."""


class JobFunction(Protocol[P, R_co]):
    """A function as the decorator leaves it: itself, with two coroutine functions as attributes."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co: ...

    async def enqueue(self, *args: Any, **kwargs: Any) -> Job:
        """Enqueue a call with these arguments. Redis: 1 call."""
        ...

    async def delay(self, *args: Any, **kwargs: Any) -> Job:
        """The same, in an older word of RQ's."""
        ...


class job:  # noqa: N801  RQ's name
    """Give a function ``enqueue`` and ``delay``; calling it runs it, as before, and workers may run it.

    Args:
        queue: a ``Queue``, or the name of one.
        backend: where that queue lives; default ``connect()``, when the first job is enqueued.
        timeout: seconds that a run may take.
        queue_class: what ``queue`` is one of, where it is a name.
        connection: RQ's word for ``backend``.
        options: the other options of ``Queue.enqueue``. Of all of them ``depends_on``, ``at_front`` and ``job_id`` can also be
            given with the arguments.

    >>> @job("low", connection="redis://localhost", timeout=5)
    ... async def add(x: int, y: int) -> int:
    ...     return x + y
    >>> await add.enqueue(1, 2)
    """

    def __init__(
        self,
        queue: Queue | str,
        backend: Source | None = None,
        timeout: Duration | None = None,
        result_ttl: Duration | None = None,
        ttl: Duration | None = None,
        queue_class: type[Queue] | None = None,
        *,
        connection: Source | None = None,
        **options: Any,
    ) -> None:
        given = {"job_timeout": timeout, "result_ttl": result_ttl, "ttl": ttl}
        told = {**options, **{k: v for k, v in given.items() if v is not None}}
        self._options = {name: lasting(value) for name, value in told.items()}
        EnqueueOptions.checked(**self._options)
        self._queue = queue
        self._queue_class = queue_class or Queue
        self._backend, self._connection = backend, connection

    def __call__(self, f: Callable[P, R]) -> JobFunction[P, R]:
        """Return the function itself.

        Raises:
            InvalidFunction: it takes no attributes.
        """

        async def enqueue(*args: Any, **kwargs: Any) -> Job:
            told = {name: kwargs.pop(name) for name in _AT_THE_CALL if name in kwargs}
            options = {**self._options, **{k: v for k, v in told.items() if v is not None}}
            return await self._queue_of_today().enqueue_call(f, args, kwargs, **options)

        try:
            f.enqueue = f.delay = enqueue  # type: ignore[attr-defined]
        except AttributeError:
            raise InvalidFunction(
                f"{cut_repr(f)} takes no attributes: write a function that calls it"
            ) from None
        register(f)
        return cast("JobFunction[P, R]", f)

    def _queue_of_today(self) -> Queue:
        if isinstance(self._queue, Queue):
            return self._queue
        return self._queue_class(self._queue, self._backend, connection=self._connection)
