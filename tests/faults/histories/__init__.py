"""One history of all verbs, on a backend and on the model beside it: after every call the two must be equal.

Any reply may get lost after the command ran. Time is made to pass by moving everything that is stored: see ``pass_time``.
"""

from __future__ import annotations

from tests.faults.histories.entries import OnEntries
from tests.faults.histories.jobs import OnJobs
from tests.faults.histories.upkeep import OnUpkeep
from tests.faults.histories.workers import OnRuns


class Histories(OnJobs, OnRuns, OnUpkeep, OnEntries):
    """One history; ``url`` is set by the tests."""
