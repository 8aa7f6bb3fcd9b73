"""An asyncio job queue with RQ's API on RQ's Redis data."""

__version__ = "0.1.0"
