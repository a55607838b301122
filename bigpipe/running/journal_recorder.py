"""How a run uses its journal: it takes finished results from it and records the others.

Owns when the journal is read and written. `bigpipe.running.resume` decides what is finished;
`bigpipe.journal_store.file` owns the file.
"""

from __future__ import annotations

import json
import os
import platform
import reprlib
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

from bigpipe.errors import FileError, shown, warn
from bigpipe.executors.base import Report, Task
from bigpipe.file_states import input_states, key_of
from bigpipe.fingerprint import Fingerprint, fingerprint_of
from bigpipe.journal_store.file import JournalFile
from bigpipe.journal_store.reader import JournalReader
from bigpipe.journal_store.rows import (
    FileRow,
    LiveRow,
    RunRow,
    current_folder,
    file_row,
    file_texts,
    pipe_name,
    written_row,
)
from bigpipe.options import Options
from bigpipe.records import FileResult, Outcome, Sample
from bigpipe.running.plan import Plan
from bigpipe.running.recorder import Recorder
from bigpipe.running.resume import Look, Resume
from bigpipe.staging import remove_dead_staging

__all__ = ["JournalRecorder", "warn_of_unstable"]

LARGE_META = 10 << 20  # characters of metadata above which runs get slow and journals large
N_REMEMBERED = 200  # files of earlier runs from which projections are learned; arbitrary
MAX_SHOWN = 200  # characters of a keyword's value in the journal


class JournalRecorder(Recorder):
    """The journal of one run.

    Parameters
    ----------
    pipe : BigMultiPipe
        The pipeline.
    plan : Plan
        What the run is to do.

    Raises
    ------
    JournalError
        If the journal cannot be used.

    Warns
    -----
    BigpipeWarning
        If changes in a keyword, attribute or function cannot be detected.
    """

    wants_samples = True

    def __init__(self, pipe: Any, plan: Plan) -> None:
        options = plan.options
        fingerprint = fingerprint_of(pipe, plan.control, options.fingerprint)
        warn_of_unstable(fingerprint)
        self.path = os.path.abspath(options.journal)
        self._file = JournalFile(os.fspath(options.journal))
        try:
            run = self._file.begin(_run_row(pipe, plan, fingerprint))
            self._reader = JournalReader(self._file.database)
            self._pipe_name = pipe_name(pipe)
            self._resume = Resume(self._reader, run, self._pipe_name, fingerprint, options)
        except BaseException:
            self._file.close(None)
            raise
        self._run = run
        self._keys: dict[int, str] = {}
        self._looks: dict[int, Look] = {}  # where the journal may tell something
        self._told_of: set[str] = set()
        self._swept: set[str] = set()

    def kept(self, files: Iterable[tuple[int, Any]]) -> dict[int, FileResult | FileError]:
        """Return the results, by index, of files that the journal shows finished."""
        known = ((index, self._known(index, in_name)) for index, in_name in files)
        return {index: found for index, found in known if found is not None}

    def _known(self, index: int, in_name: Any) -> FileResult | FileError | None:
        key = key_of(in_name)
        if key == self.path:
            message = f"{shown(in_name)} is the journal of the run: take it out of in_names"
            return FileError(message, in_name=in_name)
        self._keys[index] = key
        if self._resume.is_new:
            return None
        look = self._looks[index] = self._resume.look(index, in_name, key)
        result = look.result if look.checksums is None else None
        if result is not None and isinstance(result.outname, (str, os.PathLike)):
            self._sweep(os.path.dirname(os.fsdecode(result.outname)))
        return result

    def _sweep(self, folder: str) -> None:
        """Remove staging folders of killed runs, in case this run writes nothing there."""
        if folder not in self._swept:
            self._swept.add(folder)
            remove_dead_staging(folder or os.curdir)

    def prepare(self, tasks: Iterable[Task]) -> None:
        """Make the workers add to the reports of tasks what the journal will record."""
        for task in tasks:
            task.is_recorded = True
            if self._resume.by_checksum:
                look = self._looks.get(task.index)
                task.checksums = look.checksums if look is not None and look.result else ()

    def unchanged(self, index: int) -> FileResult:
        """Return the result of a file whose content a worker has found unchanged."""
        result = self._looks[index].result
        assert result is not None
        return result

    def ended(self, ended: Iterable[tuple[FileResult, Report | None]], *, is_final: bool) -> None:
        """Record the ends of files, or of attempts."""
        for result, report in ended:
            self._note(result, report, is_final)

    def _note(self, result: FileResult, report: Report | None, is_final: bool) -> None:
        index = result.index
        key = self._keys.pop(index, None) if is_final else self._keys.get(index)
        look = self._looks.pop(index, None) if is_final and self._looks else None
        if key is None:
            return
        if result.from_journal:
            assert look is not None
            assert look.number is not None
            self._file.add_kept(index, look.number)
            return
        texts = None if report is None else report.texts
        if texts is None:  # its worker has died, or nothing was run
            texts = file_texts(input_states(result.in_name), result.seconds)
        *_, meta, lost = texts
        is_usual = result.outcome is Outcome.WRITTEN and result.attempts == 1 and lost is None
        now = time.time()
        if is_usual:
            self._file.add(written_row(key, result, texts, now))
        else:
            self._file.add(file_row(self._run, key, result, texts, now, is_final=is_final))
        if lost is not None or len(meta or "") > LARGE_META:
            self._warn_of(result, meta, lost)  # raises if warnings are errors

    def _warn_of(self, result: FileResult, meta: str | None, lost: str | None) -> None:
        if lost is not None and lost not in self._told_of:
            self._told_of.add(lost)
            warn(
                f"the result of {shown(result.in_name)} cannot be stored in the journal: {lost}. "
                "A later run with this journal will run it, and others like it, again.",
            )
        if meta is not None and len(meta) > LARGE_META and "large" not in self._told_of:
            self._told_of.add("large")
            warn(
                f"the metadata of {shown(result.in_name)} takes {len(meta) >> 20} MiB in the "
                "journal: write large objects to a file beside the output",
            )

    def sample(self, sample: Sample, live: list[LiveRow]) -> None:
        """Record a sample of the run, and the current files of the workers."""
        self._file.sample((self._run, *sample), live)

    def flush(self) -> None:
        """Write what was recorded, before the caller gets the results."""
        self._file.flush()

    @property
    def until_due(self) -> float | None:
        """Seconds until `flush` should be called; ``None`` if nothing waits."""
        return self._file.until_due

    def measured(self) -> list[FileRow]:
        """Return the last files whose memory was measured, oldest first."""
        return self._reader.measured(N_REMEMBERED, self._pipe_name)

    def close(self, end: str | None) -> None:
        """Record the end of the run."""
        self._file.close(end)


