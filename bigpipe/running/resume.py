"""Decides which inputs a journal shows finished, and why the others must be run again.

Owns the decision. The states and fingerprints that it compares come from `bigpipe.file_states` and
`bigpipe.fingerprint`; `bigpipe.journal_store.reader` reads the journal.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from bigpipe.errors import EncodingError
from bigpipe.file_states import input_states, state_of
from bigpipe.fingerprint import Fingerprint, differences
from bigpipe.journal_store.reader import JournalReader
from bigpipe.journal_store.rows import FileRow, RunRow, current_folder, result_of
from bigpipe.options import Options
from bigpipe.records import FileResult, Outcome

__all__ = ["Look", "Resume"]

_DONE = (Outcome.WRITTEN, Outcome.METADATA_ONLY, Outcome.REJECTED)


@dataclass(slots=True)
class Look:
    """What a journal says about an input."""

    states: tuple[Any, ...]
    """Current size and time of each of its files."""
    number: int | None = None
    """Number of the row that is still valid, if any."""
    result: FileResult | None = None
    """The result in that row."""
    reasons: list[str] = field(default_factory=list)
    """Why it must be run again; empty if it is finished, or has never been run."""
    checksums: tuple[str | None, ...] | None = None
    """Checksums that its content must have for the row to be valid, if content is compared."""


class Resume:
    """Compares the inputs of a run with the results in a journal.

    Parameters
    ----------
    journal : JournalReader
        The journal.
    run : int
        Number of the run; rows of this run and later ones are ignored.
    pipe : str
        The class of the pipeline, as `RunRow.pipe`; rows of others are ignored.
    fingerprint : Fingerprint
        Fingerprint of keywords, options and code.
    options : Options
        Options of the run: whether failed files are run again, and how inputs are compared.

    Attributes
    ----------
    is_new : bool
        Whether the journal has no files yet.
    by_checksum : bool
        Whether inputs are compared by content, not by size and time.

    Notes
    -----
    Several pipelines, or one pipeline with several sets of keywords, may use a journal in turn.
    So an input is finished if any of its rows is valid, not only the last one.
    """

    def __init__(
        self,
        journal: JournalReader,
        run: int,
        pipe: str,
        fingerprint: Fingerprint,
        options: Options,
    ) -> None:
        self.is_new = journal.is_new(run)
        self.by_checksum = options.compare_inputs == "checksum"
        self._journal = journal
        self._run = run
        self._fingerprint = fingerprint
        self._retry_failed = options.retry_failed
        self._runs = journal.runs()
        own = _class_of(pipe)
        self._own_runs = {n for n, row in self._runs.items() if _class_of(row.pipe) == own}
        self._folder = current_folder()
        self._changes: dict[int, list[str]] = {}
        self._gone: set[str] = set()

    def look(self, index: int, in_name: Any, key: str) -> Look:
        """Find out whether an input, identified by its key, must be run."""
        look = Look(input_states(in_name))
        if self.by_checksum and look.states:
            look.checksums = ()
        if self.is_new:
            return look
        for n_later, (number, row) in enumerate(self._rows(key)):
            if n_later and (row.outcome not in _DONE or self._changes_since(row.run)):
                continue
            try:
                reasons = self._reasons(look, row, is_last=not n_later)
                if not reasons:
                    look.number, look.result = number, result_of(row, index, in_name)
            except (EncodingError, LookupError, TypeError, ValueError) as error:
                reasons = [f"its entry in the journal cannot be read ({error})"]
            if not n_later or not reasons:
                look.reasons = reasons
            if not reasons:
                break
        return look

    def _rows(self, key: str) -> Iterator[tuple[int, FileRow]]:
        for number, row in self._journal.rows_of(key, self._run):
            if row.run in self._own_runs:
                yield number, row

    def _reasons(self, look: Look, row: FileRow, *, is_last: bool) -> list[str]:
        if not row.is_final:
            return ["its last attempt failed, and the run ended before the next one"]
        if row.outcome not in _DONE and self._retry_failed:
            return [f"it {'' if row.outcome == Outcome.FAILED else 'was '}{row.outcome}"]
        if row.lost is not None:
            return [f"its result is not in the journal: {row.lost}"]
        reasons = self._changed_input(look, row.states)
        reasons += self._changes_since(row.run)
        if row.outcome in _DONE:
            outputs = row.placed
            reasons += self._changed_outputs(outputs, row.outcome)
            if self._runs[row.run].folder != self._folder and _leads_elsewhere(row, outputs):
                reasons.append("the name of its output means another file in the current folder")
            if row.outcome == Outcome.WRITTEN and not is_last and not (outputs and outputs[0][1]):
                reasons.append("its output may have been overwritten since")
        return reasons

    def _changed_input(self, look: Look, before: Sequence[Any]) -> list[str]:
        now = look.states
        known = [None if state is None else tuple(state[:2]) for state in before]
        gone = [new is None and old is not None for new, old in zip(now, known, strict=True)]
        if any(gone):
            return ["the input is gone"]
        sizes = [[state and state[0] for state in states] for states in (now, known)]
        if sizes[0] != sizes[1]:
            return ["the input changed (size)"]
        if self.by_checksum and now:
            if any(state is not None and len(state) < 3 for state in before):
                return ["its checksum was not recorded"]
            look.checksums = tuple(None if state is None else state[2] for state in before)
            return []
        return [] if list(now) == known else ["the input changed (time)"]

    def _changes_since(self, run: int) -> list[str]:
        """Return what has changed of keywords, options and code since a run."""
        if run not in self._changes:
            before = self._runs[run]
            self._changes[run] = (
                []
                if before.fingerprint == self._fingerprint.text
                else differences(json.loads(before.parts), self._fingerprint.parts)
                + _other_python(before, self._fingerprint)
            )
        return self._changes[run]

    def _changed_outputs(self, outputs: Sequence[Any], outcome: str) -> list[str]:
        """Return what is wrong with the files that were put in place.

        Side files and shared outputs, which several inputs may have written, only have to exist.
        """
        reasons = []
        for i, (name, state) in enumerate(outputs):
            now = state_of(name)
            if state is not None and (now is None or name in self._gone):
                reasons.append(f"{name!r} is gone")
                if name in self._shared_outputs:  # gone for all inputs, though one may remake it
                    self._gone.add(name)
            elif i or outcome != Outcome.WRITTEN or now == (state and tuple(state)):
                continue
            elif name not in self._shared_outputs:
                reasons.append(f"{name!r} is not what was written")
        return reasons

    @cached_property
    def _shared_outputs(self) -> frozenset[str]:
        return self._journal.shared_outputs()


def _class_of(pipe: str) -> str:
    """Return the class name alone: a module run as a script has another name."""
    return pipe.rpartition(".")[2]


def _leads_elsewhere(row: FileRow, outputs: Sequence[Any]) -> bool:
    """Return whether the name returned for an output no longer leads to that output."""
    outname = row.returned
    if not isinstance(outname, (str, bytes, os.PathLike)):
        return False
    return bool(os.path.abspath(os.fsdecode(outname)) != outputs[0][0])


def _other_python(before: RunRow, now: Fingerprint) -> list[str]:
    """Return a reason if the code differs because another Python version has compiled it."""
    then = json.loads(before.versions).get("python", "").split(".")[:2]
    if then == now.python.split(".")[:2]:
        return []
    return [f"Python was {'.'.join(then)} and is {now.python} (compiled code is compared)"]
