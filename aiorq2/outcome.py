"""How a run ended, as the executor saw it. The backend alone knows how that is written."""

from __future__ import annotations

from dataclasses import dataclass

from aiorq2.quick import quick_dataclass


@quick_dataclass()
class Finished:
    """The function returned. ``value`` is the serialised result, None for ``None``."""

    ended_at: float
    value: bytes | None
    repeat_delay: float | None = None
    """Seconds until the job is to run again, where it repeats and has runs left."""
    repeat_intervals: tuple[float, ...] = ()
    """The intervals after that one."""


@dataclass(frozen=True, slots=True)
class Failed:
    """It raised, timed out or could not be run, and is not to be repeated. ``exc_info`` is the traceback as text."""

    ended_at: float
    error: str
    """Dotted name of the exception's class."""
    exc_info: str
    is_exhausted: bool = False
    """Whether the job asked for one retry too many by returning a ``Retry``."""
    is_known_to_rq: bool = False
    """Whether rq's readers have a word for that."""
    value: bytes | None = None
    """The ``rq.Retry`` itself, serialised: those find it in the place of a result."""


@dataclass(frozen=True, slots=True)
class Retried:
    """It raised, or asked for a retry, and is to be repeated after ``delay`` seconds."""

    ended_at: float
    error: str
    exc_info: str
    delay: float
    at_front: bool
    retries_left: int | None = None
    """What is left of the retries on exceptions, where one was used."""
    number_of_retries: int | None = None
    """How many retries the job has asked for by returning a ``Retry``, where it has."""
    is_known_to_rq: bool = False
    """Whether rq's readers have a word for that."""
    value: bytes | None = None
    """The ``rq.Retry`` itself, serialised: those find it in the place of a result."""


@dataclass(frozen=True, slots=True)
class Stopped:
    """It was told to stop while it ran."""

    ended_at: float
    exc_info: str


@dataclass(frozen=True, slots=True)
class GivenBack:
    """The worker could not or would not run it to its end; somebody else may start it as if for the first time."""

    ended_at: float


Outcome = Finished | Failed | Retried | Stopped | GivenBack
