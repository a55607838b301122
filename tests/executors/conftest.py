"""Fixtures that the tests of executors share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.pipes import Doubler


@pytest.fixture
def pipe(tmp_path: Path) -> Doubler:
    """A pipeline in two worker processes, whose errors are returned."""
    return Doubler(
        num_processes=2,
        executor="processes",
        start_method="fork",
        outdir=tmp_path / "out",
        create_outdir=True,
        on_error="return",
    )
