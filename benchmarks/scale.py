"""How much is measured: a small scale to try everything, the full one for figures, a tiny one for the tests."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Scale:
    """Numbers of jobs, before a slow peer's share is taken, and durations."""

    name: str
    rounds: int
    enqueued: int
    """one at a time, and by concurrent callers"""
    bulk: int
    drained: int
    naps_per_slot: int
    paced: int
    due: int
    due_in_s: float
    """how long before their due time the first of them is enqueued"""
    spread: int
    spread_s: float
    long_run: int
    """jobs between the two looks at a worker's memory"""
    idle_s: float
    processes: tuple[int, ...]
    backlogs: tuple[int, ...]
    from_backlog: int
    """how many jobs of a backlog are drained"""
    fleet: int


SCALES = {
    scale.name: scale
    for scale in (
        Scale(
            name="tiny",
            rounds=1,
            enqueued=200,
            bulk=500,
            drained=500,
            naps_per_slot=2,
            paced=20,
            due=100,
            due_in_s=2.0,
            spread=20,
            spread_s=0.4,
            long_run=1000,
            idle_s=0.5,
            processes=(2,),
            backlogs=(1000,),
            from_backlog=200,
            fleet=3,
        ),
        Scale(
            name="small",
            rounds=1,
            enqueued=500,
            bulk=2000,
            drained=3000,
            naps_per_slot=4,
            paced=50,
            due=500,
            due_in_s=2.0,
            spread=50,
            spread_s=1.0,
            long_run=4000,
            idle_s=1.0,
            processes=(2,),
            backlogs=(1000, 5000),
            from_backlog=500,
            fleet=10,
        ),
        Scale(
            name="full",
            rounds=3,
            enqueued=5000,
            bulk=20_000,
            drained=20_000,
            naps_per_slot=10,
            paced=500,
            due=10_000,
            due_in_s=15.0,
            spread=500,
            spread_s=5.0,
            long_run=100_000,
            idle_s=30.0,
            processes=(2, 4),
            backlogs=(1000, 10_000, 100_000, 1_000_000),
            from_backlog=5000,
            fleet=200,
        ),
    )
}
