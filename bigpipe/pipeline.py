"""`BigMultiPipe`: the hooks of one file, over many files.

Owns the options and keywords of an object and of a run. The hooks are `bigpipe.hooks`; how
many files are processed at once, and where, is `bigpipe.run`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import product, takewhile
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from bigpipe.errors import OptionError, PipelineError, TooManyErrorsError, warn
from bigpipe.hooks import RESERVED, Hooks
from bigpipe.options import CONTROL_OPTIONS, FUNCTION_LISTS, NAMES, Options, assure_list, slips
from bigpipe.outname import OUTNAME_APPEND, outname_creator, outname_maker
from bigpipe.plan import Plan, checked_in_names
from bigpipe.pout import Pout
from bigpipe.run import Run

if TYPE_CHECKING:
    from bigpipe.feeding import Stream
    from bigpipe.preview import Preview
    from bigpipe.records import FileResult

__all__ = ["BigMultiPipe"]

# Options that are attributes of the object under their own names, as they always were.
# The others live in one private attribute: a subclass may have used their names before.
_ATTRIBUTES = (
    "num_processes",
    "mem_available",
    "mem_frac",
    "process_size",
    "outdir",
    "create_outdir",
    "outname_append",
    "pre_process_list",
    "post_process_list",
    "PoolClass",
)
_DEFAULTS = Options()


class BigMultiPipe(Hooks):
    """A pipeline from files to files, run on many files at once.

    A subclass fills in `file_read`, `data_process` and `file_write`, or any other hook;
    `pipeline` runs them over a list of files.

    Parameters
    ----------
    num_processes : int or float, optional
        Workers at most. ``None`` or 0: all physical cores; below 1: that part of them.
    mem_available : int or str, optional
        Bytes that all workers together may use, or text such as ``'12 GiB'``.
    mem_frac : float, optional
        Part of the memory available now to use if ``mem_available`` is not given.
    process_size : int, str or callable, optional
        Bytes that a worker needs for one file at most, or a function of the input that returns
        them; ``None``: learned from the files.
    outdir : str or os.PathLike, optional
        Folder of the outputs; ``None`` for the current one.
    create_outdir : bool, optional
        Make the folder of an output if it is missing.
    outname_append : str, optional
        Text put between an input's base name and its extension.
    outname : str or os.PathLike, optional
        Name of the output, as it is, under ``outdir``.
    pre_process_list, post_process_list : function or list of functions, optional
        Run before and after `data_process`, in this order. ``None``: those of the class, which
        a subclass may set in its body.
    PoolClass : type, optional
        Class of a pool to use in place of bigpipe's own workers.
    **kwargs
        The other options (`bigpipe.options.Options` lists all of them) and the keywords
        of the hooks.

    Notes
    -----
    Nothing is checked here: options are checked when a run starts. A worker has its own
    copy of the object, so what a hook sets on ``self`` stays in that worker.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> class Shout(BigMultiPipe):
    ...     def data_process(self, data, **kwargs):
    ...         return data.upper()
    ...     def file_write(self, data, outname, **kwargs):
    ...         pathlib.Path(outname).write_bytes(data)
    ...         return outname
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     name = pathlib.Path(folder, "a.txt")
    ...     _ = name.write_bytes(b"quiet")
    ...     [(outname, meta)] = Shout(outdir=folder).pipeline([name])
    ...     pathlib.Path(outname).read_bytes()
    b'QUIET'
    """

    _bmp_keywords: frozenset[str] = frozenset()
    """Keywords of the hooks that those do not name as parameters."""

    def __init__(
        self,
        num_processes: Any = None,
        mem_available: Any = None,
        mem_frac: Any = 0.8,
        process_size: Any = None,
        outdir: Any = None,
        create_outdir: Any = False,
        outname_append: Any = OUTNAME_APPEND,
        outname: Any = None,
        pre_process_list: Any = None,
        post_process_list: Any = None,
        PoolClass: Any = None,
        **kwargs: Any,
    ) -> None:
        self.num_processes = num_processes
        self.mem_available = mem_available
        self.mem_frac = mem_frac
        self.process_size = process_size
        self.outdir = outdir
        self.create_outdir = create_outdir
        self.outname_append = outname_append
        self._bmp_set_functions("pre_process_list", pre_process_list)
        self._bmp_set_functions("post_process_list", post_process_list)
        self.PoolClass = PoolClass
        added, self.kwargs = _split_options({**kwargs, "outname": outname})
        self._bmp_options = Options().merged(added)

    def _bmp_own_options(self) -> Options:
        """Return the options of the object, as they are now, unchecked."""
        own = {name: getattr(self, name, None) for name in _ATTRIBUTES}
        return self._bmp_options.merged(own)

    def pipeline(self, in_names: Iterable[Any], **options_and_kwargs: Any) -> Pout:
        """Process files, as many at once as there are cores and memory.

        Parameters
        ----------
        in_names : iterable
            Names (`str` or `os.PathLike`); a (nested) list among them is a group that
            makes one output. No output may overwrite an input; of an iterator, that is known
            only for those read until then: make a list of it if outputs are among them.
        **options_and_kwargs
            Options of the constructor, for this run alone, and keywords of the hooks.
            What is given here wins; ``None`` means not given. ``pre_process_list`` and
            ``post_process_list`` are appended to those of the object.

        Returns
        -------
        Pout
            A list of ``(outname, meta)``, one for each input, in input order.

        Raises
        ------
        PipelineError
            If files failed, after all others were processed (``on_error='finish'``).
        TooManyErrorsError
            If the run was stopped for its errors: ``max_errors``, or the first 20 files have
            all failed in the same way. What has ended is in its ``pout``.
        FileError
            For the first file that fails, if ``on_error='raise'``.
        OptionError
            If an option has a value that cannot be used.
        MemoryBudgetError
            If not even one process fits the memory.
        """
        plan = self._bmp_plan(in_names, options_and_kwargs)
        ended: list[FileResult] = []
        stop = None
        with Run(self, plan) as results:
            try:
                ended.extend(results)
            except TooManyErrorsError as error:
                stop = str(error.message).partition("\n")[0]
            ended.sort(key=attrgetter("index"))
            pout = Pout(ended, results.elapsed_s, results.memory)
        if stop is not None:
            raise TooManyErrorsError(stop, pout.errors, pout)
        if pout.errors and plan.options.on_error == "finish":
            message = f"{len(pout.errors)} of {len(pout)} files failed"
            raise PipelineError(message, pout.errors, pout)
        return pout

    def plan(self, in_names: Iterable[Any], **options_and_kwargs: Any) -> Preview:
        """Tell what `pipeline` would do, and why, without running anything.

        Parameters
        ----------
        in_names : iterable
            As for `pipeline`.
        **options_and_kwargs
            As for `pipeline`.

        Returns
        -------
        Preview
            What would become of each file: run, run again (and why), or kept as the journal
            has it; names that can be known; what is in the way: inputs that are missing or
            cannot be read, outputs that collide or would overwrite an input, keywords that
            cannot be sent, too little memory or disk; time, if the journal tells it. As text,
            a summary.

        Raises
        ------
        OptionError
            If an option has a value that cannot be used.
        JournalError
            If the journal cannot be read.

        Notes
        -----
        Only names and sizes are looked at, no content. Names that data or a hook of the
        subclass decides cannot be known.
        """
        from bigpipe.preview import preview

        return preview(self, self._bmp_plan(in_names, options_and_kwargs))

    def iter_pipeline(
        self, in_names: Iterable[Any], *, ordered: bool = False, **options_and_kwargs: Any
    ) -> Iterator[FileResult]:
        """Process files and yield what became of each as it ends.

        Parameters
        ----------
        in_names : iterable
            As for `pipeline`; read only as fast as files are processed.
        ordered : bool, optional
            Yield in input order rather than in order of completion.
        **options_and_kwargs
            As for `pipeline`.

        Yields
        ------
        FileResult
            One for each input. A file that failed is yielded too, with its error.

        Raises
        ------
        FileError
            For the first file that fails, if ``on_error='raise'``; other values of
            ``on_error`` raise nothing here.
        TooManyErrorsError
            If the run was stopped for its errors.

        Notes
        -----
        An error stops the run at once, and is raised after all that has ended by then was
        yielded: with ``ordered=True`` in input order still, without those files that were at
        work or not begun. So it is if reading ``in_names`` raises. After Ctrl-C nothing more is
        yielded.

        Nothing of a finished file is kept, so that memory stays flat however many files
        there are. Leaving the loop ends the workers, and so does ``close()`` of the iterator.
        """
        plan = self._bmp_plan(in_names, options_and_kwargs)
        return _closing(Run(self, plan, ordered=ordered))

    def stream(
        self,
        in_names: Iterable[Any],
        *,
        batch_size: int | None = None,
        prefetch: int | None = None,
        collate: Callable[[list[Any]], Any] | None = None,
        drop_last: bool = False,
        on_error: str = "raise",
        **options_and_kwargs: Any,
    ) -> Stream:
        """Process files, and feed a loop with the data themselves instead of writing them.

        Parameters
        ----------
        in_names : iterable
            As for `pipeline`. A tuple ``(name, start, end)`` is a part of a file, along its
            first axis; see Notes.
        batch_size : int, optional
            Data that the loop is given at once. ``None``: one by one.
        prefetch : int, optional
            Data that workers may have ready, or at work, ahead of the loop, beside what it has.
            ``None``: two for each worker, or a batch if that is more.
        collate : callable, optional
            Makes a batch of a list of data, in the caller's process. ``None``: an array by
            `numpy.stack` if they are arrays of one shape and dtype, else the list.
        drop_last : bool, optional
            Leave out a last batch that is not full.
        on_error : {'raise', 'skip'}, optional
            What is done about a file that failed: its error is raised in its turn; or it is left
            out, noted in `Stream.errors` and logged.
        **options_and_kwargs
            As for `pipeline`, without those options that are for outputs or the order of work.

        Returns
        -------
        Stream
            Gives the data in input order, as often as it is looped over, by the same workers.

        Raises
        ------
        OptionError
            If an option has a value that cannot be used, or can have no effect.

        Notes
        -----
        Files go through `file_read`, `pre_process`, `data_process` and `post_process`;
        `outname_create` and `file_write` are not called, and metadata stays in the worker. A
        file that is rejected is left out.

        For a part of a file, `file_read` is called with the name and, if it names them among its
        parameters, with ``start`` and ``end``; else what it returns is sliced. A
        `FunctionPipe` without a function ``read`` reads only that part where the format allows.
        """
        from bigpipe.feeding import Stream

        return Stream(
            self,
            checked_in_names(in_names),
            options_and_kwargs,
            batch_size=batch_size,
            prefetch=prefetch,
            collate=collate,
            drop_last=drop_last,
            on_error=on_error,
        )

    def _bmp_plan(self, in_names: Any, given: dict[str, Any]) -> Plan:
        """Check and put together what a run needs to know."""
        names = checked_in_names(in_names)
        if not hasattr(self, "kwargs"):
            raise OptionError(
                f"{type(self).__name__} was made without the constructor of BigMultiPipe: call "
                "super().__init__(...) in its __init__, or in __post_init__ of a dataclass"
            )
        given = {name: x for name, x in given.items() if x is not None or name not in NAMES}
        lists = {name: assure_list(given.pop(name)) for name in FUNCTION_LISTS if name in given}
        named = {name: x for name, x in given.items() if name in NAMES}
        options = self._bmp_own_options().merged(named).checked()
        Options().merged(lists).checked()
        control = self.kwargs_merge(**{k: x for k, x in given.items() if k not in NAMES})
        control.update(_control_of(options))
        control.update(lists)
        for name in RESERVED:
            if name in control:
                raise OptionError(
                    f"{name!r} cannot be a keyword: the hooks are called with an argument of that "
                    "name; give it another"
                )
        doubts = options.doubts() | self._bmp_overridden(options) | self._bmp_doubts(control)
        for doubt in doubts.values():
            warn(doubt)
        predict = self._bmp_predictor(control)
        return Plan(names, options, control, predict, self._bmp_projector(options, control))

    def _bmp_doubts(self, control: dict[str, Any]) -> dict[str, str]:
        """Return what to warn of: keywords that look like others, and that nobody knows."""
        known = {*NAMES, *self._bmp_keywords}
        return slips(control, self._bmp_called(control), known)

    def _bmp_overridden(self, options: Options) -> dict[str, str]:
        """Return what to warn of: options in the body of a class that the run does not have."""
        bodies = takewhile(lambda cls: cls is not BigMultiPipe, type(self).__mro__)
        doubts = {}
        for cls, name in product(bodies, _ATTRIBUTES):
            value = vars(cls).get(name)
            default = getattr(_DEFAULTS, name)
            if value is None or hasattr(value, "__get__") or name in FUNCTION_LISTS:
                continue
            if value != default and getattr(options, name) == default:
                doubts[name] = (
                    f"{name} = {value!r} in the body of {cls.__name__} has no effect, as the "
                    f"constructor sets it to {default!r}: give it to super().__init__(...)"
                )
        return doubts

    def _bmp_called(self, control: dict[str, Any]) -> list[Any]:
        """Return all that a run may call with keywords: hooks, and functions that it was given."""
        cls = type(self)
        hooks = [getattr(cls, name) for name in dir(cls) if name[0] != "_"]
        given = [*self._bmp_listed(control), *self._bmp_functions]
        return list(filter(callable, hooks + given))

    def _bmp_listed(self, control: dict[str, Any]) -> list[Any]:
        """Return the functions of both lists, those of the run after those of the object."""
        of_run = [function for name in FUNCTION_LISTS for function in control.get(name, ())]
        return [*self.pre_process_list, *self.post_process_list, *of_run]

    def _bmp_predictor(self, control: dict[str, Any]) -> Any:
        """Return what gives a file's usual output name, or ``None`` if only its data tells."""
        if type(self).outname_create is not BigMultiPipe.outname_create:
            return None
        if type(self).file_process is not BigMultiPipe.file_process or "outname" in control:
            return None
        names = (*CONTROL_OPTIONS, "outname_ext")
        naming = {name: control[name] for name in names if name in control}
        if self._bmp_outname is outname_creator:
            return outname_maker(**naming)
        return partial(self._bmp_outname, **naming)

    def _bmp_projector(self, options: Options, control: dict[str, Any]) -> Any:
        """Return what gives the memory that a file needs, or ``None`` if it is to be learned."""
        size = options.process_size
        if size is not None:
            return size if callable(size) else lambda in_name: size
        if type(self).projected_size is BigMultiPipe.projected_size:
            return None
        return lambda in_name: self.projected_size(in_name, **control)


def _closing(results: Run) -> Iterator[FileResult]:
    """Yield the results of a run, and end it with this iterator, wherever that is left."""
    with results:
        yield from results


def _split_options(given: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Part the options that are no attributes from the keywords of the hooks."""
    options = {name: x for name, x in given.items() if name in NAMES and name not in _ATTRIBUTES}
    return options, {name: x for name, x in given.items() if name not in NAMES}


def _control_of(options: Options) -> dict[str, Any]:
    """Return the options that the hooks receive."""
    control = {name: getattr(options, name) for name in CONTROL_OPTIONS}
    if control["outname"] is None:
        del control["outname"]
    return control
