"""The parts of `bigpipe.run`: what a run keeps track of.

::

    plan, intake                          what is to be done; the inputs as they arrive
    ledger, outcomes, questions           files in flight, what became of them, names they ask for
    recorder, journal_recorder, resume    what the journal is told, and which files it spares
    memory_watch, sampler                 the memory that workers use; what the run is doing
    taker                                 how far it reads ahead of those who take the results
"""

from __future__ import annotations

from typing import Any

from bigpipe.running.plan import Plan
from bigpipe.running.recorder import Recorder

__all__ = ["make_recorder"]


def make_recorder(pipe: Any, plan: Plan) -> Recorder:
    """Return the journal of a run, or one that records nothing."""
    if plan.options.journal is None:
        return Recorder()
    from bigpipe.running.journal_recorder import JournalRecorder  # which loads SQLite

    return JournalRecorder(pipe, plan)
