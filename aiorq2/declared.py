"""Cron entries that are declared in code: ``@rq.cron("0 0 12 * * ?")``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from aiorq2.callables import name_of
from aiorq2.cron_spec import CronSpec
from aiorq2.errors import InvalidOption
from aiorq2.functions import JobFunctions


@dataclass(frozen=True)
class DeclaredCron:
    """An entry as it was declared. What the job and the ``RQ`` say by default is added when it is carried out."""

    name: str
    pattern: str
    func: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    options: Mapping[str, Any]

    @property
    def func_name(self) -> str:
        """The dotted name of the function."""
        return f"{self.func.__module__}.{self.func.__qualname__}"

    def spec(self, helper: JobFunctions) -> CronSpec:
        """Return it with all that is said elsewhere.

        Raises:
            InvalidOption: something in it cannot be meant.
        """
        return helper.preset({}).cron_spec(
            self.pattern, self.name, self.args, self.kwargs, self.options
        )


class Declarations:
    """The entries of one ``RQ``, by name."""

    def __init__(self) -> None:
        self.entries: dict[str, DeclaredCron] = {}

    def add(self, entry: DeclaredCron, helper: JobFunctions) -> None:
        """Note an entry down; the same function of a module that was loaded again takes the place of its former self.

        Raises:
            InvalidOption: it cannot be meant, or another entry has its name.
        """
        if (
            entry.func.__module__ != "__main__"
        ):  # where other programs declare, and this one is not run as a worker
            name_of(entry.func)
        entry.spec(helper)
        known = self.entries.get(entry.name)
        if known is not None and (known.func_name != entry.func_name or known.func is entry.func):
            raise InvalidOption(
                f"cron {entry.name!r}: {known.func_name} is declared under this name; give name=… to one of them"
            )
        self.entries[entry.name] = entry
