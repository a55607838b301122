"""`ChunkedMultiPipe`: the hooks of one file, for files larger than memory.

Owns what the hooks do with a stream of chunks in place of whole data.
`bigpipe.streaming.chunked.flow` passes chunks from hook to hook, `bigpipe.streaming.chunked.sizing`
sets their length. All else is as for whole files, in `bigpipe.hooks` and `bigpipe.pipeline`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from bigpipe import context
from bigpipe.budget import parse_bytes
from bigpipe.context import FileContext, name_of
from bigpipe.errors import OptionError, warn
from bigpipe.fingerprint import fingerprint_of
from bigpipe.formats import HDF5, format_of
from bigpipe.hooks import Hooks
from bigpipe.measure import usable_memory
from bigpipe.options import Options
from bigpipe.outname import outname_with_extension
from bigpipe.pipeline import BigMultiPipe
from bigpipe.running.plan import Plan
from bigpipe.steps import bmp_cleanup
from bigpipe.streaming.chunked.checkpoint import can_resume
from bigpipe.streaming.chunked.flow import Flow, Source
from bigpipe.streaming.chunked.group_members import Members, SeekableMembers
from bigpipe.streaming.chunked.parts import Batch, Call, Part
from bigpipe.streaming.chunked.passage import CHUNKING, ChunkedPassage, Chunking
from bigpipe.streaming.chunked.sizing import (
    COPIES,
    check_length,
    check_overlap,
    checked_seconds,
    chunk_bytes_for,
    file_bytes,
)
from bigpipe.streaming.reader import read_chunks
from bigpipe.streaming.steps.base import Step
from bigpipe.streaming.steps.kinds import FunctionStep, as_step, fresh
from bigpipe.streaming.steps.saving import can_save
from bigpipe.streaming.writer import write_chunks

__all__ = ["ChunkedMultiPipe"]

# Keywords, and what read_chunks calls them.
_READING = {"axis": "axis", "chunk_overlap": "overlap", "dataset": "dataset", "hdu": "hdu"}


class ChunkedMultiPipe(BigMultiPipe):
    """Process files larger than memory, chunk by chunk.

    `file_read` returns a stream of chunks. ``data_process`` and the functions of the lists are
    called with each chunk, and `file_write` takes the results. All else is as for `BigMultiPipe`.

    Parameters
    ----------
    checkpoint : float, optional
        Seconds between checkpoints. If a run is killed and repeated, its files continue from their
        last checkpoints. ``None``: no checkpoints. You may also give it to `pipeline`.
    **kwargs
        Options and keywords, as for `BigMultiPipe`. The hooks here use these keywords:

        chunk length
            ``chunk_length``, in samples; or ``chunk_bytes``, at most, such as ``'16 MiB'``. If you
            give neither, the length follows from the memory of the run, and the hooks receive it
            as ``chunk_bytes``. ``chunk_overlap`` is the number of samples that a chunk shares with
            the one before it.
        reading and writing
            ``axis``, along which input and output are cut; ``dataset``, ``hdu``; a dict
            ``read_options`` with further arguments of `read_chunks`; a dict ``write_options``
            with arguments of `write_chunks`. An HDF5 output has its array under the name
            ``dataset`` too.
        naming
            ``outname_ext``, the extension of the outputs.

    Notes
    -----
    A worker is projected to need 100 MB and `chunk_copies` chunks, however long the file is. If the
    budget is smaller, one worker is tried alone: without scipy, 30 MB are often enough.

    With ``batch_size=n``, ``data_process_batch`` receives ``n`` consecutive chunks at a time. With
    ``overlap=True``, the first chunk of the next file is read while the last chunks of this one are
    processed and written.

    Examples
    --------
    >>> import numpy as np
    >>> from bigpipe.streaming import ChunkedMultiPipe
    >>> np.save("ramp.npy", np.arange(1_000_000))
    >>> class Halve(ChunkedMultiPipe):
    ...     def data_process(self, chunk, **kwargs):
    ...         return chunk / 2
    >>> Halve(chunk_length=1000).pipeline(["ramp.npy"], outdir="out", create_outdir=True)
    [('out/ramp_bmp.npy', {})]
    >>> np.load("out/ramp_bmp.npy")[-1]
    np.float64(499999.5)
    """

    chunk_copies: float = COPIES
    """Number of chunks that a worker holds in memory at a time, with the results of its steps. Set
    it in a subclass whose steps need fewer or more."""

    _bmp_outname = staticmethod(outname_with_extension)
    _bmp_passage_cls = ChunkedPassage

    def __init__(self, *args: Any, checkpoint: Any = None, **kwargs: Any) -> None:
        self._bmp_checkpoint = checkpoint
        super().__init__(*args, **kwargs)

    def _bmp_plan(self, in_names: Any, given: dict[str, Any]) -> Plan:
        given = dict(given)
        every = given.pop("checkpoint", None)
        check_overlap(given.get("overlap", self._bmp_own_options().overlap))
        plan = super()._bmp_plan(in_names, given)
        control, options = plan.control, plan.options
        check_length(control)
        every = checked_seconds(self._bmp_checkpoint if every is None else every)
        chunking = replace(self._bmp_chunking(options, plan.n_files), checkpoint_s=every)
        if every is not None:
            self._bmp_warn_of_unsaved(control)
            digest = fingerprint_of(self, control, options.fingerprint).text
            chunking = replace(chunking, fingerprint=digest)
        control[CHUNKING] = chunking  # also for the projector, which has the same dict
        return replace(plan, options=replace(options, batch_size=None))  # it counts chunks here

    def _bmp_chunking(self, options: Options | None = None, n_files: int | None = 1) -> Chunking:
        """Return how files are cut. Without a run, call it without options."""
        if options is None:
            own = self._bmp_own_options()
            memory = own.mem_available, own.mem_frac, own.process_size
            options = Options(1, *memory, batch_size=own.batch_size).checked()
        n_bytes = chunk_bytes_for(options, n_files, self.chunk_copies)
        return Chunking(n_bytes, usable_memory(options)[0], options.batch_size)

    def _bmp_warn_of_unsaved(self, control: dict[str, Any]) -> None:
        steps = self._bmp_listed(control)
        steps += [] if self._bmp_processes_by_method else [self.data_process]
        unsaved = [name_of(each) for each in steps if not self._bmp_can_save(each)]
        if unsaved:
            warn(
                "checkpoint has no effect, and a file whose run is killed starts over: the state "
                f"of {', '.join(unsaved)} cannot be saved. Use a class with the methods "
                "run(chunk), get_state() and set_state(state).",
            )

    def _bmp_can_save(self, function: Any) -> bool:
        return getattr(function, "__self__", None) is self or can_save(function)

    @property
    def _bmp_processes_by_method(self) -> bool:
        return type(as_step(self.data_process)) is FunctionStep

    def projected_size(self, in_name: Any, **kwargs: Any) -> Any:
        """Project the memory that a file needs. It does not depend on the length of the file.

        Parameters
        ----------
        in_name : str, os.PathLike or list
            The input.
        **kwargs
            Keywords of the run. ``chunk_length`` and ``chunk_bytes`` are used.

        Returns
        -------
        int or None
            Bytes: 100 MB for the worker, and `chunk_copies` chunks. If three quarters of the budget
            are less, these, as a worker may need less. ``None`` if ``chunk_length`` is given and
            the size of a sample is unknown.
        """
        keywords = self.kwargs_merge(**kwargs)
        n_bytes = keywords.get("chunk_bytes")
        if keywords.get("chunk_length") is not None:
            if type(self).file_read is not ChunkedMultiPipe.file_read:
                return None
            try:
                n_bytes = self.file_read(in_name, **keywords).chunk_nbytes
            except Exception:  # whatever is wrong with the file, the worker reports it
                return None
        chunking = keywords.get(CHUNKING) or self._bmp_chunking()
        if n_bytes is None:
            n_bytes = chunking.chunk_bytes
        return file_bytes(parse_bytes(n_bytes), self.chunk_copies, chunking.run_bytes)

    def stream(self, in_names: Any, **given: Any) -> Any:
        """Not available: chunks go from file to file.

        Raises
        ------
        OptionError
            Always. To loop over processed chunks, use `run_steps` or `Stages`.
        """
        raise OptionError(
            f"{type(self).__name__} processes files chunk by chunk and has no stream(): loop over "
            "run_steps(read_chunks(name), ...) or Stages([...]) of bigpipe.streaming, or use a "
            "BigMultiPipe with inputs (name, start, end)"
        )

    def file_read(self, in_name: Any, **kwargs: Any) -> Any:
        """Open a file to read it chunk by chunk. Override it for formats of your own.

        Called in the worker, once for each file. For a group, this method calls itself for each
        member.

        Parameters
        ----------
        in_name : str, os.PathLike or list
            The input.
        **kwargs
            Keywords for this file. ``chunk_length`` or ``chunk_bytes`` is among them.

        Returns
        -------
        iterable
            The chunks: here, the result of `read_chunks`. For a group, tuples of the first chunks
            of all members, then of the second ones, and so on. ``None`` rejects the file.
        """
        keywords = self.kwargs_merge(**kwargs)
        n, n_bytes = keywords.get("chunk_length"), keywords.get("chunk_bytes")
        if isinstance(in_name, (str, os.PathLike)):
            given = ((theirs, keywords.get(name)) for name, theirs in _READING.items())
            how = {name: value for name, value in given if value is not None}
            how |= keywords.get("read_options") or {}
            return read_chunks(in_name, n=n, nbytes=n_bytes if n is None else None, **how)
        if n is None and n_bytes is not None:
            kwargs["chunk_bytes"] = max(1, parse_bytes(n_bytes) // max(1, len(in_name)))
        members = [self.file_read(name, **kwargs) for name in in_name]
        if not members or not all(map(can_resume, members)):
            return Members(members)
        if n is None:  # chunks that belong together
            kwargs["chunk_length"] = min(member.n for member in members)
            members = [self.file_read(name, **kwargs) for name in in_name]
        return SeekableMembers(members)

    def pre_process(self, data: Any, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        """Run the chunks through the functions and steps of ``pre_process_list``.

        Called in the worker, once for each file.

        Parameters
        ----------
        data : iterable
            What `file_read` returned.
        **kwargs
            Keywords for this file.

        Returns
        -------
        tuple
            ``(chunks, kwargs)``. ``chunks`` is an iterator whose first chunk has been processed;
            ``None`` if all chunks were left out. ``kwargs`` are the keywords, with those that
            functions have added. Keywords added with later chunks reach the functions that come
            after, but not ``outname_create`` and `file_write`.
        """
        kwargs = self._bmp_control(kwargs)
        functions = self._bmp_all_of("pre_process_list", kwargs)
        source = _streamed(data)
        course = source.course
        course.follow(kwargs)

        def call(function: Any, chunk: Any) -> Any:
            result = function(chunk, **kwargs)
            if isinstance(result, dict) and "bmp_data" in result:
                course.add(result.get("bmp_kwargs") or {})
                result = result["bmp_data"]
            return result

        make_parts = partial(self._bmp_parts, functions, "pre_process", course.file, call)
        chunks = self._bmp_flow(source, make_parts, kwargs)
        return (chunks, kwargs) if chunks.has_any() else (None, {})

    def data_process_meta_create(self, data: Any, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        """Process the chunks and make the metadata: ``data_process``, then `post_process`.

        Called in the worker, once for each file.

        Parameters
        ----------
        data : iterator
            What `pre_process` returned.
        **kwargs
            Keywords for this file, ``in_name`` among them.

        Returns
        -------
        tuple
            ``(chunks, meta)``: an iterator whose first chunk has been processed, and a dict that is
            filled as chunks are taken from the iterator. ``None`` in place of the iterator if all
            chunks were left out.
        """
        kwargs = self._bmp_control(kwargs)
        source = _streamed(data)
        source.course.follow(kwargs)
        make_parts = partial(self._bmp_process_parts, source.course.file, kwargs)
        chunks = self._bmp_flow(source, make_parts, kwargs)
        if not chunks.has_any():
            return (None, {})
        source.course.file.begin("post_process")
        return self.post_process(chunks, **kwargs)

    def post_process(self, data: Any, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        """Run the chunks through the functions and steps of ``post_process_list``.

        Called in the worker, once for each file. After the last chunk, metadata marked by
        `bmp_cleanup` is removed.

        Parameters
        ----------
        data : iterator
            The chunks that ``data_process`` returned.
        **kwargs
            Keywords for this file, ``in_name`` among them.

        Returns
        -------
        tuple
            ``(chunks, meta)``, as for `data_process_meta_create`. A step of the list receives the
            dict in ``local_init(bmp_meta=meta, **kwargs)``.
        """
        kwargs = self._bmp_control(kwargs)
        kwargs.pop("bmp_meta", None)
        functions = self._bmp_all_of("post_process_list", kwargs)
        keep_all = kwargs.pop("no_bmp_cleanup", False)
        meta: dict[str, Any] = {}
        source = _streamed(data)
        keywords = {**kwargs, "bmp_meta": meta}
        source.course.follow(keywords)

        def call(function: Any, chunk: Any) -> Any:
            return function(chunk, **keywords)

        def clean_up() -> None:
            if not keep_all:
                bmp_cleanup(None, bmp_meta=meta)

        file = source.course.file
        make_parts = partial(self._bmp_parts, functions, "post_process", file, call)
        chunks = self._bmp_flow(source, make_parts, keywords, clean_up)
        return (chunks if chunks.has_any() else None, meta)

    def file_write(self, data: Any, outname: Any, **kwargs: Any) -> Any:
        """Write the output as the chunks come. Override it for formats of your own.

        Called in the worker, once for each file that is not rejected.

        Parameters
        ----------
        data : iterator
            The processed chunks. Chunks that are not taken are not processed.
        outname : str
            The file to write. Its extension gives the format.
        **kwargs
            Keywords for this file, ``in_name`` and ``meta`` among them. ``meta`` is complete when
            all chunks have been taken.

        Returns
        -------
        str or None
            The name written.
        """
        super().file_write(data, outname, **kwargs)
        keywords = self.kwargs_merge(**kwargs)
        writing: dict[str, Any] = {}
        if keywords.get("axis") is not None:
            writing["axis"] = keywords["axis"]
        if keywords.get("dataset") is not None and format_of(os.fspath(outname)) in HDF5:
            writing["dataset"] = keywords["dataset"]  # as FunctionPipe does
        in_name = keywords.get("in_name")
        given = keywords.get("write_options") or {}
        if isinstance(in_name, (str, os.PathLike)) and "like" not in given:
            writing |= {"like": in_name, **_array_read(keywords)}
        writing |= given
        passage = self._bmp_current_passage()
        file = None if passage is None else passage.checkpointed(data, keywords["meta"], writing)
        if file is None:
            write_chunks(outname, data, **writing)
        else:
            file.write(os.fspath(outname))
        return outname

    def _bmp_current_passage(self) -> ChunkedPassage | None:
        file = context.current()
        return file.passage if file is not None and file.pipe is self else None

    def _bmp_flow(self, source: Source | Flow, *arguments: Any) -> Flow:
        """Return a stream that is always closed at the end."""
        flow = Flow(source, *arguments)
        passage = self._bmp_current_passage()
        if passage is not None:
            passage.note(flow)
        return flow

    def _bmp_parts(
        self,
        functions: Sequence[Any],
        hook: str,
        file: FileContext,
        call: Callable[[Any, Any], Any],
    ) -> list[Step]:
        """Return the functions and steps of a list as fresh steps."""
        parts: list[Step] = []
        for function in functions:
            step = as_step(function)
            if type(step) is FunctionStep:
                step = Call(function, partial(call, function), self._bmp_can_save(function))
            else:
                step = as_step(fresh(function))
            parts.append(Part(step, partial(file.begin, hook, function)))
        return parts

    def _bmp_process_parts(self, file: FileContext, kwargs: dict[str, Any]) -> list[Step]:
        """Return the part that processes chunks: a step, a method, or the method for batches."""
        method = self.data_process
        if not self._bmp_processes_by_method:
            note = partial(file.begin, "data_process", method)
            return [Part(as_step(fresh(method)), note)]
        passage = self._bmp_current_passage()
        size = self._bmp_options.batch_size if passage is None else passage.chunking.batch_size
        is_own = type(self).data_process is not Hooks.data_process or "data_process" in vars(self)
        if self._bmp_has_batches and (size or not is_own):
            batch = Batch(self, int(size or 1), kwargs)
            return [Part(batch, partial(file.begin, "data_process_batch"))]
        if not is_own:
            return []
        step = Call(method, lambda chunk: method(chunk, **kwargs), self._bmp_can_save(method))
        return [Part(step, partial(file.begin, "data_process"))]


def _streamed(data: Any) -> Source | Flow:
    """Return the stream that a hook was given; make one of other chunks."""
    if isinstance(data, Flow):
        return data
    return Source(data, context.current() or FileContext(None))


def _array_read(keywords: dict[str, Any]) -> dict[str, Any]:
    """Return, as a keyword of the writer, which array of the input is read."""
    reading = {**keywords, **(keywords.get("read_options") or {})}
    given = [reading[name] for name in ("dataset", "hdu") if reading.get(name) is not None]
    return {"like_array": given[0]} if given else {}
