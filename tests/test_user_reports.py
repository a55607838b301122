"""What people ran into who used the package before it was finished."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.pipes import Doubler

MakeFiles = Callable[..., list[str]]


def draw(data, bmp_meta=None, **kwargs):
    bmp_meta["drawn"] = np.random.random()  # noqa: NPY002 -- the global numbers are the matter
    return data


@pytest.mark.process
def test_workers_draw_different_random_numbers(
    tmp_path: Path, make_files: MakeFiles, start_method: str
):
    np.random.seed(1)  # noqa: NPY002 -- as above
    random.seed(1)
    pipe = Doubler(outdir=tmp_path, executor="processes", num_processes=2)
    pout = pipe.pipeline(make_files(8), post_process_list=draw, start_method=start_method)
    assert len({meta["drawn"] for _, meta in pout}) == 8
