"""Programs that tests run in a process of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["ROOT", "run_python"]

ROOT = Path(__file__).parents[1]
LIMIT = 100  # seconds; only a test that fails ever waits so long


def run_python(
    *arguments: object,
    env: Mapping[str, str] | None = None,
    is_to_succeed: bool = False,
    **options: Any,
) -> subprocess.CompletedProcess[str]:
    """Run Python on this checkout, installed or not; what it prints is kept.

    Parameters
    ----------
    *arguments : object
        Of the command line, after ``python``.
    env : mapping, optional
        Variables in addition to those that there are.
    is_to_succeed : bool, optional
        Fail, with what it has said, if it fails.
    **options
        Other ones of `subprocess.run`.
    """
    streams: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    if "input" not in options:
        streams["stdin"] = subprocess.DEVNULL
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT), **(env or {})},
        text=True,
        timeout=LIMIT,
        check=False,
        **{**streams, **options},
    )
    assert done.returncode == 0 or not is_to_succeed, done.stderr
    return done
