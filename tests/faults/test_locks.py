"""Workers that start while threads of their parent hold the locks of logging or an import."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.faults.sizes import SIZES
from tests.faults.trial import ROOT

pytestmark = pytest.mark.process

AT_ONCE = 10  # runs in one program
LIMIT = 100.0  # seconds; a deadlock would last for ever


@pytest.mark.parametrize("first", range(0, SIZES.starts, AT_ONCE))
def test_workers_start_though_threads_hold_locks(
    tmp_path: Path, start_method: str, first: int, record_property: Callable[[str, Any], None]
):
    n_runs = min(AT_ONCE, SIZES.starts - first)
    record_property("fault", f"threads that hold locks, {start_method}")
    record_property("instances", n_runs)
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.busy", str(tmp_path), start_method, str(n_runs)],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT,
    )
    finished = tmp_path / "finished"
    assert finished.exists(), done.stderr
    assert finished.read_text() == "." * n_runs, done.stderr
    assert done.returncode == 0
    record_property("file", "metadata only")
    record_property("others", "metadata only")
