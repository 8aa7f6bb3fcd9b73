"""aiorq2 in a Quart application: ``rq = RQ(app)``, jobs in the app context, ``quart rq …``, a worker inside of the app."""

from aiorq2.quart_ext.extension import RQ
from aiorq2.quart_ext.job import QuartJob
from aiorq2.quart_ext.signals import job_failed, job_finished, job_started

__all__ = ["RQ", "QuartJob", "job_failed", "job_finished", "job_started"]
