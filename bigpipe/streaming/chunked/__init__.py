"""Pipelines of files larger than memory, and how one that was killed goes on.

::

    pipeline.py                the hooks, for streams of chunks
    passage.py                 one file's way through them
    flow.py, parts.py          chunks on their way from one hook to the next
    group_members.py           several files as one stream
    sizing.py                  how large chunks are
    checkpoint.py              what is noted of a file, and whether it still holds
    checkpoint_folder.py       where
"""
