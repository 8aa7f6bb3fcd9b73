"""A worker inside of an application: started with serving, drained at its end. It never takes the app down."""

from __future__ import annotations

import asyncio
import contextvars
import difflib
import inspect
import logging
import signal
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from aiorq2 import left_out
from aiorq2.backends import connect
from aiorq2.backends.addresses import DEFAULT_URL
from aiorq2.errors import InvalidOption
from aiorq2.options import as_names
from aiorq2.timing import backoff, seconds
from aiorq2.worker import Worker

if TYPE_CHECKING:
    from quart import Quart

    from aiorq2.hub import RQ
    from aiorq2.sharded import ShardedWorker

log = logging.getLogger("aiorq2.quart")

KEY = "RQ_EMBEDDED_WORKER"

GRACE_S = 10
"""What running jobs get at a stop unless the options say otherwise: servers wait less long than a worker would."""
MARGIN_S = 5.0
LONGEST_PAUSE_S = 30.0


class EmbeddedWorker:
    """Keeps a worker at work on the running loop until told to stop; one that fails is made anew, after a growing pause.

    Args:
        options: as for ``rq.get_worker``; and ``queues``, one or several.
    """

    def __init__(self, rq: RQ, app: Quart, options: Mapping[str, Any]) -> None:
        self._rq = rq
        self._app = app
        self._options = {"grace": GRACE_S, "handle_signals": False, **options}
        self._queues = as_names(self._options.pop("queues", ()), "queue")
        self._grace_s = seconds(self._options["grace"], name="grace")
        self._worker: Worker | ShardedWorker | None = None
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, in a context of its own: nothing of whoever starts the app is seen by jobs."""
        _outlive_siblings()
        self._task = asyncio.get_running_loop().create_task(
            self._supervise(), context=contextvars.Context()
        )

    async def stop(self) -> None:
        """Let running jobs finish within their grace, give back the rest, and return."""
        self._stopping.set()
        if self._worker is not None:
            self._worker.request_stop()
        if self._task is not None:
            _, late = await asyncio.wait({self._task}, timeout=self._grace_s + MARGIN_S)
            for task in late:
                log.error("the worker inside of %s did not stop in time", self._app.name)
                task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _supervise(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            began = asyncio.get_running_loop().time()
            try:
                async with self._app.app_context():
                    worker = self._worker = self._rq.get_worker(*self._queues, **self._options)
                await worker.work()
            except Exception:
                log.exception("the worker inside of %s failed; it is started again", self._app.name)
            is_quick = asyncio.get_running_loop().time() - began < LONGEST_PAUSE_S
            failures = failures + 1 if is_quick else 1
            pause = backoff(failures, base=1, cap=LONGEST_PAUSE_S, jitter=0.2)
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._stopping.wait()


def check_options(options: Mapping[str, Any], worker_class: type[Worker]) -> None:
    """Refuse options that no worker of this class can be made with; what it takes beside ours is its own to check.

    Raises:
        InvalidOption: the option is in the message.
    """
    derived = [cls for cls in worker_class.__mro__ if cls not in Worker.__mro__]
    theirs = {name for cls in derived for name in _taken(cls)}
    known = {*_taken(Worker), *theirs, "queues", "connection"} - {"self", "backend"}
    unknown = options.keys() - known - left_out.WORKER.keys()
    if any(_takes_whatever(cls) for cls in derived):
        theirs, unknown = theirs | unknown, set()
    for name in sorted(unknown, key=str):
        close = difflib.get_close_matches(str(name), known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(sorted(known))}"
        raise InvalidOption(f"{KEY}: unknown option {name!r}; {hint}")
    ours = {name: given for name, given in options.items() if name not in {"connection", *theirs}}
    try:
        Worker(backend=connect(DEFAULT_URL), **ours)  # nothing is sent
    except (InvalidOption, TypeError, ValueError) as error:
        raise InvalidOption(f"{KEY}: {error}") from error


def _taken(cls: type) -> list[str]:
    """Return what may be given by keyword to the class's own ``__init__``."""
    made_by = cls.__dict__.get("__init__")
    if made_by is None:
        return []
    found = inspect.signature(made_by).parameters.values()
    return [one.name for one in found if one.kind in (one.KEYWORD_ONLY, one.POSITIONAL_OR_KEYWORD)]


def _takes_whatever(cls: type) -> bool:
    """Whether the class's own ``__init__`` takes options that it does not name, and names none."""
    made_by = cls.__dict__.get("__init__")
    found = inspect.signature(made_by).parameters.values() if made_by else ()
    return any(one.kind is one.VAR_KEYWORD for one in found) and _taken(cls) == ["self"]


def _outlive_siblings() -> None:
    """Have this process end when its server tells it to, not when a sibling does.

    With several processes hypercorn tells each by an event, and sends SIGTERM to the others as soon as the first has ended: that
    would kill a process whose jobs are still being drained. A handler of somebody else's is left alone.
    """
    if signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
        with suppress(RuntimeError, NotImplementedError, ValueError):  # no main thread, Windows
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, lambda: None)
