"""A stand-in for the cron patterns until they are here: croniter as it is, seconds first."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

from croniter import croniter

from aiorq2.errors import InvalidCronPattern

Dialect = Literal["auto", "crontab", "quartz", "seconds-last"]


@dataclass(frozen=True)
class CronPattern:
    """A pattern and its time zone."""

    text: str
    timezone: str = "UTC"
    dialect: Dialect = "auto"
    name: str | None = None

    @classmethod
    def parse(
        cls,
        text: str,
        *,
        timezone: str = "UTC",
        dialect: Dialect = "auto",
        name: str | None = None,
    ) -> CronPattern:
        """Return the pattern, checked."""
        try:
            croniter.expand(text, second_at_beginning=True, strict=True)
            ZoneInfo(timezone)
        except (ValueError, KeyError) as error:
            raise InvalidCronPattern(f"cron pattern {text!r}: {error}") from None
        return cls(text, timezone, dialect, name)

    def next(self, after: datetime) -> datetime | None:
        """Return the first time after one."""
        return self._iterator(after).get_next(datetime).astimezone(UTC)

    def previous(self, before: datetime) -> datetime | None:
        """Return the last time before one."""
        return self._iterator(before).get_prev(datetime).astimezone(UTC)

    def upcoming(self, after: datetime, count: int) -> list[datetime]:
        """Return the next times."""
        found: list[datetime] = []
        for _ in range(count):
            found.append(self.next(found[-1] if found else after) or after + timedelta(1))
        return found

    def describe(self) -> str:
        """Return it in words."""
        return self.text

    def _iterator(self, base: datetime) -> croniter:
        return croniter(
            self.text, base.astimezone(ZoneInfo(self.timezone)), second_at_beginning=True
        )
