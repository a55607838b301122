"""The hooks that a subclass overrides, and what each does by default.

Owns what happens to a file between its name and its ``(outname, meta)``. Processes and other
files are the business of `bigpipe.pipeline` and `bigpipe.run`; `bigpipe.passage` has the order.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from typing import Any

from bigpipe import context
from bigpipe.context import FileContext
from bigpipe.options import CONTROL_OPTIONS, FUNCTION_LISTS, Options, assure_list
from bigpipe.outname import outname_creator
from bigpipe.outputs import Stager
from bigpipe.passage import Passage, creates_outdir, make_folder_of, process_batch
from bigpipe.slices import takes_slices
from bigpipe.steps import bmp_cleanup

__all__ = ["Hooks"]

_CONTROL = frozenset(CONTROL_OPTIONS) - {"outname"}


class Hooks:
    """What is done to one file; the base of `bigpipe.BigMultiPipe`."""

    atomic: bool = True
    """Whether outputs appear only when complete: `file_write` then gets a path in a staging
    folder. Set it to ``False`` in a subclass that must write in place."""

    _bmp_options = Options()
    _bmp_outname: Callable[..., str] = staticmethod(outname_creator)
    _bmp_passage_cls = Passage
    kwargs: dict[str, Any]

    def __setattr__(self, name: str, value: Any) -> None:
        if name in FUNCTION_LISTS:  # a subclass may have hidden the property of that name
            value = assure_list(value)
        super().__setattr__(name, value)

    def _bmp_set_functions(self, name: str, given: Any) -> None:
        """Set a list of functions; without a given one, to the list of the class."""
        of_class = next(vars(cls)[name] for cls in type(self).__mro__ if name in vars(cls))
        if isinstance(of_class, property):
            if given is None and of_class.fset is None:
                return  # the property of a subclass that makes the list itself
        elif given is None:
            # Read from the class: read from the object, a function would become a method.
            is_static = isinstance(of_class, staticmethod)
            given = [*assure_list(of_class.__func__ if is_static else of_class)]
        setattr(self, name, given)

    @property
    def pre_process_list(self) -> list[Any]:
        """Functions run before `data_process`; setting ``None`` empties the list.

        A subclass may set the list in its body; the constructor's argument replaces it. Each
        function is called in the worker as ``function(data, **kwargs)`` and returns the data;
        ``None`` to reject the file; or a dict with the key ``'bmp_data'`` (the data) and
        optionally ``'bmp_kwargs'`` (keywords for the remaining hooks of this file).
        """
        return self._pre_process_list

    @pre_process_list.setter
    def pre_process_list(self, value: list[Any]) -> None:
        self._pre_process_list = value

    @property
    def post_process_list(self) -> list[Any]:
        """Functions run after `data_process`; setting ``None`` empties the list.

        A subclass may set the list in its body; the constructor's argument replaces it. Each
        function is called in the worker as ``function(data, bmp_meta=meta, **kwargs)``. It
        stores metadata in ``bmp_meta`` and returns the data, or ``None`` to stop the file there,
        without output.
        """
        return self._post_process_list

    @post_process_list.setter
    def post_process_list(self, value: list[Any]) -> None:
        self._post_process_list = value

    def _bmp_all_of(self, name: str, kwargs: dict[str, Any]) -> list[Any]:
        """Remove a list of functions from the keywords; return it, after the object's list."""
        return [*getattr(self, name), *assure_list(kwargs.pop(name, None))]

    @property
    def _bmp_functions(self) -> tuple[Any, ...]:
        """Functions that hooks call: their keywords are known, their code is fingerprinted."""
        return ()

    def kwargs_merge(self, **kwargs: Any) -> dict[str, Any]:
        """Return the object's keywords, updated with the given ones."""
        return {**self.kwargs, **kwargs}

    def _bmp_control(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        """Return all keywords of a hook, including those given to the constructor."""
        given = kwargs.keys()
        if given >= _CONTROL and (not self.kwargs or given >= self.kwargs.keys()):
            return kwargs  # called in a run, which passes everything
        merged = self.kwargs_merge(**kwargs)
        if merged.keys() >= _CONTROL:
            return merged  # called in a run, which passes everything
        own = {name: getattr(self, name, None) for name in CONTROL_OPTIONS if name != "outname"}
        own["outname"] = self._bmp_options.outname
        own = {name: value for name, value in own.items() if name == "outdir" or value is not None}
        return {**own, **merged}

    def worker_init(self, **kwargs: Any) -> None:
        """Prepare a worker: called once in each, before its first file.

        Use it to open a catalogue or load a model into ``self``. It runs in the worker's
        process, in each thread with ``executor='threads'``, or in the caller's process if files
        are processed there. If it raises, all files fail with its error.
        """

    def worker_exit(self, **kwargs: Any) -> None:
        """Clean up a worker: called once in each that was prepared, after its last file.

        It is also called after an error or Ctrl-C, but not in a worker that was killed. If it
        raises, bigpipe warns.
        """

    def projected_size(self, in_name: Any, **kwargs: Any) -> Any:
        """Return how much memory a file will need, if that is known before it is read.

        Called in the caller's process, once for each file, before a worker gets it. Keep it
        quick: read a header, not the data.

        Parameters
        ----------
        in_name : str, os.PathLike or list
            The input.
        **kwargs
            Keywords of the run.

        Returns
        -------
        number, str or None
            Memory that the worker needs at most while it has the file, its own included, as for
            the option ``process_size``. The default, ``None``, means that bigpipe learns it from
            earlier files.
        """
        return None

    def file_process(self, in_name: Any, **kwargs: Any) -> tuple[Any, Any]:
        """Take one file through all hooks.

        Called in the worker, once for each file. Override it if other code reads, processes
        and writes the file in one call.

        Parameters
        ----------
        in_name : str, os.PathLike or list
            The input.
        **kwargs
            Keywords for this file.

        Returns
        -------
        tuple
            ``(outname, meta)``; ``(None, {})`` if the file was rejected.
        """
        file = context.current()
        if file is not None and file.pipe is self:
            if in_name is file.in_name:
                return self._bmp_file_process(file, in_name, kwargs)
            with file.renamed(in_name):  # the file_process of a subclass passed another name
                return self._bmp_file_process(file, in_name, kwargs)
        # Called directly, outside a run.
        with closing(Stager()) as stager:
            file = FileContext(in_name, pipe=self, stager=stager)
            with context.enter(file):
                return self._bmp_file_process(file, in_name, self._bmp_control(kwargs))

    def _bmp_file_process(
        self, file: FileContext, in_name: Any, kwargs: dict[str, Any]
    ) -> tuple[Any, Any]:
        passage = self._bmp_passage_cls(self, file, in_name, kwargs)
        if passage.read() and passage.prepare() and passage.process():
            passage.write()
        return (passage.outname, passage.meta)

    def _bmp_passage(self, file: FileContext, in_name: Any, kwargs: dict[str, Any]) -> Any:
        """Return a file's passage in parts; ``None`` if a subclass overrides `file_process`."""
        if type(self).file_process is not Hooks.file_process:
            return None
        return self._bmp_passage_cls(self, file, in_name, kwargs)

    def file_read(self, in_name: Any, **kwargs: Any) -> Any:
        """Read a file. Override this hook.

        Called in the worker, once for each file. For a group, this default calls itself for
        each member.

        Parameters
        ----------
        in_name : str, os.PathLike or list
            The input.
        **kwargs
            Keywords for this file.

        Returns
        -------
        object
            The data, or ``None`` to reject the file. The default returns the file's bytes; for
            a group, the list of its members' data.
        """
        if isinstance(in_name, (str, os.PathLike)):
            with open(in_name, "rb") as file:
                return file.read()
        if not isinstance(in_name, Iterable) or isinstance(in_name, bytes):
            raise TypeError(f"{in_name!r} is neither a name (str or path) nor a list of names")
        return [self.file_read(name, **kwargs) for name in in_name]

    def _bmp_read_slice(self, name: Any, start: Any, end: Any, kwargs: dict[str, Any]) -> Any:
        """Read a part of a file along its first axis; slice it if `file_read` takes no part."""
        if takes_slices(self.file_read):
            return self.file_read(name, **{**kwargs, "start": start, "end": end})
        data = self.file_read(name, **kwargs)
        return None if data is None else data[start:end]

    def pre_process(self, data: Any, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        """Run the functions of `pre_process_list`, in order.

        Called in the worker, once for each file.

        Parameters
        ----------
        data : object
            What `file_read` returned.
        **kwargs
            Keywords for this file. Functions in ``pre_process_list`` (one or a list) run after
            the object's own.

        Returns
        -------
        tuple
            ``(data, kwargs)``: the data, or ``None`` if a function rejected the file, and the
            keywords, including those that functions added.
        """
        kwargs = self._bmp_control(kwargs)
        file = context.current()
        for function in self._bmp_all_of("pre_process_list", kwargs):
            if file is not None:
                file.begin("pre_process", function)
            result = function(data, **kwargs)
            if isinstance(result, dict) and "bmp_data" in result:
                kwargs.update(result.get("bmp_kwargs") or {})
                result = result["bmp_data"]
            if result is None:
                return (None, {})
            data = result
        return (data, kwargs)

    def data_process_meta_create(self, data: Any, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        """Process the data and create the metadata: `data_process`, then `post_process`.

        Called in the worker, once for each file.

        Parameters
        ----------
        data : object
            What `pre_process` returned.
        **kwargs
            Keywords for this file, including ``in_name``.

        Returns
        -------
        tuple
            ``(data, meta)``. If the data are ``None``, the file ends without output.
        """
        kwargs = self._bmp_control(kwargs)
        file = context.current()
        if file is not None and file.batched:
            (data,), file.batched = file.batched, ()  # already processed in a batch
            if isinstance(data, BaseException):
                raise data
        else:
            if file is not None:
                file.begin("data_process")
            data = self._bmp_data_process(data, kwargs)
        if data is None:
            return (None, {})
        if file is not None:
            file.begin("post_process")
        return self.post_process(data, **kwargs)

    def data_process(self, data: Any, **kwargs: Any) -> Any:
        """Process the data. Override this hook.

        Called in the worker, once for each file. Should not open files: `file_read` and
        `file_write` do that.

        Parameters
        ----------
        data : object
            What `pre_process` returned.
        **kwargs
            Keywords for this file, including ``in_name``.

        Returns
        -------
        object
            The processed data, or ``None`` to reject the file. The default returns `data`.
        """
        return data

    def data_process_batch(self, data_list: list[Any], **kwargs: Any) -> Any:
        """Process the data of several files at once. Override this hook where that is faster.

        Called in the worker, once for each batch, instead of `data_process` if the run has a
        ``batch_size``. Without ``batch_size``, a class that defines this hook but not
        `data_process` has it called for one file at a time.

        Parameters
        ----------
        data_list : list
            What `pre_process` returned for each file of the batch, at most ``batch_size``.
        **kwargs
            Keywords of the run; ``in_name``, the list of inputs; and ``kwargs_list``, the
            keywords of each file, including those that its ``pre_process_list`` added.

        Returns
        -------
        iterable
            The processed data of each file, in the same order. ``None`` rejects a file, an
            exception fails it. If this hook raises, its files are processed again one by one.
        """
        each = kwargs.pop("kwargs_list")
        return [self.data_process(data, **own) for data, own in zip(data_list, each, strict=True)]

    @property
    def _bmp_has_batches(self) -> bool:
        return type(self).data_process_batch is not Hooks.data_process_batch

    def _bmp_process_batch(
        self, batch: Sequence[tuple[Any, dict[str, Any]]], common: dict[str, Any]
    ) -> list[Any]:
        return process_batch(self, batch, common)

    def _bmp_data_process(self, data: Any, kwargs: dict[str, Any]) -> Any:
        """Call `data_process`, or `data_process_batch` if a nearer class defines that one."""
        if not self._bmp_has_batches or not _comes_before(
            type(self), "data_process_batch", "data_process"
        ):
            return self.data_process(data, **kwargs)
        (data,) = process_batch(self, [(data, kwargs)])
        if isinstance(data, BaseException):
            raise data
        return data

    def post_process(self, data: Any, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        """Run the functions of `post_process_list`, in order, then `bmp_cleanup`.

        Called in the worker, once for each file.

        Parameters
        ----------
        data : object
            What `data_process` returned.
        **kwargs
            Keywords for this file, including ``in_name``. Functions in ``post_process_list``
            (one or a list) run after the object's own. ``no_bmp_cleanup`` keeps metadata that
            functions marked for removal.

        Returns
        -------
        tuple
            ``(data, meta)``: the data, or ``None`` if a function stopped the file, and the dict
            that the functions filled.
        """
        kwargs = self._bmp_control(kwargs)
        kwargs.pop("bmp_meta", None)
        functions = self._bmp_all_of("post_process_list", kwargs)
        keep_all = kwargs.pop("no_bmp_cleanup", False)
        file = context.current()
        meta: dict[str, Any] = {}
        for function in functions:
            if file is not None:
                file.begin("post_process", function)
                if "in_name" in kwargs:
                    kwargs["in_name"] = file.remaining_names(kwargs["in_name"])
            data = function(data, bmp_meta=meta, **kwargs)
            if data is None:
                break
        if meta and not keep_all:
            bmp_cleanup(data, bmp_meta=meta)
        return (data, meta)

    def outname_create(self, in_name: Any, **kwargs: Any) -> Any:
        """Make the name of the output; by default with `outname_creator`.

        Called in the worker, once for each file that is to be written.

        Parameters
        ----------
        in_name : str, os.PathLike or list
            The input.
        **kwargs
            Keywords for this file, plus ``data`` and ``meta``.

        Returns
        -------
        str
            The name, including the path.

        Raises
        ------
        OutnameError
            If no name can be made.
        """
        return self._bmp_outname(in_name, **self._bmp_control(kwargs))

    def file_write(self, data: Any, outname: Any, **kwargs: Any) -> Any:
        """Write the output. Override this hook; the default writes nothing.

        Called in the worker, once for each file that is to be written.

        Parameters
        ----------
        data : object
            The processed data.
        outname : str
            Where to write: the final base name, but in a staging folder. When this hook returns,
            bigpipe moves everything left in that folder into place.
        **kwargs
            Keywords for this file, including ``in_name`` and ``meta``. The default creates the
            output folder if ``create_outdir`` is true in ``meta`` or in the keywords.

        Returns
        -------
        str or None
            The name written.
        """
        own = self._bmp_control({}).get("create_outdir")
        if creates_outdir(kwargs.get("meta"), kwargs.get("create_outdir", own)):
            make_folder_of(os.fspath(outname))
        return outname


def _comes_before(cls: type, name: str, other: str) -> bool:
    """Return whether a nearer class in the MRO defines the method than defines the other."""
    own = [vars(each) for each in cls.__mro__]
    places = [next(i for i, names in enumerate(own) if x in names) for x in (name, other)]
    return places[0] < places[1]
