"""Stages side by side, each at work in a process or a thread of its own.

::

    stages.py, graph.py        what a person declares: a row, or any graph
    network.py, diagram.py     how it is joined, checked, drawn
    stillness.py               whether it stands still, and what helps; pure, as those are
    crew.py, members.py        a run, seen from the caller
    part_process.py, part.py   a stage at work; step_guard.py: what its step raises
    ports.py, local_links.py   what comes in and goes out, by `bigpipe.transport` or among threads
    meter.py, figures.py       what each stage did, and for how long
"""
