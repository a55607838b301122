"""Fixtures of the suite that injects faults."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.faults.night import Night
from tests.faults.trial import Trial


@pytest.fixture
def empty_trial(tmp_path: Path, record_property: Callable[[str, Any], None]) -> Trial:
    """A night without inputs yet."""
    return Trial(Night(tmp_path), record_property)


@pytest.fixture
def trial(empty_trial: Trial) -> Trial:
    """A night with its inputs."""
    empty_trial.make()
    return empty_trial
