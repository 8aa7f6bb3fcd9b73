"""Signals that end what runs until it is told to stop, where they are ours to handle."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress


@contextmanager
def stopping_on_signals(stop: Callable[[], None], wanted: bool | None) -> Iterator[None]:
    """Have SIGTERM and SIGINT call ``stop`` inside of this.

    Args:
        wanted: None: unless somebody else handles them. Outside the main thread it is never done.
    """
    if threading.current_thread() is not threading.main_thread():
        wanted = False
    elif wanted is None:
        wanted = signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    if not wanted:
        yield
        return
    loop = asyncio.get_running_loop()
    before = {one: signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT)}
    for one in before:
        try:
            loop.add_signal_handler(one, stop)
        except NotImplementedError:  # Windows' loop
            signal.signal(one, lambda *_: loop.call_soon_threadsafe(stop))
    try:
        yield
    finally:
        for one, handler in before.items():
            with suppress(NotImplementedError):
                loop.remove_signal_handler(one)
            signal.signal(one, handler)
