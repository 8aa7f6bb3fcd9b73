"""What can be wrong: one ``Kind`` each, with what it means and what mending does; and one ``Finding`` for what was seen."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

SHOWN = 5
"""How many names a sentence shows."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What can be wrong.

    Attributes:
        name: what it is called.
        sentence: what is said of it; ``{count}``, ``{where}`` and ``{detail}`` are filled in.
        means: what follows from it.
        mending: what ``mend`` does about it; empty where only a person can.
        advice: what a person can do; empty where it is mended.
    """

    name: str
    sentence: str
    means: str
    mending: str = ""
    advice: str = ""


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind(
            "lost-job",
            "queue {where}: {count} {detail} and in no list",
            "nobody will ever run them: a process of rq died between two steps, or somebody deleted from a list",
            mending="puts them back where their status says: queued ones to the front of the queue; started ones get a lease that "
            "is over and are freed as after the death of a worker; those that wait for others, or in line, wait again",
        ),
        Kind(
            "lost-schedule",
            "queue {where}: {count} scheduled and in no list",
            "nobody knows any more when they are due",
            advice="give each a time: `await ScheduledJobRegistry(queue=queue).schedule(job_id, when)`, or delete it",
        ),
        Kind(
            "stuck-in-intermediate",
            "queue {where}: {count} taken by a worker of rq and not started",
            "the worker died; rq's maintenance would fail them after some 10 minutes",
            mending="puts them to the front of the queue, and drops ids without a job",
        ),
        Kind(
            "dead-lease",
            "queue {where}: {count} lost their worker more than {detail} ago, and nobody has freed them",
            "they count as running and are not; no worker looks at this queue",
            mending="frees them as a worker would: they are queued again at the front, or have failed if rq enqueued them or they "
            "have died too often",
        ),
        Kind(
            "id-without-job",
            "queue {where}: {count} in the list and gone",
            "their `ttl` was over before a worker came, or their data was deleted; workers pass over them",
            mending="takes the ids out of the list",
        ),
        Kind(
            "repeated-id",
            "queue {where}: {count} more than once in the list",
            "a worker of rq would run them more than once",
            mending="leaves the first one in the list",
        ),
        Kind(
            "ended-but-queued",
            "queue {where}: {count} ended and still in the list",
            "a worker of rq would run them again, cancelled ones too",
            mending="takes the ids out of the list; the jobs stay in their registry",
        ),
        Kind(
            "member-without-job",
            "queue {where}: {count} in the registry {detail} and gone",
            "they are counted and cannot be looked at; their data was deleted or evicted, or nobody sweeps the registry",
            mending="takes them out of the registry",
        ),
        Kind(
            "unknown-status",
            "queue {where}: {count} with the status {detail}, which there is not",
            "whatever of rq reads them raises, and workers of rq stop",
            advice="find out who wrote it; then delete the job",
        ),
        Kind(
            "no-payload",
            "{count} without data",
            "a late write of rq to a job that was deleted; nobody can run it, readers say that there is no such job",
            mending="gives them a day to live where they would stay for ever",
        ),
        Kind(
            "no-ttl",
            "{count} {detail} with no time to live",
            "they stay in Redis for ever",
            mending="gives them that of the job they belong to, or a day where it is gone",
        ),
        Kind(
            "unlisted-queue",
            "queue {where}: it holds {detail} and is not in the set of queues",
            "`info` and dashboards do not show it, nor does anything that looks at all queues",
            mending="adds it to the set",
        ),
        Kind(
            "overdue",
            "queue {where}: {count} due more than {detail} ago and still scheduled",
            "no worker or scheduler looks at this queue, or workers leave it to a scheduler of rq that does not move them",
            advice="start a worker for the queue",
        ),
        Kind(
            "overdue-cron",
            "queue {where}: recurring entries were due more than {detail} ago and have not run",
            "no worker or scheduler looks at this queue",
            advice="start a worker for the queue",
        ),
        Kind(
            "left-ready",
            "queue {where}: {count} ready for more than {detail} and not in the queue",
            "the process of rq that was to enqueue them has died",
            mending="puts them into the queue",
        ),
        Kind(
            "stuck-slot",
            "rate limit {where}: {count} hold a place and neither wait nor run",
            "others wait in line for these places",
            mending="gives the places to the next in line",
        ),
        Kind(
            "empty-group",
            "group {where}: none of its {detail} is left",
            "the list of its members stays for ever",
            mending="deletes the list",
        ),
        Kind(
            "dead-worker",
            "worker {where}: on the lists and gone",
            "it died without taking itself off; nobody has swept since",
            mending="takes it off the lists",
        ),
        Kind(
            "stale-lock",
            "queue {where}: locked for the scheduler {detail}, which is gone",
            "workers leave due jobs to that scheduler",
            mending="takes the lock off",
        ),
        Kind(
            "old-rq",
            "worker {where}: rq {detail}",
            "the maintenance of rq before 2.0 drops the abandoned jobs of newer workers: they stay started for ever",
            advice="update it, or let it work on another Redis",
        ),
        Kind(
            "version-mix",
            "workers of different versions: {detail}",
            "in a deployment this passes; for longer, workers disagree about what they read (rq 2 stops at statuses of rq 3)",
            advice="bring them to one version",
        ),
        Kind(
            "serializer-mix",
            "queue {where}: jobs written with {detail}",
            "a worker reads one of these: the others' jobs fail with DeserializationError",
            advice="give all producers of a queue the serializer of its workers",
        ),
        Kind(
            "suspended",
            "workers are suspended, with no end",
            "no worker starts a job until somebody says so",
            advice="`aiorq2 resume`",
        ),
        Kind(
            "redis-too-old",
            "Redis is {detail}; aiorq2 needs 6.2 or newer",
            "workers refuse to start",
            advice="update Redis",
        ),
        Kind(
            "redis-evicts",
            "Redis has maxmemory-policy {detail}",
            "when its memory is full it drops jobs, silently",
            advice="set maxmemory-policy noeviction",
        ),
        Kind(
            "redis-forgets",
            "Redis keeps no append-only file",
            "a crash of Redis loses everything since its last snapshot",
            advice="set appendonly yes, or run with `--ignore redis-forgets` where that does not matter",
        ),
    )
}


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong. ``names`` are the jobs (or keys) that it is about, as many as are kept; ``count`` says how many
    there are."""

    kind: str
    where: str = ""
    names: tuple[str, ...] = ()
    detail: str = ""
    count: int = 0

    @property
    def can_be_mended(self) -> bool:
        """Whether ``mend`` does something about it."""
        return bool(KINDS[self.kind].mending)

    @property
    def text(self) -> str:
        """What is wrong, in a sentence, with the first names."""
        noun = "key" if self.kind == "no-ttl" else "job"
        count = f"{self.count} {noun}{'' if self.count == 1 else 's'}"
        said = KINDS[self.kind].sentence.format(count=count, where=self.where, detail=self.detail)
        more = ", …" if self.count > SHOWN else ""
        return f"{said}: {', '.join(self.names[:SHOWN])}{more}" if self.names else said


