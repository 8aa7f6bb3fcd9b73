"""A recurring entry as it is declared: when, what and how, frozen and checked. Nothing in here knows Redis."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from hashlib import sha1
from typing import Any

from aiorq2.callables import describe_call, name_of
from aiorq2.cron import CronPattern, Dialect
from aiorq2.errors import InvalidOption
from aiorq2.options import OPTION_NAMES, EnqueueOptions, checked_job_id, checked_name
from aiorq2.rhythm import MIN_INTERVAL_S, Interval, Policies, Rhythm, moment
from aiorq2.timing import Duration, seconds, to_iso

MAX_NAME = 200
MAX_ID = 200
"""Characters; the time of a tick is appended to it."""

POLICY_NAMES = frozenset(one.name for one in fields(Policies))
_NOT_FOR_CRON = ("depends_on", "unique", "job_id", "repeat", "durable")


@dataclass(frozen=True, slots=True)
class CronSpec:
    """A recurring entry: a function with its arguments, a cron pattern or an interval, and the policies.

    Make one with ``CronSpec.of``, and have it carried out with ``scheduler.sync([…], source="myapp")``.
    """

    name: str
    func: Callable[..., Any] | str
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    pattern: CronPattern | None = None
    interval: float | None = None
    anchor: float | None = None
    """The first time of an interval, seconds since the epoch; None: when it is written."""
    queue: str | None = None
    """The name of the queue; None: the scheduler's."""
    options: EnqueueOptions = field(default_factory=EnqueueOptions)
    """Those of each job that it makes."""
    policies: Policies = field(default_factory=Policies)
    id: str = ""
    """What the ids of its jobs begin with."""

    @classmethod
    def of(
        cls,
        name: str | None,
        func: Callable[..., Any] | str,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        pattern: str | None = None,
        interval: Duration | None = None,
        first: datetime | float | None = None,
        timezone: str = "UTC",
        dialect: Dialect = "auto",
        queue: str | None = None,
        id: str | None = None,
        timeout: Duration | None = None,
        **others: Any,
    ) -> CronSpec:
        """Return an entry with everything checked.

        Args:
            name: unique among the entries of a Redis; None makes one out of the function, its arguments, the time and the queue.
            pattern: a cron pattern; either this or ``interval``.
            interval: seconds, a ``timedelta``, or text.
            first: the first run of an interval; default: when the entry is written.
            timezone: the zone in which the pattern is meant.
            id: what the ids of its jobs begin with; default ``cron-<name>``.
            timeout: seconds that a run may take.
            others: policies (``catch_up``, ``overlap`` …; see ``Policies``) and the options of ``enqueue``.

        Raises:
            InvalidOption: one of them cannot be meant; its name is in the message.
        """
        policies = {one: others.pop(one) for one in POLICY_NAMES & others.keys()}
        refused = sorted(others.keys() - OPTION_NAMES | others.keys() & set(_NOT_FOR_CRON))
        if refused:
            raise InvalidOption(f"{', '.join(refused)}: no option of a recurring entry")
        if (pattern is None) == (interval is None):
            raise InvalidOption("a recurring entry needs a pattern or an interval, and not both")
        if timeout is not None:
            others["job_timeout"] = timeout
        arguments, named = tuple(args), dict(kwargs or {})
        beat = f"{pattern or interval} {timezone}"
        given = _derived(func, arguments, named, beat, queue) if name is None else name
        checked = checked_cron_name(given)
        return cls(
            name=checked,
            func=func,
            args=arguments,
            kwargs=named,
            pattern=None
            if pattern is None
            else CronPattern.parse(pattern, timezone=timezone, dialect=dialect, name=checked),
            interval=None if interval is None else interval_s(interval),
            anchor=moment(first, "first") if isinstance(first, datetime) else first,
            queue=None if queue is None else checked_name(queue, "queue"),
            options=EnqueueOptions.checked(**others),
            policies=Policies.checked(**policies),
            id=cron_id(checked) if id is None else _checked_id(id),
        )

    def rhythm(self, anchor: float) -> Rhythm:
        """Return when it ticks; ``anchor`` is where an interval begins that does not say."""
        beat: CronPattern | Interval
        if self.interval is not None:
            beat = Interval(self.interval, anchor if self.anchor is None else self.anchor)
        else:
            assert self.pattern is not None
            beat = self.pattern
        own = self.policies
        return Rhythm(beat, self.name, own.jitter, own.start, own.end)


def interval_s(interval: Duration) -> float:
    """Return an interval in seconds, to the millisecond.

    Raises:
        TimeoutFormatError: it cannot be read, or is too short.
    """
    return round(seconds(interval, name="interval", minimum=MIN_INTERVAL_S), 3)


def checked_cron_name(name: object) -> str:
    """Return the name of a recurring entry if Redis and a terminal can live with it.

    Raises:
        InvalidOption: it is empty, too long, or has characters that do not print.
    """
    if isinstance(name, str) and len(name) > MAX_NAME:
        raise InvalidOption(f"cron name {name[:60]!r}: at most {MAX_NAME} characters are allowed")
    return checked_name(name, "cron")


def cron_id(name: str) -> str:
    """Return the id that goes with a name: ``cron-<name>``, as Flask-RQ2 has it, where a job id may look like that."""
    if re.fullmatch(r"[A-Za-z0-9_-]+", name) and len(name) <= MAX_ID - 5:
        return f"cron-{name}"
    plain = re.sub(r"[^A-Za-z0-9_-]+", "-", name)[:100].strip("-")
    return f"cron-{plain}-{_digest(name)}"


def tick_id(id: str, tick: float) -> str:
    """Return the id of the job of a tick: a second copy of it has the same."""
    whole = datetime_text(tick)
    thousandths = round(tick * 1000) % 1000
    return f"{id}-{whole}" + (f"_{thousandths:03}" if thousandths else "")


def datetime_text(moment: float) -> str:
    """Return a point in time as it stands in ids: ``20240501T120000``, in UTC."""
    return re.sub(r"[-:]", "", to_iso(int(moment))[:19])


def _checked_id(id: object) -> str:
    if isinstance(id, str) and len(id) > MAX_ID:
        raise InvalidOption(f"id {id[:60]!r}: at most {MAX_ID} characters are allowed")
    return checked_job_id(id)


def _derived(
    func: Callable[..., Any] | str,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    beat: str,
    queue: str | None,
) -> str:
    """Return a name that every process that declares the same entry comes to."""
    name = name_of(func).name
    call = describe_call(name, args, kwargs) + repr(args) + repr(sorted(kwargs.items()))
    stable = re.sub(r" at 0x[0-9a-f]+", "", call)
    return f"{name[-MAX_NAME + 10 :]}-{_digest(f'{beat} {queue} {stable}')}"


def _digest(text: str) -> str:
    return sha1(text.encode("utf-8", "backslashreplace"), usedforsecurity=False).hexdigest()[:8]
