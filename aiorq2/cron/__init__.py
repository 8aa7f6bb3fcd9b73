"""Cron patterns: text → fields → wall times → instants, and words for people. No Redis, no asyncio."""

from aiorq2.cron.field import Dialect
from aiorq2.cron.pattern import MAX_COUNT, CronPattern

__all__ = ["MAX_COUNT", "CronPattern", "Dialect"]