@dataclass(frozen=True, slots=True)
class Report:
    """What an examination has found. ``seen`` keys and entries were looked at; not ``is_complete``: the limit was reached."""

    findings: tuple[Finding, ...]
    seen: int
    is_complete: bool = True

    @property
    def is_healthy(self) -> bool:
        """Whether nothing was found, and all was looked at."""
        return not self.findings and self.is_complete


KEPT = 10_000
"""How many names a finding keeps; what is beyond is found by the next examination."""


class Gathering:
    """Findings under way: what is of one kind, in one place and of one detail, becomes one."""

    def __init__(self, ignore: Iterable[str] = ()) -> None:
        self._ignored = frozenset(ignore)
        self._names: dict[tuple[str, str, str], dict[str, None]] = {}

    def add(self, kind: str, where: str = "", name: str | None = None, detail: str = "") -> None:
        """Note one thing that is wrong."""
        if KINDS[kind].name not in self._ignored:
            names = self._names.setdefault((kind, where, detail), {})
            if name is not None:
                names[name] = None

    def findings(self) -> tuple[Finding, ...]:
        """Return what was noted, in the order of ``KINDS``."""
        order = list(KINDS)
        return tuple(
            Finding(kind, where, tuple(names)[:KEPT], detail, len(names))
            for (kind, where, detail), names in sorted(
                self._names.items(), key=lambda item: (order.index(item[0][0]), item[0][1:])
            )
        )
