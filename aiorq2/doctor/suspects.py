"""What may be wrong: in a system at work much is on its way from one place to another, so everything is looked at twice."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from aiorq2.backends.browse import JobFacts

Trace = tuple[str | None, ...]


@dataclass(frozen=True, slots=True)
class Suspect:
    """Something that may be wrong in the way of ``kind``, as it was when it was seen first."""

    kind: str
    where: str
    """The queue, mostly."""
    name: str
    """The job, or the key, mostly."""
    trace: Trace = ()
    """What changes when it moves."""
    detail: str = ""


class Suspects:
    """Suspects, each once."""

    def __init__(self) -> None:
        self._all: defaultdict[str, dict[tuple[str, str], Suspect]] = defaultdict(dict)

    def __bool__(self) -> bool:
        return bool(self._all)

    def add(
        self,
        kind: str,
        where: str,
        name: str,
        trace: Trace | JobFacts | None = (),
        detail: str = "",
    ) -> None:
        """Note one; ``trace`` may be the job itself, or None where it is gone."""
        if trace is None or isinstance(trace, JobFacts):
            trace = trace_of(trace)
        self._all[kind][where, name] = Suspect(kind, where, name, trace, detail)

    def of(self, *kinds: str) -> Sequence[Suspect]:
        """Return those of some kinds."""
        return [one for kind in kinds for one in self._all.get(kind, {}).values()]


def trace_of(facts: JobFacts | None) -> Trace:
    """Return what changes when a job moves; empty where it is gone."""
    if facts is None:
        return ()
    names = ("status", "origin", "enqueued_at", "started_at")
    return tuple(facts.record.text(name) for name in names)
