"""Which suspects are still as they were: those are findings."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace

from aiorq2.backends import browse
from aiorq2.backends.inspect import registry_key
from aiorq2.doctor.findings import Gathering
from aiorq2.doctor.lifetimes import immortal
from aiorq2.doctor.places import Places
from aiorq2.doctor.registries import gone, idle, members_gone
from aiorq2.doctor.surroundings import late_keys, locks, missing_workers
from aiorq2.doctor.suspects import Suspect, Suspects, trace_of
from aiorq2.doctor.tour import Tour

Found = Sequence[Suspect]


class SecondLook:
    """Looks at suspects again, some time after the first look.

    Args:
        places: where ids stand now.
    """

    def __init__(self, tour: Tour, places: Places) -> None:
        self._tour = tour
        self._places = places

    async def convict(self, suspects: Suspects, gathering: Gathering) -> None:
        """Note what is still wrong. Redis: some pipelines, and 1 call per job that is in no registry."""
        looks: Mapping[str, Callable[[Found], Awaitable[Found]]] = {
            "lost-job": self._lost,
            "lost-schedule": self._unregistered,
            "stuck-in-intermediate": self._stuck,
            "dead-lease": self._dead,
            "id-without-job": self._listed,
            "ended-but-queued": self._listed,
            "repeated-id": self._repeated,
            "member-without-job": self._memberless,
            "no-payload": self._unchanged,
            "no-ttl": self._immortal,
            "unlisted-queue": self._unlisted,
            "overdue": self._late,
            "overdue-cron": self._late,
            "left-ready": self._late,
            "stuck-slot": self._idle,
            "empty-group": self._empty,
            "dead-worker": self._missing,
            "stale-lock": self._locked,
        }
        for kind, look in looks.items():
            for one in await look(suspects.of(kind)):
                name = None if one.name == one.where else one.name
                gathering.add(kind, one.where, name, one.detail)

    # -- jobs ------------------------------------------------------------------------------------------------------------

    async def _unchanged(self, suspects: Found) -> Found:
        facts = await browse.facts(self._tour.backend, [one.name for one in suspects])
        pairs = zip(suspects, facts, strict=True)
        return [one for one, now in pairs if trace_of(now) == one.trace]

    async def _lost(self, suspects: Found) -> Found:
        still = await self._unchanged(suspects)
        waiting = [one for one in still if one.detail in ("queued", "started")]
        others = [one for one in still if one not in waiting]
        lost = [one for one in waiting if not self._places.is_somewhere(one.name)]
        return [*lost, *await self._unregistered(others)]

    async def _unregistered(self, suspects: Found) -> Found:
        return [
            one
            for one in await self._unchanged(suspects)
            if not await self._is_registered(one) and not self._places.is_somewhere(one.name)
        ]

    async def _is_registered(self, suspect: Suspect) -> bool:
        keys, queue = self._tour.keys, suspect.where
        every = (keys.scheduled(queue), keys.deferred(queue), keys.ready(queue))
        (rate,) = await browse.read(
            self._tour.backend, [["HGET", keys.job(suspect.name), "rate_limit_key"]]
        )
        waiting = (keys.rate_waiting(browse.text_of(rate or b"")),)
        scores = await browse.read(
            self._tour.backend, [["ZSCORE", key, suspect.name] for key in (*every, *waiting)]
        )
        return any(score is not None for score in scores)

    # -- lists -----------------------------------------------------------------------------------------------------------

    async def _listed(self, suspects: Found) -> Found:
        still = await self._unchanged(suspects)
        return [one for one in still if self._places.is_in_queue(one.where, one.name)]

    async def _repeated(self, suspects: Found) -> Found:
        return [one for one in suspects if one.name in self._places.repeated[one.where]]

    async def _stuck(self, suspects: Found) -> Found:
        return [
            one
            for one in await self._unchanged(suspects)
            if one.name in self._places.taken.get(one.where, ())
            and not self._places.is_leased(one.name)
        ]

    async def _dead(self, suspects: Found) -> Found:
        leases = self._places.leases
        return [one for one in suspects if repr(leases[one.where].get(one.name)) == one.trace[0]]

    async def _unlisted(self, suspects: Found) -> Found:
        keys = self._tour.keys
        commands = [["SISMEMBER", keys.queues(), keys.queue(one.where)] for one in suspects]
        listed = await browse.read(self._tour.backend, commands)
        lengths = [self._places.length(one.where) for one in suspects]
        return [
            replace(one, detail=_jobs(length))
            for one, is_listed, length in zip(suspects, listed, lengths, strict=True)
            if length and not is_listed
        ]

    # -- registries ------------------------------------------------------------------------------------------------------

    async def _memberless(self, suspects: Found) -> Found:
        keys = [registry_key(self._tour.keys, one.detail, one.where) for one in suspects]
        return await self._of_jobs_gone(await self._scored(suspects, keys))

    async def _late(self, suspects: Found) -> Found:
        keys = late_keys(self._tour.keys)
        return await self._scored(suspects, [keys[one.kind](one.where) for one in suspects])

    async def _idle(self, suspects: Found) -> Found:
        keys = [self._tour.keys.rate_allowed(one.where) for one in suspects]
        still = await self._scored(suspects, keys)
        wrong = set(await idle(self._tour, [one.name for one in still]))
        return [one for one in still if one.name in wrong]

    async def _scored(self, suspects: Found, keys: Sequence[str]) -> Found:
        commands = [["ZSCORE", key, one.name] for key, one in zip(keys, suspects, strict=True)]
        scores = await browse.read(self._tour.backend, commands)
        pairs = zip(suspects, scores, strict=True)
        return [one for one, score in pairs if score is not None]

    async def _of_jobs_gone(self, suspects: Found) -> Found:
        wrong = set(await gone(self._tour, [one.name for one in suspects]))
        return [one for one in suspects if one.name in wrong]

    async def _empty(self, suspects: Found) -> Found:
        counts = [await members_gone(self._tour, one.where) for one in suspects]
        pairs = zip(suspects, counts, strict=True)
        return [replace(one, detail=_jobs(count)) for one, count in pairs if count]

    # -- the rest --------------------------------------------------------------------------------------------------------

    async def _immortal(self, suspects: Found) -> Found:
        keys = [one for one in suspects if not one.trace]
        wrong = set(await immortal(self._tour, [one.name for one in keys]))
        jobs = await self._unchanged([one for one in suspects if one.trace])
        facts = await browse.facts(self._tour.backend, [one.name for one in jobs])
        return [
            *(one for one in keys if one.name in wrong),
            *(
                one
                for one, now in zip(jobs, facts, strict=True)
                if now and now.ttl_ms == browse.FOR_EVER
            ),
        ]

    async def _missing(self, suspects: Found) -> Found:
        wrong = set(await missing_workers(self._tour, [one.name for one in suspects]))
        return [one for one in suspects if one.name in wrong]

    async def _locked(self, suspects: Found) -> Found:
        found = await locks(self._tour, [one.where for one in suspects])
        pairs = zip(suspects, found, strict=True)
        return [one for one, lock in pairs if lock and lock.is_stale and lock.holder == one.detail]


def _jobs(count: int) -> str:
    return f"{count} job{'' if count == 1 else 's'}"
