"""Cron patterns: text → fields → wall times → instants, and words for people. No Redis, no asyncio."""

from aiorq2.cron.field import Dialect
from aiorq2.cron.pattern import MAX_COUNT, CronPattern
from aiorq2.cron.zone import local_timezone

__all__ = ["MAX_COUNT", "CronPattern", "Dialect", "local_timezone"]
