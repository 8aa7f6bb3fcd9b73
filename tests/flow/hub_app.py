"""The ``RQ`` of an application, for ``aiorq2 worker --app``; where Redis is, its environment says."""

from __future__ import annotations

from typing import Any

from aiorq2 import RQ, connect

rq = RQ(queues=["shop"], default_result_ttl=77)
nowhere = connect("redis://127.0.0.1:1/0", retry_for=0.2)
elsewhere = RQ(nowhere)
broken = RQ()
till = RQ(
    default_queue="till", default_timeout=3600, default_result_ttl=77, timezone="Europe/Berlin"
)


@rq.job("shop")
def add(x: int, y: int) -> int:
    """Return the sum."""
    return x + y


@rq.job("shop")
def fail() -> None:
    """Raise."""
    raise ValueError("boom")


@rq.cron("0 0 12 * * ?", name="noon")
def close_the_books() -> None:
    """Run at noon."""


@rq.on_startup
async def open_the_shop() -> None:
    """Say so."""
    print("the shop is open", flush=True)  # noqa: T201


@rq.on_shutdown
def close_the_shop() -> None:
    """Say so."""
    print("the shop is closed", flush=True)  # noqa: T201


@rq.exception_handler
def apologise(*_: Any) -> None:
    """Say so."""
    print("we are sorry", flush=True)  # noqa: T201


@elsewhere.on_startup
def say_where() -> None:
    """Say so."""
    print(f"redis at {elsewhere.backend.location}", flush=True)  # noqa: T201


@broken.on_startup
def break_down() -> None:
    """Raise."""
    raise ConnectionError("no route to host")
