"""What jobs of a Quart application are."""

from __future__ import annotations

from aiorq2.job import Job


class QuartJob(Job):
    """A ``Job`` that runs in the context of its application. Derive from it for ``RQ_JOB_CLASS``."""
