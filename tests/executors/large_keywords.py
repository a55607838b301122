"""The hooks of ``test_keeper.py``; imports little, so that workers start fast."""

from __future__ import annotations

import multiprocessing
import os
import threading
from typing import Any

import numpy as np

from bigpipe.executors import launch
from bigpipe.sharing.pages import PAGE
from tests.pipes import Doubler


def arrays_of(large: Any) -> list[Any]:
    """Return all plain arrays that a keyword is made of."""
    if isinstance(large, dict):
        large = list(large.values())
    if isinstance(large, list):
        return [array for each in large for array in arrays_of(each)]
    if type(large).__name__ == "CCDData":
        return [large.data, large.mask]
    if isinstance(large, np.ma.MaskedArray):
        return [large.data]
    return [np.asarray(large)]


def is_as_given(large: Any) -> bool:
    return all((array == np.ones((), array.dtype)).all() for array in arrays_of(large))


# What hooks do to a keyword, as pre-processing functions.


def write(data, large=None, where=slice(None), **kwargs):
    found = is_as_given(large)
    for array in arrays_of(large):
        if array.flags.writeable and array.size:
            array.reshape(-1, order="A")[where] = np.zeros((), array.dtype)
    return {"bmp_data": data, "bmp_kwargs": {"found": found}}


def write_little(data, **kwargs):
    return write(data, where=slice(-1, None), **kwargs)


def write_here_and_there(data, **kwargs):
    return write(data, where=slice(None, None, 3 * PAGE), **kwargs)


def write_nothing(data, large=None, **kwargs):
    return {"bmp_data": data, "bmp_kwargs": {"found": is_as_given(large)}}


def write_in_thread(data, large=None, **kwargs):
    """Leave a thread behind that writes into the array when the next file has come."""
    found = is_as_given(large)
    before, Late.here.go_on = getattr(Late.here, "go_on", None), threading.Event()
    arguments = (large, Late.here.go_on)
    threading.Thread(target=Late.write, args=arguments, daemon=True).start()
    if before is not None:
        before.set()
    return {"bmp_data": data, "bmp_kwargs": {"found": found and is_as_given(large)}}


class Late:
    """The next file of the same worker, for which threads wait that outlive their file."""

    here = threading.local()

    @staticmethod
    def write(large, go_on):
        go_on.wait(60)
        for array in arrays_of(large):
            array.reshape(-1)[:] = 0


def write_and_fork(data, large=None, **kwargs):
    """Write, and leave a child behind that shares the pages written."""
    answer = write_little(data, large=large)
    if not hasattr(multiprocessing, "kept"):
        multiprocessing.kept = launch.start("fork", "tests.executors.launch_targets:block_quietly")
    return answer


def note_found(data, bmp_meta=None, found=None, large=None, **kwargs):
    bmp_meta["found"] = found
    bmp_meta["place"] = (os.getpid(), arrays_of(large)[0].__array_interface__["data"][0])
    return data


def note_part(data, bmp_meta=None, large=None, **kwargs):
    bmp_meta["part"] = large[:10]
    return note_found(data, bmp_meta=bmp_meta, large=large, **kwargs)


class Keeping(Doubler):
    """Keeps the array of each file, having put the file's own mark into it."""

    def pre_process(self, data, large=None, **kwargs):
        marked = vars(self).setdefault("marked", [])
        found = is_as_given(large) and all((array == mark).all() for array, mark in marked)
        mark = len(marked) + 2
        large[:] = mark
        marked.append((large[10:], mark))
        return super().pre_process(data, large=large, found=found, **kwargs)
