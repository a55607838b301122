"""Places where writing or reading is refused: ways to start a program in one.

Each returns what is to be put before a command, or skips the test where there is no such way.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest


def as_anyone() -> list[str]:
    """For a program that is held to the modes of files, even if root starts it."""
    if os.geteuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("root may read and write everything, and there is no setpriv to prevent it")
    return ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"]


def with_mounts(*lines: str, after: str = "") -> list[str]:
    """For a program that has mounts of its own, made by lines of shell."""
    prefix = ["unshare", "-rm"]
    if shutil.which("unshare") is None or not succeeds([*prefix, "true"]):
        pytest.skip("nothing can be mounted here: unshare -rm is refused")
    script = [*lines, "set +e", '"$@"', "code=$?", after, "exit $code"]
    return [*prefix, "sh", "-ec", "\n".join(script), "sh"]


def on_small_disk(folder: Path, n_bytes: int) -> list[str]:
    """For a program that finds a small and empty disk at a folder, which has its files later."""
    folder.mkdir(exist_ok=True)
    kept = folder.with_name(f"{folder.name}.kept")
    return with_mounts(
        f"mount -t tmpfs -o size={n_bytes} none '{folder}'",
        after=f"cp -a '{folder}' '{kept}' && umount '{folder}' && mv '{kept}'/* '{folder}'"
        f" && rmdir '{kept}'",
    )


def succeeds(command: Sequence[str]) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
