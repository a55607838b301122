"""Steps: they take a chunk and return a chunk, nothing yet, or several chunks.

::

    base.py, kinds.py          a step and its life; a function, a generator, an object
    combine.py                 steps in a row, steps side by side
    streams.py                 a stream of chunks through steps; streams side by side
    rechunk.py, filters.py     ready-made steps, for arrays of any library (namespaces.py)
    saving.py                  the state of steps, for checkpoints
"""
