"""`FunctionPipe`: a pipeline of plain functions, without a subclass.

Owns how functions take the place of hooks. Without functions for them, `bigpipe.formats` reads
and writes files; everything else is in `bigpipe.pipeline`.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from typing import Any

from bigpipe import formats
from bigpipe.errors import OptionError
from bigpipe.options import CONTROL_OPTIONS, FUNCTION_LISTS
from bigpipe.outname import outname_with_extension
from bigpipe.pipeline import BigMultiPipe
from bigpipe.running.plan import Plan
from bigpipe.slices import takes_slices

__all__ = ["FunctionPipe"]

MAX_NAMES_SHOWN = 5  # names of arrays in a message; arbitrary

Function = Callable[..., Any]

_UNASKED = (
    *(*CONTROL_OPTIONS, *FUNCTION_LISTS),
    *("outname_ext", "no_bmp_cleanup"),
)
"""Keywords that have an effect even if no function takes them."""


class FunctionPipe(BigMultiPipe):
    """A `BigMultiPipe` made of functions, without a subclass.

    Parameters
    ----------
    read : callable, optional
        Called as ``read(in_name)``; returns the data, or ``None`` to reject the file. If not
        given, the format is chosen by the extension of the input.
    process : callable, optional
        Called as ``process(data)``; returns the data, or ``None`` to reject the file.
    write : callable, optional
        Called as ``write(data, outname)``. If it returns a name, that is taken as the name it
        wrote to; any other return value is ignored. If not given, the format is chosen by the
        extension of the output.
    outdir : str or os.PathLike, optional
        Output folder; ``None`` means the current one.
    outname_ext : str, optional
        Extension of the outputs, such as ``'.png'``, if it differs from that of the inputs. May
        also be given for a single run.
    **kwargs
        Options and keywords, as for `BigMultiPipe`.

    Warns
    -----
    BigpipeWarning
        When a run starts, if no function takes a keyword.

    Notes
    -----
    A function receives those keywords that it has as parameters, or all of them if it has
    ``**kwargs``. A function of numpy or another library can therefore be used directly if its
    first argument is the data. Lambdas and nested functions work with every executor, and a
    resumed run detects changes in their code.

    These formats are read and written by extension: FITS (``.fits``, ``.fit``, ``.fts``, also
    followed by ``.gz`` or ``.fz``), ``.npy``, ``.npz``, HDF5 (``.h5``, ``.hdf5``), ``.zarr``,
    images (``.png``, ``.jpg``, ``.tif`` and others), text (``.txt``, ``.csv``, ``.json`` and
    others) as `str`, and anything else as `bytes`. The keyword ``hdu`` selects the HDU of a FITS
    file, ``dataset`` the array of an ``.npz``, HDF5 or Zarr file. An array written as FITS gets the
    header of its input if that is FITS.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     name = pathlib.Path(folder, "a.txt")
    ...     _ = name.write_text("quiet")
    ...     pipe = FunctionPipe(process=str.upper, outdir=folder)
    ...     [(outname, meta)] = pipe.pipeline([name])
    ...     pathlib.Path(outname).read_text()
    'QUIET'
    """

    _bmp_outname = staticmethod(outname_with_extension)

    def __init__(
        self,
        read: Function | None = None,
        process: Function | None = None,
        write: Function | None = None,
        outdir: Any = None,
        *,
        outname_ext: str | None = None,
        **kwargs: Any,
    ) -> None:
        self.read = read
        self.process = process
        self.write = write
        self._bmp_taken: dict[str, tuple[Any, frozenset[str] | None]] = {}
        if outname_ext is not None:
            kwargs["outname_ext"] = outname_ext
        super().__init__(outdir=outdir, **kwargs)

    def file_read(self, in_name: Any, **kwargs: Any) -> Any:
        """Read a file with `read`, or by its extension; read a group member by member."""
        if not isinstance(in_name, (str, os.PathLike)):
            return super().file_read(in_name, **kwargs)
        return self._bmp_call("read", self.read or formats.read, (in_name,), kwargs)

    def _bmp_read_slice(self, name: Any, start: Any, end: Any, kwargs: dict[str, Any]) -> Any:
        if type(self).file_read is not FunctionPipe.file_read:
            return super()._bmp_read_slice(name, start, end, kwargs)
        if self.read is None:
            return self._bmp_call("read_slice", formats.read_slice, (name, start, end), kwargs)
        if takes_slices(self.read):
            return self.file_read(name, **{**kwargs, "start": start, "end": end})
        data = self.file_read(name, **kwargs)
        return None if data is None else data[start:end]

    def data_process(self, data: Any, **kwargs: Any) -> Any:
        """Process the data with `process`."""
        if self.process is None:
            return data
        try:
            return self._bmp_call("process", self.process, (data,), kwargs)
        except Exception as error:
            if self.read is None and isinstance(data, dict):
                first = ", ".join(map(repr, list(data)[:MAX_NAMES_SHOWN]))
                more = ", ..." if len(data) > MAX_NAMES_SHOWN else ""
                error.add_note(
                    f"The data is a dict, because the file has several arrays: {first}{more}. To "
                    "read only one of an HDF5 file or a Zarr store, give its name as the keyword "
                    "dataset."
                )
            raise

    def file_write(self, data: Any, outname: Any, **kwargs: Any) -> Any:
        """Write the output with `write`, or by its extension."""
        super().file_write(data, outname, **kwargs)
        write = self.write or formats.write
        returned = self._bmp_call("write", write, (data, outname), kwargs)
        if isinstance(returned, (str, os.PathLike)):
            return returned
        return outname if os.path.lexists(outname) else None

    def _bmp_call(
        self, role: str, function: Function, given: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Call a function with the keywords that it takes."""
        kwargs = self._bmp_control(kwargs)
        known = self._bmp_taken.get(role)
        if known is None or known[0] is not function:
            known = self._bmp_taken[role] = (function, _keywords_of(function, len(given)))
        names = known[1]
        if names is None:
            return function(*given, **kwargs)
        return function(*given, **{name: x for name, x in kwargs.items() if name in names})

    def _bmp_plan(self, in_names: Any, given: dict[str, Any]) -> Plan:
        for role in ("read", "process", "write"):
            function = getattr(self, role, None)  # there is none without the constructor
            if function is not None and not callable(function):
                raise OptionError(f"{role}={function!r} is not a function")
        return super()._bmp_plan(in_names, given)

    @property
    def _bmp_functions(self) -> tuple[Any, ...]:
        given = (self.read, self.process, self.write)
        return tuple(function for function in given if function is not None)

    @property
    def _bmp_done_by(self) -> dict[str, Any]:
        done_by = {"file_read": self.read, "data_process": self.process}
        return {
            hook: function
            for hook, function in done_by.items()
            if function is not None and getattr(type(self), hook) is getattr(FunctionPipe, hook)
        }

    def _bmp_doubts(self, control: dict[str, Any]) -> dict[str, str]:
        doubts = super()._bmp_doubts(control)
        taken = self._bmp_all_taken(control)
        if taken is None or type(self) is not FunctionPipe:  # hooks of a subclass see all
            return doubts
        unseen = [name for name in control if name not in taken and name not in _UNASKED]
        return {
            **{
                name: f"no function takes the keyword {name!r}: it has no effect" for name in unseen
            },
            **doubts,
        }

    def _bmp_all_taken(self, control: dict[str, Any]) -> set[str] | None:
        """Return the keywords that any function takes; ``None`` if a function takes all."""
        of_data = self._bmp_listed(control)
        if self.process is not None:
            of_data.append(self.process)
        functions = [(self.read or formats.read, 1), (self.write or formats.write, 2)]
        functions += [(function, 1) for function in of_data]
        taken: set[str] = set()
        for function, n_given in functions:
            names = _keywords_of(function, n_given)
            if names is None:
                return None
            taken |= names
        return taken


def _keywords_of(function: Function, n_given: int) -> frozenset[str] | None:
    """Return the keywords that a function takes after its first arguments; ``None`` for all."""
    if type(function).__name__ == "ufunc":  # numpy's where= and out= are not keywords of ours
        return frozenset()
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # some functions written in C have no signature
        return frozenset()
    if any(each.kind is each.VAR_KEYWORD for each in parameters):
        return None
    placed = [each for each in parameters if each.kind is not each.KEYWORD_ONLY]
    taken = placed[n_given:] + [each for each in parameters if each.kind is each.KEYWORD_ONLY]
    return frozenset(
        each.name for each in taken if each.kind not in (each.POSITIONAL_ONLY, each.VAR_POSITIONAL)
    )
