"""What a run asks of its journal, and reports to it; this implementation is for runs without one.

Owns the interface. `bigpipe.running.journal_recorder` implements it for a journal.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from bigpipe.errors import FileError
from bigpipe.executors.base import Report, Task
from bigpipe.records import FileResult, Sample

if TYPE_CHECKING:
    from bigpipe.journal_store.rows import FileRow, LiveRow

__all__ = ["Recorder"]


class Recorder:
    """Records nothing.

    Attributes
    ----------
    path : str or None
        The journal, if any.
    """

    path: str | None = None

    wants_samples = False
    """Whether samples of the run are to be recorded."""

    def kept(self, files: Iterable[tuple[int, Any]]) -> dict[int, FileResult | FileError]:
        """Return the results of files that the journal shows finished, by index.

        If an input is the journal itself, its result is an error.
        """
        return {}

    def prepare(self, tasks: Iterable[Task]) -> None:
        """Ask for the parts of the tasks' reports that will be recorded."""

    def unchanged(self, index: int) -> FileResult:
        """Return the result of a file whose content a worker found unchanged."""
        raise NotImplementedError

    def ended(self, ended: Iterable[tuple[FileResult, Report | None]], *, is_final: bool) -> None:
        """Record the ends of files, or of attempts."""

    def sample(self, sample: Sample, live: list[LiveRow]) -> None:
        """Record a sample of the run, and the current files of the workers."""

    def flush(self) -> None:
        """Write what was recorded, before the caller gets the results."""

    @property
    def until_due(self) -> float | None:
        """Seconds until `flush` should be called; ``None`` if nothing waits."""
        return None

    def measured(self) -> list[FileRow]:
        """Return the last files whose memory was measured, oldest first."""
        return []

    def close(self, end: str | None) -> None:
        """Record the end of the run."""
