"""`BigMultiPipe`: the hooks of one file, run over many files.

Owns the options and keywords of an object and of a run. The hooks themselves are in
`bigpipe.hooks`; `bigpipe.run` decides how many files are processed at once, and where.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import product, takewhile
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from bigpipe.errors import OptionError, PipelineError, TooManyErrorsError, warn
from bigpipe.hooks import Hooks
from bigpipe.options import CONTROL_OPTIONS, FUNCTION_LISTS, NAMES, Options, assure_list, slips
from bigpipe.outname import OUTNAME_APPEND, outname_creator, outname_maker
from bigpipe.passage import RESERVED
from bigpipe.plurals import plural
from bigpipe.pout import Pout
from bigpipe.run import Run
from bigpipe.running.outcomes import warn_of_lost_data
from bigpipe.running.plan import Plan, checked_in_names

if TYPE_CHECKING:
    from bigpipe.feeding import Stream
    from bigpipe.preview import Preview
    from bigpipe.records import FileResult

__all__ = ["BigMultiPipe"]

# Options that are public attributes of the object, under their own names. The others share one
# private attribute, as an existing subclass may use their names for attributes of its own.
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
    """Read, process and write many files at once, within the memory that is available.

    Write a subclass that overrides `file_read`, `data_process` and `file_write`, or any other
    hook. `pipeline` then runs the hooks on each file of a list.

    Parameters
    ----------
    num_processes : int or float, optional
        Maximum number of workers. ``None`` or 0 means all physical cores, a number below 1
        that fraction of them.
    mem_available : int or str, optional
        Memory that all workers together may use: bytes, or text such as ``'12 GiB'``.
    mem_frac : float, optional
        Fraction of the currently available memory to use if ``mem_available`` is not given.
    process_size : int, str or callable, optional
        Memory that a worker needs for one file at most, or a function of the input that returns
        it. ``None`` means that bigpipe learns it from the files.
    outdir : str or os.PathLike, optional
        Output folder; ``None`` means the current one.
    create_outdir : bool, optional
        Create the folder of an output if it is missing.
    outname_append : str, optional
        Text inserted between an input's base name and its extension.
    outname : str or os.PathLike, optional
        Exact name of the output, within ``outdir``.
    pre_process_list, post_process_list : function or list of functions, optional
        Functions run before and after `data_process`, in list order. ``None`` means the list
        that the class body sets, if any.
    PoolClass : type, optional
        Pool class to use instead of bigpipe's own workers.
    **kwargs
        The other options (`bigpipe.options.Options` lists all of them) and keywords for the
        hooks.

    Notes
    -----
    Options are checked when a run starts, not here. Each worker has its own copy of the object:
    what a hook sets on ``self`` stays in that worker.

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
    """Keywords that hooks use without naming them as parameters."""

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
        """Process files, as many at once as cores and memory allow.

        Parameters
        ----------
        in_names : iterable
            File names (`str` or `os.PathLike`). A (nested) list among them is a group, which
            makes one output. No output may overwrite an input. With an iterator, only the inputs
            read so far are protected: pass a list if outputs may have the names of inputs.
        **options_and_kwargs
            Options of the constructor, for this run only, and keywords for the hooks. They take
            precedence over those of the object; ``None`` means not given. ``pre_process_list``
            and ``post_process_list`` are appended to the object's lists.

        Returns
        -------
        Pout
            A list of ``(outname, meta)``, one for each input, in input order.

        Raises
        ------
        PipelineError
            If files failed, after all others were processed (``on_error='finish'``).
        TooManyErrorsError
            If errors stopped the run: ``max_errors`` files failed, or the first 20 files all
            failed in the same way. Its ``pout`` holds the files that had ended.
        FileError
            For the first file that fails, if ``on_error='raise'``.
        OptionError
            If an option has an invalid value.
        MemoryBudgetError
            If not even one worker fits into the memory budget.
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
        del results  # or an error that a notebook keeps would keep the workers' keywords
        if stop is not None:
            raise TooManyErrorsError(stop, pout.errors, pout)
        if pout.errors and plan.options.on_error == "finish":
            n_files = len(pout)
            message = f"{len(pout.errors)} of {n_files} {plural(n_files, 'file')} failed"
            raise PipelineError(message, pout.errors, pout)
        warn_of_lost_data(self, ended)
        return pout

    def plan(self, in_names: Iterable[Any], **options_and_kwargs: Any) -> Preview:
        """Report what `pipeline` would do, and why, without running anything.

        Parameters
        ----------
        in_names : iterable
            As for `pipeline`.
        **options_and_kwargs
            As for `pipeline`.

        Returns
        -------
        Preview
            For each file: whether it would be run, run again (and why), or skipped because the
            journal shows it finished, and its output name where that can be predicted. For the
            run: problems (missing or unreadable inputs, outputs that collide or would overwrite
            an input, keywords that cannot be pickled, too little memory or disk space) and,
            if the journal has timings, an estimate of the time. Printed, it is a summary.

        Raises
        ------
        OptionError
            If an option has an invalid value.
        JournalError
            If the journal cannot be read.

        Notes
        -----
        Only names and sizes are read, not the content of files. An output name that depends on
        the data or on a hook of the subclass cannot be predicted.
        """
        from bigpipe.preview import preview

        return preview(self, self._bmp_plan(in_names, options_and_kwargs))

    def iter_pipeline(
        self, in_names: Iterable[Any], *, ordered: bool = False, **options_and_kwargs: Any
    ) -> Iterator[FileResult]:
        """Process files and yield the result of each as it ends.

        Parameters
        ----------
        in_names : iterable
            As for `pipeline`; an iterator is read only as fast as files are processed.
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
            For the first file that fails, if ``on_error='raise'``. With other values of
            ``on_error``, failed files raise nothing here.
        TooManyErrorsError
            If errors stopped the run.

        Notes
        -----
        When an error stops the run, or reading ``in_names`` raises, the files that have ended
        by then are yielded first (in input order with ``ordered=True``) and the exception is
        raised after them. Files still in a worker or not begun are not yielded. After Ctrl-C
        nothing more is yielded.

        Results are not kept once they are yielded, so memory stays flat for any number of
        files. Leaving the loop, or calling ``close()`` on the iterator, ends the workers.
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
        """Process files and pass the data themselves to a loop, instead of writing them.

        Parameters
        ----------
        in_names : iterable
            As for `pipeline`. A tuple ``(name, start, end)`` is a part of a file, along its
            first axis; see Notes.
        batch_size : int, optional
            Number of data in each batch that the loop gets. ``None`` means no batches: the loop
            gets the data one by one.
        prefetch : int, optional
            Number of data that workers may prepare ahead of the loop, not counting those the
            loop already has. ``None`` means two for each worker, or one batch if that is more.
        collate : callable, optional
            Makes a batch from a list of data, in the caller's process. ``None`` means
            `numpy.stack` for arrays of one shape and dtype, and the list itself for other data.
        drop_last : bool, optional
            Drop the last batch if it is not full.
        on_error : {'raise', 'skip'}, optional
            ``'raise'`` raises the error of a failed file when its turn comes. ``'skip'`` leaves
            the file out, adds the error to `Stream.errors` and logs it.
        **options_and_kwargs
            As for `pipeline`, without the options that concern outputs or the processing order.

        Returns
        -------
        Stream
            Yields the data in input order. Each new loop over it uses the same workers.

        Raises
        ------
        OptionError
            If an option has an invalid value, or has no effect here.

        Notes
        -----
        Files pass through `file_read`, `pre_process`, `data_process` and `post_process`.
        `outname_create` and `file_write` are not called, and metadata stays in the worker.
        Rejected files are left out.

        For a part of a file, `file_read` receives ``start`` and ``end`` if it has parameters of
        these names; otherwise bigpipe slices what it returns. A `FunctionPipe` without a function
        ``read`` reads only that part if the format allows it.
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
        """Check the options and keywords of a run and gather them into a plan."""
        names = checked_in_names(in_names)
        if not hasattr(self, "kwargs"):
            raise OptionError(
                f"{type(self).__name__} never called the constructor of BigMultiPipe: call "
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
                    f"{name!r} cannot be a keyword: bigpipe calls the hooks with an argument of "
                    "that name. Rename the keyword."
                )
        doubts = options.doubts() | self._bmp_overridden(options) | self._bmp_doubts(control)
        for doubt in doubts.values():
            warn(doubt)
        predict = self._bmp_predictor(control)
        return Plan(names, options, control, predict, self._bmp_projector(options, control))

    def _bmp_doubts(self, control: dict[str, Any]) -> dict[str, str]:
        """Return warnings by keyword: unknown keywords that resemble a known one."""
        known = {*NAMES, *self._bmp_keywords}
        return slips(control, self._bmp_called(control), known)

    def _bmp_overridden(self, options: Options) -> dict[str, str]:
        """Return warnings by option: options set in a class body that the run does not use."""
        bodies = takewhile(lambda cls: cls is not BigMultiPipe, type(self).__mro__)
        doubts = {}
        for cls, name in product(bodies, _ATTRIBUTES):
            value = vars(cls).get(name)
            default = getattr(_DEFAULTS, name)
            if value is None or hasattr(value, "__get__") or name in FUNCTION_LISTS:
                continue
            if value != default and getattr(options, name) == default:
                doubts[name] = (
                    f"{name} = {value!r} in the body of {cls.__name__} has no effect, because the "
                    f"constructor sets it to {default!r}. Pass it to super().__init__(...) instead"
                )
        return doubts

    def _bmp_called(self, control: dict[str, Any]) -> list[Any]:
        """Return everything that a run may call with keywords: hooks and given functions."""
        cls = type(self)
        hooks = [getattr(cls, name) for name in dir(cls) if name[0] != "_"]
        given = [*self._bmp_listed(control), *self._bmp_functions]
        return list(filter(callable, hooks + given))

    @property
    def _bmp_done_by(self) -> dict[str, Any]:
        """The caller's functions that do the work of hooks, by the name of the hook."""
        return {}

    def _bmp_listed(self, control: dict[str, Any]) -> list[Any]:
        """Return the functions of both lists, the object's before the run's."""
        of_run = [function for name in FUNCTION_LISTS for function in control.get(name, ())]
        return [*self.pre_process_list, *self.post_process_list, *of_run]

    def _bmp_predictor(self, control: dict[str, Any]) -> Any:
        """Return a function that predicts output names; ``None`` if names depend on the data."""
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
        """Return a function for the memory a file needs; ``None`` if it has to be learned."""
        size = options.process_size
        if size is not None:
            return size if callable(size) else lambda in_name: size
        if type(self).projected_size is BigMultiPipe.projected_size:
            return None
        return lambda in_name: self.projected_size(in_name, **control)


def _closing(results: Run) -> Iterator[FileResult]:
    """Yield the results of a run, and end the run when this iterator is closed or exhausted."""
    with results:
        yield from results


def _split_options(given: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Split into the options that are not attributes and the keywords for the hooks."""
    options = {name: x for name, x in given.items() if name in NAMES and name not in _ATTRIBUTES}
    return options, {name: x for name, x in given.items() if name not in NAMES}


def _control_of(options: Options) -> dict[str, Any]:
    """Return the options that the hooks receive as keywords."""
    control = {name: getattr(options, name) for name in CONTROL_OPTIONS}
    if control["outname"] is None:
        del control["outname"]
    return control
