"""Reads inputs, looks them up in the journal, and projects their memory before they are submitted.

Owns what happens to an input before the scheduler gets it. `bigpipe.run` decides when to read more.
"""

from __future__ import annotations

from bigpipe.claims.register import Claims
from bigpipe.errors import FileError
from bigpipe.executors.failures import file_error
from bigpipe.running.ledger import Ledger
from bigpipe.running.memory_watch import MemoryWatch
from bigpipe.running.plan import Inputs
from bigpipe.running.recorder import Recorder
from bigpipe.scheduling.admission import Need

__all__ = ["Intake"]


class Intake:
    """Takes in the inputs of one run.

    Parameters
    ----------
    inputs : Inputs
        The inputs to read.
    files : Ledger
        Receives each input, and the result of each that need not or cannot be run.
    watch : MemoryWatch
        Projects the memory that a file needs.
    journal : Recorder
        Provides the results of files that need not be run.
    claims : Claims
        Receives the outputs that already exist.
    """

    def __init__(
        self, inputs: Inputs, files: Ledger, watch: MemoryWatch, journal: Recorder, claims: Claims
    ) -> None:
        self._inputs = inputs
        self._files = files
        self._watch = watch
        self._journal = journal
        self._claims = claims
        claims.protect(journal.path)

    def read(self, n: int) -> list[int]:
        """Read `n` inputs; return the indices of those that must be run."""
        files = self._inputs.read(n)
        self._files.in_names.update(files)
        ended = set()
        for index, known in self._journal.kept(files).items():
            if isinstance(known, FileError):
                self._files.failed(index, known)
                ended.add(index)
            elif self._claims.keep(self._files.in_name(index), known.outname):
                self._files.known(known)
                ended.add(index)
        return [index for index, _ in files if index not in ended]

    def needs(self, indices: list[int]) -> dict[int, Need]:
        """Return the projected needs of files; end and remove files whose projection fails."""
        needs: dict[int, Need] = {}
        if self._watch.admission is None or self._watch.admission.is_light:
            return needs
        for index in list(indices):
            in_name = self._files.in_name(index)
            try:
                needs[index] = self._watch.need(index, in_name)
            except Exception as raised:  # the caller's own function may raise anything
                self._files.failed(index, file_error(raised, "projected_size", in_name))
                indices.remove(index)
        return needs
