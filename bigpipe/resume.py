"""Which inputs need not be run again, as a journal has their results; and why others must.

Owns the decision. What is compared comes from `bigpipe.file_states` and
`bigpipe.fingerprint`; the journal is read by `bigpipe.journal_reader`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from bigpipe.errors import EncodingError
from bigpipe.file_states import input_states, key_of, state_of
from bigpipe.fingerprint import Fingerprint, differences
from bigpipe.journal_reader import JournalReader
from bigpipe.journal_rows import FileRow, RunRow, result_of
from bigpipe.records import FileResult, Outcome

__all__ = ["Look", "Resume"]

_DONE = (Outcome.WRITTEN, Outcome.METADATA_ONLY, Outcome.REJECTED)


@dataclass(slots=True)
class Look:
    """What a journal says of an input."""

    key: str
    """What the input is known by."""
    states: tuple[Any, ...]
    """Size and time of each of its files, now."""
    number: int | None = None
    """Number of its last row, if there is one."""
    row: FileRow | None = None
    """That row."""
    reasons: list[str] = field(default_factory=list)
    """Why it must be run again; empty if it need not, or if there is no row."""
    checksums: tuple[str | None, ...] | None = None
    """What its content must be for the row to hold, where that is to be compared."""

    @property
    def is_done(self) -> bool:
        """Whether the row holds, if the content is that of `checksums`."""
        return self.row is not None and not self.reasons

    def result(self, index: int, in_name: Any) -> FileResult:
        """Return the result of the row."""
        assert self.row is not None
        return result_of(self.row, index, in_name)


class Resume:
    """Compares what is asked for with what a journal tells was done.

    Parameters
    ----------
    journal : JournalReader or None
        The journal; ``None`` if there is none yet.
    run : int
        Rows of this run and later ones are not looked at.
    fingerprint : Fingerprint
        Of keywords, options and code.
    retry_failed : bool
        Run those again that failed.
    by_checksum : bool
        Compare inputs by content, not by size and time.
    """

    def __init__(
        self,
        journal: JournalReader | None,
        run: int,
        fingerprint: Fingerprint,
        *,
        retry_failed: bool = True,
        by_checksum: bool = False,
    ) -> None:
        self._journal = journal
        self._run = run
        self._fingerprint = fingerprint
        self._retry_failed = retry_failed
        self._by_checksum = by_checksum
        self._runs = {} if journal is None else journal.runs()
        self._changes: dict[int, list[str]] = {}

    def look(self, in_name: Any) -> Look:
        """Find out whether an input must be run."""
        look = Look(key_of(in_name), input_states(in_name))
        found = None if self._journal is None else self._journal.latest(look.key, self._run)
        if self._by_checksum:
            look.checksums = ()
        if found is None:
            return look
        look.number, look.row = found
        look.reasons = self._reasons(look, look.row)
        return look

    def _reasons(self, look: Look, row: FileRow) -> list[str]:
        if not row.is_final:
            return ["its last attempt failed, and the run ended before the next"]
        if row.outcome not in _DONE and (self._retry_failed or row.error is None):
            return [f"it {'' if row.outcome == Outcome.FAILED else 'was '}{row.outcome}"]
        if row.lost is not None:
            return [f"its result is not in the journal: {row.lost}"]
        reasons = self._changed_input(look, json.loads(row.inputs))
        reasons += self._changes_since(row.run)
        if row.outcome in _DONE:
            reasons += _changed_outputs(json.loads(row.outputs))
        if not reasons:
            try:
                result_of(row, 0, None)
            except (EncodingError, KeyError, TypeError, ValueError) as error:
                reasons.append(f"its entry in the journal cannot be read ({error})")
        return reasons

    def _changed_input(self, look: Look, before: Sequence[Any]) -> list[str]:
        now = look.states
        known = [None if state is None else tuple(state[:2]) for state in before]
        if len(now) != len(known):
            return ["the input changed"]
        gone = [new is None and old is not None for new, old in zip(now, known, strict=True)]
        if any(gone):
            return ["the input is gone"]
        if self._by_checksum and before and all(state and len(state) == 3 for state in before):
            if [state[0] for state in now if state] != [state[0] for state in known if state]:
                return ["the input changed (size)"]
            look.checksums = tuple(state[2] for state in before)
            return []
        if list(now) == known:
            return []
        sizes = [[state and state[0] for state in states] for states in (now, known)]
        return [f"the input changed ({'time' if sizes[0] == sizes[1] else 'size'})"]

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


def _other_python(before: RunRow, now: Fingerprint) -> list[str]:
    """Say so if code looks different because another Python has compiled it."""
    then = json.loads(before.versions).get("python", "").split(".")[:2]
    if then == now.python.split(".")[:2]:
        return []
    return [f"Python was {'.'.join(then)} and is {now.python} (code is compared as compiled)"]


def _changed_outputs(outputs: Sequence[Any]) -> list[str]:
    """Return what is wrong with what was put in place; of side files only whether they are there.

    Several files may have written the same side file.
    """
    reasons = []
    for i, (name, state) in enumerate(outputs):
        now = state_of(name)
        if now is None and state is not None:
            reasons.append(f"{name!r} is gone")
        elif i == 0 and now != (None if state is None else tuple(state)):
            reasons.append(f"{name!r} is not what was written")
    return reasons