def warn_of_unstable(fingerprint: Fingerprint) -> None:
    """Warn of keywords, attributes and functions whose changes cannot be detected."""
    if fingerprint.unstable:
        what = ", ".join(f"{name} ({reason})" for name, reason in fingerprint.unstable)
        warn(
            f"bigpipe cannot see changes in {what}: if it changes, finished files are not run "
            "again. Give fingerprint={'name': 'a text that changes with it'}.",
        )


def _run_row(pipe: Any, plan: Plan, fingerprint: Fingerprint) -> RunRow:
    return RunRow(
        began_at=time.time(),
        ended_at=None,
        end=None,
        host=os.uname().nodename,
        pid=os.getpid(),
        folder=current_folder(),
        pipe=pipe_name(pipe),
        n_files=plan.n_files,
        fingerprint=fingerprint.text,
        parts=json.dumps(fingerprint.parts),
        keywords=json.dumps(_described(plan.control)),
        versions=json.dumps(_versions()),
        options=json.dumps(_described(_given(plan.options))),
    )


def _given(options: Options) -> dict[str, Any]:
    """Return the options that differ from their defaults."""
    return {
        option.name: value
        for option in fields(options)
        if (value := getattr(options, option.name)) is not option.default
        and value != []
        and not (isinstance(value, (str, float, int)) and value == option.default)
    }


def _described(control: Mapping[str, Any]) -> dict[str, str]:
    """Return keywords as readable text, large ones abbreviated by their shape or length."""
    return {name: _short(value) for name, value in control.items() if name[:4] != "_bmp"}


def _short(value: Any) -> str:
    kind = type(value).__name__
    if isinstance(value, (bytes, bytearray)) and len(value) > MAX_SHOWN:
        return f"{kind} of {len(value)} bytes"
    try:
        shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
        if shape and dtype is not None:
            return f"{kind} of shape {shape}, {dtype}"
        if isinstance(value, list) and value and all(map(callable, value)):
            return f"[{', '.join(getattr(x, '__qualname__', type(x).__name__) for x in value)}]"
        return _REPR.repr(value)[:MAX_SHOWN]
    except Exception:  # a foreign __repr__, or property, may raise anything
        return kind


_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = MAX_SHOWN


def _versions() -> dict[str, str]:
    """Return the versions of Python, of the system, and of imported packages."""
    versions = {"python": platform.python_version(), "system": platform.platform()}
    for name, module in sorted(sys.modules.copy().items()):
        # Some are None, or objects. A module's __getattr__ may warn, or import.
        version = getattr(module, "__dict__", {}).get("__version__")
        if isinstance(version, str) and "." not in name and name not in sys.stdlib_module_names:
            versions[name] = version
    return versions
