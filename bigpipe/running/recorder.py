"""When a run asks its journal, and tells it something; here, for a run that has none.

Owns the interface between the two. With a journal, `bigpipe.running.journal_recorder` stands behind
it.
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
    """Keeps nothing.

    Attributes
    ----------
    path : str or None
        The journal, if there is one.
    """

    path: str | None = None

    wants_samples = False
    """Whether there is anybody to tell what the run is doing."""

    def kept(self, files: Iterable[tuple[int, Any]]) -> dict[int, FileResult | FileError]:
        """Return the results of files that need not be run, as the journal has them, by index.

        An error for an input that cannot be one, as it is the journal.
        """
        return {}

    def prepare(self, tasks: Iterable[Task]) -> None:
        """Have the reports of tasks tell what will be noted."""

    def unchanged(self, index: int) -> FileResult:
        """Return the result of a file whose content a worker has found unchanged."""
        raise NotImplementedError

    def ended(self, ended: Iterable[tuple[FileResult, Report | None]], *, is_final: bool) -> None:
        """Note the ends of files, or of attempts."""

    def sample(self, sample: Sample, live: list[LiveRow]) -> None:
        """Note what the run is doing, and what the workers have in hand."""

    def flush(self) -> None:
        """Write what was noted, before the caller is told."""

    @property
    def until_due(self) -> float | None:
        """Seconds until `flush` should be called; ``None`` if nothing waits."""
        return None

    def measured(self, n: int) -> list[FileRow]:
        """Return the last files whose memory was measured, oldest first."""
        return []

    def close(self, end: str | None) -> None:
        """Note the end of the run."""
