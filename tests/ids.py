"""Names of test cases that are the same in every process."""

from __future__ import annotations

import re
from typing import Any

__all__ = ["shown"]


def shown(value: Any) -> str:
    """Return a value as text, without where in memory it is."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))
