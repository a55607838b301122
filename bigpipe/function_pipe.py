"""`FunctionPipe`: a pipeline of functions, for whoever has no wish for a class.

Owns how plain functions take the places of hooks. What reads and writes files where no
function is given is `bigpipe.formats`; everything else is `bigpipe.pipeline`.
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
from bigpipe.plan import Plan
from bigpipe.slices import takes_slices

__all__ = ["FunctionPipe"]

Function = Callable[..., Any]

_UNASKED = (
    *(*CONTROL_OPTIONS, *FUNCTION_LISTS),
    *("outname_ext", "no_bmp_cleanup"),
)
"""Keywords that act without a function that takes them."""


class FunctionPipe(BigMultiPipe):
    """A pipeline made of functions; in all else, a `BigMultiPipe`.

    Parameters
    ----------
    read : callable, optional
        Called as ``read(in_name)``; returns data, or ``None`` to reject the file. If not
        given, the extension of the input decides.
    process : callable, optional
        Called as ``process(data)``; returns data, or ``None`` to reject the file.
    write : callable, optional
        Called as ``write(data, outname)``. May return another name under which it has
        written; anything else that it returns is not used. If not given, the extension of
        the output decides.
    outdir : str or os.PathLike, optional
        Folder of the outputs; ``None`` for the current one.
    outname_ext : str, optional
        Extension of the outputs, such as ``'.png'``, if it is not that of the inputs. May be
        given at the run, too.
    **kwargs
        Options and keywords, as for `BigMultiPipe`.

    Warns
    -----
    BigpipeWarning
        When a run starts, of a keyword that no function takes.

    Notes
    -----
    A function is given, of all keywords that a hook would be, those that it names; all of
    them if it has ``**kwargs``. A function of numpy or another library can so be given as it
    is, if its first argument is the right one. Lambdas and functions that are defined in
    others can be used in every executor, and their code counts where a journal is resumed.

    By extension, these are read and written: FITS (``.fits``, ``.fit``, ``.fts``, also
    followed by ``.gz`` or ``.fz``), ``.npy``, ``.npz``, HDF5 (``.h5``, ``.hdf5``), ``.zarr``,
    images (``.png``, ``.jpg``, ``.tif`` and others), text (``.txt``, ``.csv``, ``.json`` and
    others) as `str`, and all else as `bytes`. The keyword ``hdu`` chooses the HDU of a
    FITS file, ``dataset`` the array of an HDF5 or Zarr file. An array that is written as FITS
    has the header of its input, if that was FITS.

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
        """Read a file by `read`, or by its extension; a group, member by member."""
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
        """Process the data by `process`."""
        if self.process is None:
            return data
        return self._bmp_call("process", self.process, (data,), kwargs)

    def file_write(self, data: Any, outname: Any, **kwargs: Any) -> Any:
        """Write the output by `write`, or by its extension."""
        super().file_write(data, outname, **kwargs)
        write = self.write or formats.write
        returned = self._bmp_call("write", write, (data, outname), kwargs)
        if isinstance(returned, (str, os.PathLike)):
            return returned
        return outname if os.path.lexists(outname) else None

    def _bmp_call(
        self, role: str, function: Function, given: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Call a function with those of the keywords that it takes."""
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
                raise OptionError(f"{role}={function!r} is not a function.")
        return super()._bmp_plan(in_names, given)

    @property
    def _bmp_functions(self) -> tuple[Any, ...]:
        given = (self.read, self.process, self.write)
        return tuple(function for function in given if function is not None)

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
        """Return the keywords that any function takes; ``None`` if one of them takes all."""
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
    """Return the keywords that a function takes beside its first arguments; ``None`` for all."""
    if type(function).__name__ == "ufunc":  # where=, out=: of numpy, not of a pipeline
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
