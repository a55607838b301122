from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

SCRIPT = """
import logging
import os
import numpy as np
from bigpipe import BigMultiPipe, FunctionPipe
from its_neighbour import OFFSET

class Reduce(BigMultiPipe):
    def __init__(self, scale=1, **kwargs):
        super().__init__(**kwargs)
        self.scale = scale

    def file_read(self, in_name, **kwargs):
        return np.load(in_name)

    def data_process(self, data, limit=None, **kwargs):
        print("printed by", kwargs["in_name"])
        os.system("echo echoed")
        if limit is not None and data.max() > limit:
            raise ValueError("too bright")
        return data * self.scale + OFFSET

    def file_write(self, data, outname, **kwargs):
        np.save(outname, data)
        return outname

class Demanding(Reduce):
    def __init__(self, night, **kwargs):
        super().__init__(**kwargs)
        self.night = night

class Broken(Reduce):
    def __init__(self, **kwargs):
        raise ValueError("no catalogue")

class Planless(Reduce):
    def pipeline(self, in_names, **kwargs):
        return list(super().pipeline(in_names, **kwargs))

def double(data, factor=2):
    return data * factor

def dim(data):
    logging.getLogger("dim").warning("no signal")
    return data

def mean(arrays):
    return np.mean(arrays, axis=0)

def note(data, bmp_meta=None, **kwargs):
    bmp_meta.update(max=float(data.max()), shape=data.shape, sky={"level": 7})
    return data

pipe = FunctionPipe(process=double, outdir="out")
night = 7
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder, with a script in ``code`` and three arrays (0, 1, 2) in ``raw``."""
    for name in ("code", "raw", "out"):
        (tmp_path / name).mkdir()
    (tmp_path / "code" / "reduction.py").write_text(SCRIPT)
    (tmp_path / "code" / "its_neighbour.py").write_text("OFFSET = 10")
    for i in range(3):
        np.save(tmp_path / "raw" / f"{i}.npy", np.full((2, 2), i))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]
