"""The freed memory that a worker keeps; each test uses a fresh process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bigpipe import BigMultiPipe

SIZE = 100 << 20
SLACK = 16 << 20  # the kernel counts pages in batches, and Python keeps some of its own

BEGINNING = f"""
import json, os
from bigpipe.executors.kept_memory import KeptMemory
from bigpipe.executors.peak_meter import PeakMeter

SIZE = {SIZE}
open("a", "w").write("a")
open("b", "w").write("b" * 1000)
most, pins = [4 * SIZE], []
meter, kept = PeakMeter(), KeptMemory(lambda: most[0])

def use(name, *sizes):
    if kept.is_keeping:
        kept.begin(name)
    before = meter.held()
    buffers = [bytearray(b"x") * size for size in sizes or [SIZE]]
    if sizes:
        pins.append(bytearray(b"x") * 1_000_000)  # above the others
    del buffers
    kept.end(name, meter.held)
    return before

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")

"""


def run(script: str, folder: Path, **environment: str) -> Any:
    """Return what a script prints as JSON, after the beginning."""
    if "CS_GNU_LIBC_VERSION" not in os.confstr_names:
        pytest.skip("the allocator is not glibc's")
    done = subprocess.run(
        [sys.executable, "-c", BEGINNING + script],
        check=True,
        stdout=subprocess.PIPE,
        cwd=folder,
        env={**os.environ, **environment},
        timeout=60,
    )
    return json.loads(done.stdout)


def test_memory_is_kept_after_the_first_file_for_those_that_are_alike(tmp_path):
    held = run('print(json.dumps([use("a") for _ in range(4)]))', tmp_path)
    assert max(held[:2]) < SLACK
    assert min(held[2:]) > SIZE - SLACK


def test_memory_is_given_back_before_a_file_of_another_size(tmp_path):
    held = run('print(json.dumps([use(name) for name in "aaabbaa"]))', tmp_path)
    assert [x > SIZE - SLACK for x in held] == [False, False, True, False, True, False, True]
    assert min(held) < SLACK


def test_memory_is_given_back_when_none_is_to_be_kept_any_more(tmp_path):
    script = """
held = [use("a") for _ in range(3)]
most[0] = 0
print(json.dumps([*held, use("a"), use("a"), kept.is_keeping]))
"""
    *held, is_keeping = run(script, tmp_path)
    assert held[2] > SIZE - SLACK
    assert max(held[3:]) < SLACK
    assert not is_keeping


def test_more_than_may_be_kept_is_given_back_be_it_below_what_a_hook_keeps(tmp_path):
    script = """
most[0] = SIZE
print(json.dumps([use("a"), use("a", *[SIZE // 2] * 6), meter.held()]))
"""
    assert run(script, tmp_path)[-1] < SLACK


@pytest.mark.parametrize(
    "environment",
    [
        {"MALLOC_TRIM_THRESHOLD_": "131072"},
        {"GLIBC_TUNABLES": "glibc.malloc.trim_threshold=131072"},
    ],
    ids=["variable", "tunable"],
)
def test_allocator_that_the_user_has_set_stays_so(tmp_path, environment):
    script = 'print(json.dumps([*(use("a") for _ in range(3)), kept.is_keeping]))'
    *held, is_keeping = run(script, tmp_path, **environment)
    assert max(held) < SLACK
    assert not is_keeping


def test_process_that_is_forked_from_one_that_keeps_does_not(tmp_path):
    script = """
before = resident()
for _ in range(3):
    use("a")
if os.fork() == 0:
    kept = KeptMemory(lambda: 0)
    held = [resident() - before]
    use("a")
    print(json.dumps([*held, resident() - before]), flush=True)
    os._exit(0)
os.wait()
"""
    assert max(run(script, tmp_path)) < SLACK


class Resident(BigMultiPipe):
    """Take much memory; tell how much there was before, and how many files this worker has had."""

    n = 0

    def file_read(self, in_name, **kwargs):
        self.n += 1
        self.before = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf(
            "SC_PAGESIZE"
        )
        return bytearray(b"x") * SIZE

    def post_process(self, data, **kwargs):
        return None, {"n": self.n, "before": self.before}


@pytest.mark.process
@pytest.mark.parametrize(("budget", "is_kept"), [("8 GiB", True), ("1 GiB", False)])
def test_workers_keep_memory_while_the_budget_is_far(tmp_path, budget, is_kept):
    if "CS_GNU_LIBC_VERSION" not in os.confstr_names:
        pytest.skip("the allocator is not glibc's")
    files = [tmp_path / f"{i}.txt" for i in range(8)]
    for file in files:
        file.write_text("alike")
    pout = Resident().pipeline(map(str, files), num_processes=2, mem_available=budget)
    metas = [(result.worker, result.meta) for result in pout.results]
    first = {worker: meta["before"] for worker, meta in metas if meta["n"] == 1}
    later = [meta["before"] - first[worker] for worker, meta in metas if meta["n"] > 2]
    assert later  # of eight files, a worker has had three
    assert all((n_bytes > SIZE - SLACK) == is_kept for n_bytes in later)
