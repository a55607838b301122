"""Which input writes which output, for workers that cannot ask the parent: a register in a folder.

Owns how names are claimed there. The rules are those of `bigpipe.claims.register`.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from typing import Any

from bigpipe.claims.register import NOT_RUN, clash
from bigpipe.errors import shown
from bigpipe.file_states import flat_names

__all__ = ["FolderClaims"]


class FolderClaims:
    """A register that any process can write to: each claim is a link in a folder.

    It serves pools whose workers cannot talk to the parent while they run.

    Parameters
    ----------
    folder : str
        An empty folder that all workers can reach.
    inputs : iterable
        The inputs of the run. None of them may be overwritten.
    outputs : iterable of tuple
        Existing outputs, each with the input that it belongs to, as text.

    Notes
    -----
    Making a link fails if its name exists, so the kernel decides which claim is first.
    """

    def __init__(
        self, folder: str, inputs: Iterable[Any] = (), outputs: Iterable[tuple[str, str]] = ()
    ) -> None:
        self.folder = folder
        for name in flat_names(list(inputs)):
            self._take(os.path.realpath(name), f"input\0{name}")
        for name, owner in outputs:
            self._take(name, f"{NOT_RUN}\0{owner}")

    def claim(self, index: int, in_name: Any, outname: str) -> str:
        """Claim a name; return the reason if that is refused, otherwise ``''``."""
        found = self._take(os.path.realpath(outname), f"{index}\0{shown(in_name)}")
        if found is None:
            return ""
        sort, _, owner = found.partition("\0")
        if sort == str(index):
            return ""
        if sort == "input":
            return f"the output {outname!r} of {shown(in_name)} would overwrite the input {owner!r}"
        return clash(shown(in_name), owner, outname)

    def _take(self, path: str, label: str) -> str | None:
        digest = hashlib.blake2b(os.fsencode(path), digest_size=16).hexdigest()
        link = os.path.join(self.folder, digest)
        text = os.fsencode(label).hex()  # a link's text takes no NUL and at most 4095 bytes
        try:
            os.symlink(text[:4000], link)
        except FileExistsError:
            return os.fsdecode(bytes.fromhex(os.readlink(link)))
        return None
