"""Measures the memory of a process and all that it has started, from a separate process.

Linux only. Run as ``python tree_pss.py PID SECONDS``, it prints a line when it begins, and its
measurements as JSON when its standard input is closed. Use `watched`.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["Peak", "look", "watched"]

INTERVAL = 0.005  # seconds between two looks; arbitrary


class Peak:
    """Filled in when the watch is over; empty where the system does not tell."""

    n_bytes: int | None = None
    """Most bytes that all processes had together, shared pages counted once."""

    samples: list[tuple[float, dict[int, int]]]
    """Of each look: the time, by `time.monotonic`, and the bytes of each process group."""

    def __init__(self) -> None:
        self.samples = []


@contextmanager
def watched(interval: float = INTERVAL) -> Iterator[Peak]:
    """Watch this process and its children for the length of the block."""
    peak = Peak()
    if not os.path.exists("/proc/self/smaps_rollup"):
        yield peak
        return
    command = [sys.executable, __file__, str(os.getpid()), str(interval)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as watcher:
        assert watcher.stdin is not None
        assert watcher.stdout is not None
        watcher.stdout.readline()
        yield peak
        watcher.stdin.close()
        samples = json.loads(watcher.stdout.read())
    peak.samples = [(at, {int(group): n for group, n in used.items()}) for at, used in samples]
    peak.n_bytes = max((sum(used.values()) for _, used in peak.samples), default=0)


def _tree(root: int, without: int) -> list[int]:
    """Return the processes that have memory: one that ends gives it up first."""
    found, todo = [], [root]
    while todo:
        pid = todo.pop()
        if pid == without:
            continue
        with suppress(OSError):  # it has ended
            if not Path(f"/proc/{pid}/statm").read_text().startswith("0 "):
                found.append(pid)
            for task in Path(f"/proc/{pid}/task").iterdir():
                todo += map(int, (task / "children").read_text().split())
    return found


def _pss(pid: int) -> int:
    with suppress(OSError), open(f"/proc/{pid}/smaps_rollup") as file:
        for line in file:
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


def look(pids: Iterable[int]) -> dict[int, int]:
    """Return the bytes of each process group, as far as it is among these processes."""
    used: dict[int, int] = {}
    for pid in pids:
        with suppress(OSError):  # it has ended
            group = os.getpgid(pid)
            used[group] = used.get(group, 0) + _pss(pid)
    return used


def main(root: int, interval: float) -> int:
    """Watch until standard input is closed; print what was seen."""
    me = os.getpid()
    samples = [(time.monotonic(), look([root]))]  # a short run may be over before the next
    print("watching", flush=True)
    while not select.select([0], [], [], interval)[0]:
        tree, now = _tree(root, me), time.monotonic()
        used = look(tree)
        # If one began or ended in between, what it shares would count twice or not at all.
        if _tree(root, me) == tree:
            samples.append((round(now, 4), used))
    print(json.dumps(samples))
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), float(sys.argv[2])))
