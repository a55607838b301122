"""The program that `tests.test_prints` runs in a terminal: hooks print while a bar is there.

``python -m tests.printing FOLDER [OPTION=VALUE ...]`` runs a pipeline over ``FOLDER/in``.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from bigpipe import BigMultiPipe, progress


class Printing(BigMultiPipe):
    """Prints in parts; but for the first file and in serial, once the bar has been drawn."""

    def file_read(self, in_name, gate=None, **kwargs):
        if gate is not None and not in_name.endswith("0.txt"):
            with open(gate) as opened:
                opened.read()
        for stream in (sys.stdout, sys.stderr):
            print("read", end=" ", file=stream)
            print(os.path.basename(in_name), file=stream)
        return super().file_read(in_name, **kwargs)


def main(folder: Path, *given: str) -> None:
    options = dict(option.split("=") for option in given)
    progress._BarProgress.interval = 0.0
    gate = None if options.get("executor") == "serial" else folder / "gate"
    pipe = Printing(1, outdir=folder / "out", create_outdir=True, gate=gate, **options)
    for result in pipe.iter_pipeline(sorted(map(str, (folder / "in").iterdir()))):
        print("done", result.index)
        if gate is not None and result.index == 0:
            gate.write_text("")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
