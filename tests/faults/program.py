"""The program that runs a night in a process of its own: ``python -m tests.faults.program FOLDER``.

It is told the options of the run by a file, and leaves what became of each input in another.
"""

from __future__ import annotations

import os
import pickle
import sys
from pathlib import Path

from tests.faults.night import Night
from tests.faults.trial import account_of


def main(folder: Path) -> None:
    night = Night(folder)
    order = pickle.loads((folder / "order.pickle").read_bytes())
    (folder / "parent").write_text(str(os.getpid()))
    for action in order.before:
        action()
    accounts = [account_of(result) for result in night.results(order.names, **order.options)]
    (folder / "accounts.pickle").write_bytes(pickle.dumps(accounts))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
