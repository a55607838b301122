"""Stages in parallel, each in its own process or thread.

::

    stages.py, graph.py        what a person declares: a row, or any graph
    network.py, diagram.py     how it is joined, checked, drawn
    stillness.py               whether it stands still, and what helps; pure, like these
    crew.py, members.py        a run, seen from the caller
    part_process.py, part.py   a running stage; step_guard.py: errors of its step
    ports.py, local_links.py   elements in and out, by `bigpipe.sharing.transport` or among threads
    meter.py, figures.py       what each stage did, and for how long
"""
