"""Cron patterns: text → fields → wall times → instants, and words for people. No Redis, no asyncio."""

from aiorq2.cron.field import Dialect
from aiorq2.cron.pattern import MAX_COUNT, CronPattern
from aiorq2.cron.zone import checked_zone, in_zone, local_timezone

__all__ = ["MAX_COUNT", "CronPattern", "Dialect", "checked_zone", "in_zone", "local_timezone"]
