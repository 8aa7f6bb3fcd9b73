"""``python -m tests.faults.skewed PLAN worker …``: the command line of aiorq2 in a process whose wall clock is wrong.

``PLAN`` says how wrong from which second of its life on: ``0:3600`` is an hour ahead, ``0:0,2:3600,4:-3600`` goes forth and back,
with ``6:again`` for ever.
The monotonic clock is right, as it is when somebody sets a machine's clock. In place of ``worker …`` a module may stand.
"""

from __future__ import annotations

import datetime as datetime_module
import runpy
import sys
import time
from collections.abc import Sequence
from typing import Any

_time, _time_ns, _monotonic = time.time, time.time_ns, time.monotonic


def tell_wrongly(plan: str) -> None:
    """Have ``time.time()`` and ``datetime.now()`` of this process be wrong by the plan."""
    steps = [(float(at), by) for at, by in (step.split(":") for step in plan.split(","))]
    period = steps.pop()[0] if steps[-1][1] == "again" else float("inf")
    born = _monotonic()

    def wrong_by() -> float:
        age = (_monotonic() - born) % period
        return next((float(by) for at, by in reversed(steps) if at <= age), 0.0)

    class Datetime(datetime_module.datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return cls.fromtimestamp(time.time(), tz)

    time.time = lambda: _time() + wrong_by()
    time.time_ns = lambda: _time_ns() + int(wrong_by() * 1e9)
    datetime_module.datetime = Datetime  # type: ignore[misc]


def main(plan: str, arguments: Sequence[str]) -> None:
    """Run what is asked for with a wrong clock."""
    tell_wrongly(plan)
    sys.argv = ["aiorq2", *arguments]
    is_module = arguments[0].startswith("tests.")
    runpy.run_module(arguments[0] if is_module else "aiorq2", run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
