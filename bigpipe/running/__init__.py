"""The parts of `bigpipe.run`: what a run keeps track of.

::

    plan, intake                          what is to be done; the inputs as they arrive
    ledger, outcomes, questions           files in flight, what became of them, names they ask for
    recorder, journal_recorder, resume    what the journal is told, and which files it spares
    memory_watch, sampler                 the memory that workers use; what the run is doing
    taker                                 how far it reads ahead of those who take the results
"""
