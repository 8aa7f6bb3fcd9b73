"""Cron entries that are declared in code: ``@rq.cron("0 0 12 * * ?")``."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from aiorq2.allowlist import AllowList
from aiorq2.callables import name_of
from aiorq2.connections import DEFAULT
from aiorq2.cron_jobs import CronJob
from aiorq2.cron_spec import CronSpec
from aiorq2.cron_sync import Synced
from aiorq2.errors import FunctionNotAllowed, InvalidJobOperation, InvalidOption, NotConfigured
from aiorq2.functions import JobFunctions
from aiorq2.scheduler import Scheduler

log = logging.getLogger("aiorq2.hub")


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

    def connection(self, helper: JobFunctions) -> str:
        """Return the name of the connection that it goes to."""
        told = self.options.get("connection") or helper.connection
        return str(told or DEFAULT)


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
        with suppress(NotConfigured):  # for which of several apps, nobody says: checked later
            entry.spec(helper)
        known = self.entries.get(entry.name)
        if known is not None and (known.func_name != entry.func_name or known.func is entry.func):
            raise InvalidOption(
                f"cron {entry.name!r}: {known.func_name} is declared under this name; give name=… to one of them"
            )
        self.entries[entry.name] = entry

    async def sync(
        self,
        scheduler: Scheduler,
        helpers: Mapping[str, JobFunctions],
        connection: str,
        *,
        source: str,
        version: float | None,
        dry_run: bool,
    ) -> Synced:
        """Write the entries that go to a connection, and remove those of this source that are declared no more; of several shards,
        those of the scheduler's.

        Raises:
            InvalidJobOperation: another program declares an entry of this name.
        """
        keep = self._complete(await scheduler.get_cron_jobs(), source)
        specs = [
            entry.spec(helpers[entry.func_name])
            for entry in self.entries.values()
            if entry.connection(helpers[entry.func_name]) == connection
        ]
        specs = [spec for spec in specs if scheduler.is_home_of(spec.queue)]
        try:
            return await scheduler.sync(
                specs, source=source, version=version, dry_run=dry_run, keep=keep
            )
        except InvalidJobOperation as error:
            raise InvalidJobOperation(
                f"{error}; if that is this program under its former name, go on with it: RQ(name=…)"
            ) from None

    def _complete(self, known: Iterable[CronJob], source: str) -> list[str]:
        """Have every module imported that may declare one of the known entries, and return the names of those of which nobody can
        say whether they are declared: their modules cannot be imported here."""
        unclear = []
        for cron in known:
            if cron.source != source or cron.name in self.entries:
                continue
            if not _has_spoken(cron.func_name):
                log.warning(
                    "cron %r: %s cannot be imported here; left as it is", cron.name, cron.func_name
                )
                unclear.append(cron.name)
        return unclear


def _has_spoken(func_name: str) -> bool:
    """Whether the module of a function has been imported, be it now, or is there no more."""
    try:
        AllowList().check(func_name)
    except FunctionNotAllowed:
        return False
    parts = func_name.split(".")[:-1]
    while parts:
        name = ".".join(parts)
        try:
            import_module(name)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{name}.".startswith(f"{error.name}."):
                return False  # it is there, and lacks another one
            parts.pop()
        except (Exception, SystemExit) as error:  # noqa: BLE001  somebody's module
            log.warning("module %s: %s: %s", name, type(error).__name__, error)
            return False
        else:
            return True
    return True


def maker() -> str:
    """Return the name of the module in which an ``RQ`` is being made; of the program's own, that of its file."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("aiorq2."):
        frame = frame.f_back
    name = str(frame.f_globals.get("__name__", ""))
    if name != "__main__":
        return name
    spec, path = frame.f_globals.get("__spec__"), frame.f_globals.get("__file__")
    return spec.name if spec is not None else Path(path).stem if path else name
