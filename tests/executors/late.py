"""What tests of executors in this process put in the place of a part of theirs."""

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
