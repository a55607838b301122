"""What a run would do, and why, without running anything.

Owns the preview: which files would run, what problems are foreseeable, and how much memory, disk
and time a run needs. Both `bigpipe.run` and this module ask `bigpipe.running.resume` which files
are done.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from bigpipe.budget import format_bytes, parse_bytes
from bigpipe.durations import format_seconds
from bigpipe.errors import BigpipeError, UnsendableError, shown
from bigpipe.file_states import flat_names, key_of
from bigpipe.fingerprint import fingerprint_of
from bigpipe.input_files import file_size, is_compressed
from bigpipe.journal_store.lock import holder_of
from bigpipe.journal_store.reader import JournalReader, opened
from bigpipe.journal_store.rows import FileRow, pipe_name
from bigpipe.measure import count_workers, usable_memory
from bigpipe.moving import status_of
from bigpipe.plurals import plural
from bigpipe.running.memory_watch import need_of
from bigpipe.running.plan import Plan, plain
from bigpipe.running.resume import Look, Resume
from bigpipe.scheduling.admission import Need
from bigpipe.scheduling.projection import Projector

__all__ = ["PlannedFile", "Preview", "Step", "preview"]

N_SAMPLE = 1000  # files of a journal from which sizes and times are foreseen; arbitrary
MAX_SHOWN = 10  # names under each heading of the text; arbitrary, fits a terminal


class Step(StrEnum):
    """What a run would do with an input."""

    RUN = "run"
    """Run it for the first time with this journal, or without a journal."""
    AGAIN = "run again"
    """Run it again."""
    KEEP = "keep"
    """Take its result from the journal, which shows it finished."""


@dataclass(slots=True)
class PlannedFile:
    """What a run would do with one input."""

    index: int
    """Position of the input in ``in_names``, from 0."""
    in_name: Any
    """The input as it was given."""
    step: Step
    """What would be done with it."""
    reasons: list[str] = field(default_factory=list)
    """Why it must be run again."""
    problems: list[str] = field(default_factory=list)
    """Foreseeable reasons why it would fail."""
    outname: str | None = None
    """Name of its output: the one in the journal, or the predicted one if there is any."""
    size: int | None = None
    """Size on disk in bytes; ``None`` if the input is not a file."""
    projected: int | None = None
    """Projected memory of a worker for this file, in bytes; ``None`` if nothing is known."""


@dataclass(slots=True)
class Preview:
    """What a run would do; returned by `bigpipe.BigMultiPipe.plan`."""

    files: list[PlannedFile]
    """The plan for each input, in input order."""
    problems: list[str]
    """Problems of the whole run."""
    n_workers: int
    """Number of files that would be processed at once."""
    budget: int
    """Bytes that all workers together would use at most."""
    disk_needed: int | None
    """Estimated size of the outputs in bytes, from the ratio of output to input in the journal,
    or equal to the size of the inputs without one."""
    disk_free: int | None
    """Free bytes in the output folder; ``None`` if unknown."""
    seconds: float | None
    """Estimated duration of the run, from the times in the journal; ``None`` without one."""

    def with_step(self, step: Step | str) -> list[PlannedFile]:
        """Return the files that have this step."""
        return [file for file in self.files if file.step == step]

    @property
    def is_good(self) -> bool:
        """Whether no problem is known."""
        return not self.problems and not any(file.problems for file in self.files)

    def __str__(self) -> str:
        counts = Counter(file.step for file in self.files)
        steps = ", ".join(f"{counts[step]} to {step}" for step in Step if counts[step])
        n = len(self.files)
        head = f"{n} {plural(n, 'file')}{': ' if steps else ''}{steps}"
        head += f"; {self.n_workers} at once, within {format_bytes(self.budget)} of memory"
        if self.seconds is not None:
            head += f", in about {format_seconds(self.seconds)}"
        lines = [head]
        if self.disk_needed is not None and self.disk_free is not None:
            lines.append(
                f"outputs of about {format_bytes(self.disk_needed)}; "
                f"{format_bytes(self.disk_free)} of disk are free"
            )
        lines += [f"problem: {problem}" for problem in self.problems]
        lines += _grouped("problem", ((p, file) for file in self.files for p in file.problems))
        lines += _grouped("again", ((r, file) for file in self.files for r in file.reasons))
        return "\n".join(lines)


def _grouped(head: str, items: Iterable[tuple[str, PlannedFile]]) -> list[str]:
    """Return a line for each text, with the files that it concerns."""
    files: dict[str, list[Any]] = {}
    for text, file in items:
        files.setdefault(text, []).append(file.in_name)
    lines = []
    for text, names in list(files.items())[:MAX_SHOWN]:
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        lines.append(f"{head}: {shown(names[0])}{more}: {text}")
    if len(files) > MAX_SHOWN:
        lines.append(f"{head}: {len(files) - MAX_SHOWN} more kinds")
    return lines


def preview(pipe: Any, plan: Plan) -> Preview:
    """Find out what a run would do.

    Parameters
    ----------
    pipe : BigMultiPipe
        The pipeline.
    plan : Plan
        The plan of the run.
    """
    return _Previewer(pipe, plan).look()


class _Previewer:
    def __init__(self, pipe: Any, plan: Plan) -> None:
        self._pipe = pipe
        self._plan = plan
        self._options = plan.options
        self._names = [plain(in_name) for in_name in plan.in_names]
        self._problems: list[str] = []
        self._reader: JournalReader | None = None

    def look(self) -> Preview:
        try:
            n_workers = count_workers(len(self._names), self._options)
        except BigpipeError as error:
            n_workers = 0
            self._problems.append(str(error))
        budget = usable_memory(self._options)[0]
        self._open_journal()
        try:
            resume = self._resume()
            files = [self._file(i, name, resume) for i, name in enumerate(self._names)]
            rows = self._rows()
        finally:
            if self._reader is not None:
                self._reader.close()
        self._look_at_names(files)
        self._look_at_memory(files, rows, budget)
        self._look_at_sending(n_workers)
        to_run = [file for file in files if file.step is not Step.KEEP]
        needed, free = self._look_at_disk(to_run, rows)
        return Preview(
            files,
            self._problems,
            n_workers,
            budget,
            needed,
            free,
            _seconds(to_run, rows, n_workers),
        )

    def _open_journal(self) -> None:
        path = self._options.journal
        if path is None:
            return
        holder = holder_of(os.fspath(path))
        if holder is not None:
            self._problems.append(
                f"the journal {os.fspath(path)!r} is in use by process {holder.get('pid')} on "
                f"{holder.get('host')}"
            )
        if os.path.exists(path) and os.path.getsize(path):
            self._reader = opened(os.fspath(path))

    def _rows(self) -> list[FileRow]:
        if self._reader is None:
            return []
        return self._reader.written(N_SAMPLE, pipe_name(self._pipe))

    def _resume(self) -> Resume | None:
        if self._reader is None:
            return None
        fingerprint = fingerprint_of(self._pipe, self._plan.control, self._options.fingerprint)
        for name, reason in fingerprint.unstable:
            self._problems.append(f"{name} has no stable fingerprint ({reason}): give fingerprint")
        run = 1 + max(self._reader.runs(), default=0)
        return Resume(self._reader, run, pipe_name(self._pipe), fingerprint, self._options)

    def _file(self, index: int, in_name: Any, resume: Resume | None) -> PlannedFile:
        file = PlannedFile(index, in_name, Step.RUN, size=file_size(in_name))
        look = Look(()) if resume is None else resume.look(index, in_name, key_of(in_name))
        if look.result is not None:
            file.step = Step.KEEP
            outname = look.result.outname
            if isinstance(outname, (str, bytes, os.PathLike)):
                file.outname = os.fsdecode(outname)
            if any(look.checksums or ()):
                file.reasons.append("if its content has changed, which the run will check")
            return file
        if look.reasons:
            file.step, file.reasons = Step.AGAIN, look.reasons
        for name in flat_names(in_name):
            if not os.path.lexists(name):
                file.problems.append("the input is missing")
            elif not os.path.exists(name):
                file.problems.append("the input is a broken link")
            elif not os.access(name, os.R_OK):
                file.problems.append("the input cannot be read: its permissions do not allow it")
        if self._options.journal is not None and key_of(in_name) == key_of(self._options.journal):
            file.problems.append("the input is the journal: take it out of in_names")
        if file.size == 0:
            file.problems.append("the input is empty")
        return file

    def _look_at_names(self, files: list[PlannedFile]) -> None:
        inputs: dict[tuple[int, int], str] = {}
        for file in files:
            for name in flat_names(file.in_name):
                identity = _identity(name)
                if identity is not None:
                    inputs.setdefault(identity, name)
        owners: dict[str, PlannedFile] = {}
        folders: dict[str, str | None] = {}
        for file in sorted(files, key=lambda file: file.step is not Step.KEEP):
            if file.step is not Step.KEEP:
                file.outname = self._predicted(file.in_name)
            if file.outname is None:
                continue
            path = os.path.realpath(file.outname)
            owner = owners.setdefault(path, file)
            if owner is not file:
                file.problems.append(f"{shown(owner.in_name)} has the same output {file.outname!r}")
            identity = _identity(path)
            if identity in inputs:
                file.problems.append(
                    f"its output {file.outname!r} would overwrite the input {inputs[identity]!r}"
                )
            if file.step is not Step.KEEP:
                folder = os.path.dirname(path)
                if folder not in folders:
                    folders[folder] = self._refusal_of(folder)
        self._problems += [refusal for refusal in folders.values() if refusal is not None]

    def _predicted(self, in_name: Any) -> str | None:
        if self._plan.predict is None:
            return None
        try:
            return self._plan.predict(in_name)
        except Exception:  # for example a group: the name may depend on the data
            return None

    def _refusal_of(self, folder: str) -> str | None:
        if os.path.isdir(folder):
            is_open = os.access(folder, os.W_OK | os.X_OK)
            return None if is_open else f"the folder {folder!r} cannot be written to"
        if os.path.lexists(folder):
            return f"{folder!r}, where outputs would go, is not a folder"
        if not self._options.create_outdir:
            return f"the folder {folder!r} does not exist: make it, or give create_outdir=True"
        return None

    def _look_at_memory(self, files: list[PlannedFile], rows: list[FileRow], budget: int) -> None:
        projector = Projector(budget)
        rows = [row for row in rows if row.growth is not None]
        for row in rows:
            projector.learn(need_of(row), row.growth or 0)
        for file in files:
            if file.step is Step.KEEP:
                continue
            try:
                given = None if self._plan.project is None else self._plan.project(file.in_name)
                given = None if given is None else parse_bytes(given)
            except Exception as error:  # the caller's function may raise anything
                file.problems.append(f"its size cannot be projected ({error})")
                continue
            if given is not None:
                file.projected = given
                if given > budget:
                    file.problems.append(
                        f"it needs {format_bytes(given)} of memory, but {format_bytes(budget)} may "
                        "be used"
                    )
            elif rows:
                need = Need(size=file.size, is_compressed=is_compressed(file.in_name))
                file.projected = projector.project(need)

    def _look_at_sending(self, n_workers: int) -> None:
        executor = self._options.executor
        if executor not in (None, "processes") or (executor is None and n_workers <= 1):
            return
        from bigpipe.sharing.snapshot import Snapshot, pickled_for_workers

        try:
            Snapshot(self._plan.control).close()
            if self._options.start_method in ("forkserver", "spawn"):
                pickled_for_workers(self._pipe, self._pipe, self._plan.control)
        except UnsendableError as error:
            self._problems.append(str(error))

    def _look_at_disk(
        self, to_run: list[PlannedFile], rows: list[FileRow]
    ) -> tuple[int | None, int | None]:
        sizes = [file.size or 0 for file in to_run]
        before = [(row.n_bytes or 0, _output_bytes_of(row)) for row in rows]
        n_in, n_out = (sum(column) for column in zip(*before, strict=True)) if before else (0, 0)
        needed = int(sum(sizes) * (n_out / n_in if n_in else 1.0))
        folder = os.path.abspath(self._options.outdir or os.curdir)
        while not os.path.isdir(folder) and folder != os.path.dirname(folder):
            folder = os.path.dirname(folder)
        try:
            free = shutil.disk_usage(folder).free
        except OSError:
            return needed, None
        if needed > free:
            self._problems.append(
                f"outputs of about {format_bytes(needed)} do not fit into the "
                f"{format_bytes(free)} that are free in {folder!r}"
            )
        return needed, free


def _identity(name: str) -> tuple[int, int] | None:
    status = status_of(name)
    return None if status is None else (status.st_dev, status.st_ino)


def _output_bytes_of(row: FileRow) -> int:
    return sum(state[0] for _, state in row.placed if state is not None)


def _seconds(to_run: list[PlannedFile], rows: list[FileRow], n_workers: int) -> float | None:
    """Estimate the duration: the same time per byte as the files in the journal."""
    if not rows or not n_workers:
        return None
    spent = sum(sum(row.hook_seconds.values()) for row in rows)
    n_bytes = sum(row.n_bytes or 0 for row in rows)
    sizes = [file.size for file in to_run]
    if n_bytes and None not in sizes:
        work = spent * sum(size or 0 for size in sizes) / n_bytes
    else:
        work = spent / len(rows) * len(to_run)
    return work / n_workers
