"""SIGTERM and SIGINT, for as long as a worker works."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress


@contextmanager
def handled(
    request_stop: Callable[[], None], wanted: bool | None, *, is_burst: bool
) -> Iterator[None]:
    """Have ``request_stop`` called at SIGTERM and SIGINT, where that is ours to do.

    Args:
        wanted: whether it is; None: in the main thread, unless somebody else has handlers, and not for a burst.
    """
    if threading.current_thread() is not threading.main_thread():
        wanted = False
    elif wanted is None:
        wanted = not is_burst and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    if not wanted:
        yield
        return
    loop = asyncio.get_running_loop()
    before = {one: signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT)}
    with suppress(NotImplementedError):  # Windows' loop
        for one in before:
            loop.add_signal_handler(one, request_stop)
    try:
        yield
    finally:
        with suppress(NotImplementedError):
            for one, handler in before.items():
                loop.remove_signal_handler(one)
                signal.signal(one, handler)
