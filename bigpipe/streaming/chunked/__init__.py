"""Pipelines for files larger than memory, and how a killed one resumes.

::

    pipeline.py                the hooks, for streams of chunks
    passage.py                 one file's way through them
    flow.py, parts.py          chunks on their way from one hook to the next
    group_members.py           several files as one stream
    sizing.py                  how large chunks are
    checkpoint.py              what is saved of a file, and whether it is still valid
    checkpoint_folder.py       where it is saved
"""
