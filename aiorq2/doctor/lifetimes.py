"""Do keys end that should?"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from aiorq2.backends import browse
from aiorq2.backends.browse import FOR_EVER, GONE
from aiorq2.doctor.suspects import Suspects
from aiorq2.doctor.tour import Tour


@dataclass(frozen=True, slots=True)
class Family:
    """Keys that should end: by themselves, or with the ``job`` in their name."""

    label: str
    pattern: re.Pattern[str]


_FAMILIES = tuple(
    Family(label, re.compile(pattern))
    for label, pattern in (
        ("(results of jobs)", r"results:(?P<job>.+)"),
        ("(dependents of jobs)", r"job:(?P<job>[^:].*):dependents"),
        ("(dependencies of jobs)", r"job::(?P<job>.+):dependencies"),
        ("(runs of jobs)", r"executions?:.+"),
        ("(workers)", r"worker:.+"),
        ("(schedulers of rq)", r"(cron_)?scheduler:.+|cron_job:.+:jobs"),
        ("(locks of rq's maintenance)", r"clean_registries:.+|clean_groups"),
        ("(marks of rq's maintenance)", r"queue:.+:intermediate:first_seen:.+"),
        ("(queues of callers that ran a job themselves)", r"queue:inline-[0-9a-f]{32}"),
    )
)


def family_of(name: str) -> tuple[str, str] | None:
    """Return the label of the family that a key is of, and the job in its name (blank: none); None where it may stay for ever."""
    for family in _FAMILIES:
        match = family.pattern.fullmatch(name)
        if match is not None:
            return family.label, match.groupdict().get("job") or ""
    return None


async def look_at_lifetimes(tour: Tour, names: Iterable[str], suspects: Suspects) -> None:
    """Note keys that have no time to live and should. Redis: 2 pipelines."""
    limited = [name for name in names if family_of(name) is not None]
    for name in await immortal(tour, limited):
        label, _ = family_of(name) or ("", "")
        suspects.add("no-ttl", "", name, detail=label)


async def immortal(tour: Tour, names: Sequence[str]) -> list[str]:
    """Return those of some keys that will outlive the job they belong to, and those without one that have no time to live."""
    lives = await browse.times_to_live(tour.backend, names)
    endless = [name for name, life in zip(names, lives, strict=True) if life == FOR_EVER]
    owners = [(family_of(name) or ("", ""))[1] for name in endless]
    found = await browse.facts(tour.backend, owners)
    return [
        name
        for name, owner, facts in zip(endless, owners, found, strict=True)
        if not owner
        or facts is None
        or (facts.record.status.is_terminal and facts.ttl_ms not in (FOR_EVER, GONE))
    ]
