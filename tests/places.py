"""Where tests run pipelines: the cases of the fixture ``anywhere``."""

from __future__ import annotations

import pytest

__all__ = ["PLACES", "not_spawned"]

PLACES = [
    "serial",
    "threads",
    pytest.param("fork", marks=pytest.mark.process),
    pytest.param("forkserver", marks=pytest.mark.process),
    pytest.param("spawn", marks=pytest.mark.process),
]

# A spawned worker starts in a way of its own, and is then as one that the fork server has made:
# it inherits nothing. Two of them take a second of processor time, so that tests for which it
# does not matter how workers start leave them to the others.
not_spawned = pytest.mark.parametrize("anywhere", PLACES[:-1], indirect=True)
