"""Replacements for parts of executors, for tests in this process."""

from __future__ import annotations

from typing import Any

from bigpipe.executors.worker import TaskRunner
from tests import mischief


class LateRunner(TaskRunner):
    """Stays in Python code after the hooks of the first file, until it is interrupted there."""

    def run(self, task: Any, claimant: Any) -> Any:
        report = super().run(task, claimant)
        if task.index == 0:
            mischief.loop("000.bin")
        return report
