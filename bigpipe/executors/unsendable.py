"""Reports of files whose result cannot be sent from a worker to its parent.

Owns what is reported instead: a failure that names the part, and whether the output is in place.
Executors send the reports.
"""

from __future__ import annotations

import os
import pickle
import traceback
from dataclasses import replace
from io import BytesIO
from typing import Any

from bigpipe.errors import FileError, WorkerError
from bigpipe.executors.base import Report
from bigpipe.sharing.snapshot import find_unsendable

__all__ = ["report_of_unpicklable", "unpickled_report"]


def report_of_unpicklable(report: Report, raised: Exception) -> Report:
    """Return the report to send in place of one that cannot be pickled."""
    meta = report.meta if isinstance(report.meta, dict) else {"meta": report.meta}
    name, reason = find_unsendable({"outname": report.outname, **meta})
    error = FileError(
        f"the metadata key {name!r} cannot be sent back ({reason}); put only numbers, text, arrays "
        "and the like into bmp_meta, or mark the key for removal with bmp_cleanup",
        hook="post_process",
        traceback="".join(traceback.format_exception(raised)),
    )
    error.__cause__ = raised
    return _failed(report, error)


def unpickled_report(index: int | None, payload: bytes) -> Report:
    """Unpickle a report; if its metadata cannot be unpickled, return the report of a failure.

    Parameters
    ----------
    index : int or None
        The task, if it is known beforehand.
    payload : bytes
        The pickled report.
    """
    try:
        return Report(*pickle.loads(payload))
    except Exception as error:  # a class of the metadata may raise anything here
        failure = FileError(
            "the metadata that the worker sent cannot be unpickled: "
            f"{type(error).__name__}: {error}; "
            "put only numbers, text, arrays and the like into bmp_meta",
            hook="post_process",
        )
        failure.__cause__ = error
        return _failed(_without_objects(index, payload), failure)


def _failed(report: Report, error: FileError) -> Report:
    """Return the report of a file that failed after it was written."""
    outname = report.unnamed if report.outname is None else report.outname
    has_written = report.has_written or outname is not None
    if isinstance(outname, (str, bytes, os.PathLike)) and os.path.lexists(outname):
        error.args = (f"{error}; the output is in place: {os.fsdecode(outname)!r}",)
    elif has_written:
        error.args = (f"{error}; the output may be in place",)
    texts = report.texts
    if texts is not None:  # without the result
        texts = (*texts[:3], None, None, None)
    return replace(
        report,
        outname=None,
        meta={},
        rejected_by=None,
        error=error,
        has_written=has_written,
        texts=texts,
    )


def _without_objects(index: int | None, payload: bytes) -> Report:
    """Unpickle a report without running foreign code: stand-ins replace all objects."""
    try:
        return Report(*_Unpickler(BytesIO(payload)).load())
    except Exception as error:  # a pickle may use a stand-in in a way that it does not support
        if index is None:
            raise WorkerError(
                "the pool returned something that is not the result of a file: leave PoolClass out"
            ) from error
        return Report(index, has_written=True)  # it may have been


class _StandIn:
    """Stands for any object, and for the class or function that makes it."""

    def __new__(cls, *args: Any, **kwargs: Any) -> _StandIn:
        return super().__new__(cls)

    def _ignore(self, *args: Any) -> None:
        pass

    __init__ = __setstate__ = __setitem__ = append = extend = add = _ignore


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if module.partition(".")[0] == "pathlib":
            return super().find_class(module, name)
        return _StandIn
