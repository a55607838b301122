from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from bigpipe.measure import PsutilTable
from bigpipe.system.process_table import Anonymous, Kin, Memory, ProcTable
from bigpipe.tree_meter import (
    EXACT_PART,
    LISTING_PART,
    MAX_LISTING_GAP,
    ProcessTable,
    TreeMeter,
    system_table,
)

MIB = 2**20
SIZE = 64 * MIB
SLACK = 16 * MIB  # what Python takes for itself, and the kernel's counting in batches


def private(n_bytes: int, address_space: int = 0) -> Memory:
    return Memory(address_space or n_bytes, n_bytes, 0)


@dataclass
class FakeProcess:
    parent: int
    group: int
    memory: Memory
    pages: Anonymous | None = None


@dataclass
class FakeTable:
    """Imaginary processes; reading them takes time on an imaginary clock."""

    processes: dict[int, FakeProcess] = field(default_factory=dict)
    now: float = 0.0
    listing_takes: float = 0.0
    counting_takes: float = 0.0
    n_listings: int = 0
    counted: list[int] = field(default_factory=list)

    def add(
        self,
        pid: int,
        parent: int,
        mib: int,
        *,
        group: int = 1,
        unshared: int | None = None,
        divided: int | None = None,
    ) -> None:
        pages = None
        if unshared is not None or divided is not None:
            parts = [mib if part is None else part for part in (unshared, divided)]
            pages = Anonymous(mib * MIB, parts[0] * MIB, parts[1] * MIB)
        memory = private(mib * MIB, address_space=pid)
        self.processes[pid] = FakeProcess(parent, group, memory, pages)

    def pids(self) -> set[int]:
        self.n_listings += 1
        self.now += self.listing_takes
        return set(self.processes)

    def kin(self, pid: int) -> Kin | None:
        process = self.processes.get(pid)
        return None if process is None else Kin(process.parent, process.group)

    def memory(self, pid: int) -> Memory | None:
        process = self.processes.get(pid)
        return None if process is None else process.memory

    def anonymous(self, pid: int) -> Anonymous | None:
        self.counted.append(pid)
        self.now += self.counting_takes
        return self.processes[pid].pages


@pytest.fixture
def table() -> FakeTable:
    """A machine with process 1, and a worker, process 10, that has 5 MiB."""
    table = FakeTable()
    table.add(1, 0, 3)
    table.add(10, 1, 5, group=10)
    return table


@pytest.fixture
def meter(table: FakeTable) -> TreeMeter:
    return TreeMeter(table, clock=lambda: table.now)


def mib(used: dict[int, int]) -> dict[int, int]:
    return {pid: n_bytes // MIB for pid, n_bytes in used.items()}


def test_nobody_is_looked_for_without_a_worker(table: FakeTable, meter: TreeMeter) -> None:
    assert meter.sample([]) == {}
    assert table.n_listings == 0


def test_descendants_count_whatever_their_group(table: FakeTable, meter: TreeMeter) -> None:
    table.add(11, 10, 1, group=10)
    table.add(12, 11, 1, group=12)
    table.add(5, 12, 1, group=5)  # numbers begin again when they are used up
    assert mib(meter.sample([10])) == {10: 8}


def test_whoever_has_lost_its_parent_counts_by_its_group(
    table: FakeTable, meter: TreeMeter
) -> None:
    table.add(11, 1, 2, group=10)
    table.add(12, 11, 2, group=12)
    assert mib(meter.sample([10])) == {10: 9}


def test_whoever_was_seen_in_a_tree_stays_in_it(table: FakeTable, meter: TreeMeter) -> None:
    table.add(11, 10, 1)
    table.add(12, 11, 2)
    meter.sample([10])
    del table.processes[11]
    table.processes[12].parent = 1
    assert mib(meter.sample([10])) == {10: 7}
    assert mib(meter.sample([10])) == {10: 7}


def test_processes_of_others_do_not_count(table: FakeTable, meter: TreeMeter) -> None:
    table.add(11, 1, 4, group=11)
    table.add(20, 1, 6, group=20)
    table.add(21, 20, 7, group=20)
    assert mib(meter.sample([10, 20])) == {10: 5, 20: 13}


def test_child_that_was_seen_before_its_worker_was_known_counts(
    table: FakeTable, meter: TreeMeter
) -> None:
    table.add(20, 1, 6, group=20)
    table.add(21, 20, 7, group=21)
    meter.sample([10])
    assert mib(meter.sample([10, 20])) == {10: 5, 20: 13}


def test_process_that_begins_between_two_samples_is_found(
    table: FakeTable, meter: TreeMeter
) -> None:
    meter.sample([10])
    table.add(11, 10, 2)
    assert mib(meter.sample([10])) == {10: 7}


def test_process_that_is_gone_no_longer_counts(table: FakeTable, meter: TreeMeter) -> None:
    table.add(11, 10, 2)
    meter.sample([10])
    del table.processes[11]
    assert mib(meter.sample([10])) == {10: 5}


def test_number_that_is_used_again_is_another_process(table: FakeTable, meter: TreeMeter) -> None:
    table.add(11, 10, 2)
    meter.sample([10])
    del table.processes[11]
    meter.sample([10])
    table.add(11, 1, 9)
    assert mib(meter.sample([10])) == {10: 5}


def test_worker_that_is_gone_has_nothing_but_what_it_left(
    table: FakeTable, meter: TreeMeter
) -> None:
    table.add(11, 10, 2, group=10)
    meter.sample([10])
    del table.processes[10]
    table.processes[11].parent = 1
    assert mib(meter.sample([10])) == {10: 2}
    del table.processes[11]
    assert meter.sample([10]) == {10: 0}
    assert meter.sample([]) == {}


def test_parents_in_a_circle_do_not_stop_the_meter(table: FakeTable, meter: TreeMeter) -> None:
    """As they are read one after another, a number may be used again meanwhile."""
    table.add(11, 12, 1)
    table.add(12, 11, 1)
    assert mib(meter.sample([10])) == {10: 5}


def test_child_that_still_runs_in_the_memory_of_its_parent_does_not_count(
    table: FakeTable, meter: TreeMeter
) -> None:
    table.add(10, 1, 500, group=10)
    table.add(11, 10, 500)
    table.add(12, 11, 500)
    table.processes[11].memory = table.processes[12].memory = table.processes[10].memory
    assert mib(meter.sample([10])) == {10: 500}
    del table.processes[12]
    table.add(11, 10, 3)  # it has called exec
    assert mib(meter.sample([10])) == {10: 503}


def test_pages_of_whom_the_worker_was_forked_from_do_not_count(
    table: FakeTable, meter: TreeMeter
) -> None:
    table.add(10, 1, 1000, group=10, unshared=30)
    assert mib(meter.sample([10])) == {10: 30}
    table.processes[10].memory = private(1500 * MIB)
    assert mib(meter.sample([10])) == {10: 530}


def test_shared_page_that_was_written_to_counts_from_the_next_count_on(
    table: FakeTable, meter: TreeMeter
) -> None:
    table.add(10, 1, 1000, group=10, unshared=30)
    meter.sample([10])
    table.add(10, 1, 1000, group=10, unshared=700)
    meter.sample([10])
    assert mib(meter.sample([10])) == {10: 700}


def test_pages_that_a_worker_shares_with_its_child_count_once(
    table: FakeTable, meter: TreeMeter
) -> None:
    table.add(10, 1, 1000, group=10, unshared=1000, divided=1000)
    assert mib(meter.sample([10])) == {10: 1000}
    table.add(10, 1, 1000, group=10, unshared=0, divided=500)
    table.add(11, 10, 1100, unshared=100, divided=600)
    assert mib(meter.sample([10])) == {10: 1100}


def test_pages_of_a_small_process_are_not_counted(table: FakeTable, meter: TreeMeter) -> None:
    table.add(10, 1, 15, group=10, unshared=1)
    assert mib(meter.sample([10])) == {10: 15}
    assert table.counted == []


def test_process_that_shares_nothing_is_counted_only_once(
    table: FakeTable, meter: TreeMeter
) -> None:
    table.add(10, 1, 100, group=10, unshared=100)
    for _ in range(3):
        meter.sample([10])
    assert table.counted == [10]


def test_pages_are_asked_for_again_where_nobody_knew(table: FakeTable, meter: TreeMeter) -> None:
    table.add(10, 1, 100, group=10)
    assert mib(meter.sample([10])) == {10: 100}
    table.add(10, 1, 100, group=10, unshared=40)
    assert mib(meter.sample([10])) == {10: 40}


def test_counting_again_takes_turns_and_little_of_the_time(
    table: FakeTable, meter: TreeMeter
) -> None:
    for pid in (10, 20):
        table.add(pid, 1, 100, group=pid, unshared=40)
    table.counting_takes = 10 * EXACT_PART
    meter.sample([10, 20])
    table.counted.clear()
    for _ in range(35):
        table.now += 1.0
        meter.sample([10, 20])
    assert table.counted == [10, 20]


def test_looking_for_new_processes_takes_little_of_the_time(
    table: FakeTable, meter: TreeMeter
) -> None:
    table.listing_takes = 0.5 * LISTING_PART
    meter.sample([10])
    table.add(11, 10, 2)
    table.now += 0.4
    assert mib(meter.sample([10])) == {10: 5}
    table.now += 0.2
    assert mib(meter.sample([10])) == {10: 7}
    assert table.n_listings == 2


def test_new_processes_are_found_in_time_on_a_machine_full_of_them(
    table: FakeTable, meter: TreeMeter
) -> None:
    table.listing_takes = 60.0
    meter.sample([10])
    table.add(11, 10, 2)
    table.now += 1.1 * MAX_LISTING_GAP
    assert mib(meter.sample([10])) == {10: 7}


# With real processes.

PRELUDE = f"""
import mmap, os, subprocess, sys
SIZE = {SIZE}
def take(n_bytes=SIZE):
    return bytearray(b"x") * n_bytes
def say():
    os.write(1, b"ready\\n")
def wait():
    sys.stdin.buffer.raw.read(1)
def fork(then):
    pid = os.fork()
    if pid == 0:
        try:
            then()
        finally:
            os._exit(0)
    return pid
"""

Start = Callable[[str], subprocess.Popen[bytes]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Return a function that starts a worker, in a process group of its own, with some code.

    It returns when the code, or a child of the process, has said that it is ready. When the
    test ends, all that wait are let go.
    """
    with ExitStack() as stack:

        def begin(code: str) -> subprocess.Popen[bytes]:
            process = subprocess.Popen(
                [sys.executable, "-c", PRELUDE + textwrap.dedent(code)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                process_group=0,
            )
            stack.callback(process.wait, timeout=60)
            stack.enter_context(process.stdout)
            stack.callback(process.stdin.close)
            told_to_go_on(process, b"")
            return process

        yield begin


def told_to_go_on(process: subprocess.Popen[bytes], word: bytes = b".") -> None:
    """Let one waiting process continue; return when a process says that it is ready."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(word)
    process.stdin.flush()
    assert process.stdout.readline() == b"ready\n"


@pytest.fixture(params=["proc", "psutil"])
def real(request: pytest.FixtureRequest) -> TreeMeter:
    """A meter of this system, by each of the tables, whose looks take no time."""
    if request.param == "psutil":
        return TreeMeter(PsutilTable(), clock=lambda: 0.0)
    if not ProcTable().exists():
        pytest.skip("this system has no /proc")
    return TreeMeter(ProcTable(), clock=lambda: 0.0)


@pytest.fixture
def linux() -> TreeMeter:
    if not ProcTable().exists():
        pytest.skip("this system has no /proc")
    return TreeMeter(ProcTable(), clock=lambda: 0.0)


def test_what_a_worker_takes_shows(start: Start, real: TreeMeter) -> None:
    worker = start("say(); wait(); buffer = take(); say(); wait()")
    before = real.sample([worker.pid])[worker.pid]
    told_to_go_on(worker)
    growth = real.sample([worker.pid])[worker.pid] - before
    assert SIZE - SLACK < growth < SIZE + SLACK


GRANDCHILD = PRELUDE + "buffer = take(); say(); wait()"


@pytest.mark.parametrize(
    "how", ["", "process_group=0", "start_new_session=True"], ids=["same-group", "group", "session"]
)
def test_what_a_program_of_a_hook_takes_shows(start: Start, real: TreeMeter, how: str) -> None:
    worker = start(f"say(); wait(); subprocess.run([sys.executable, '-c', {GRANDCHILD!r}], {how})")
    before = real.sample([worker.pid])[worker.pid]
    told_to_go_on(worker)
    growth = real.sample([worker.pid])[worker.pid] - before
    assert SIZE - SLACK < growth < SIZE + 3 * SLACK


ORPHAN = """
def orphan():
    buffer = take()
    say()
    wait()
def intermediate():
    fork(orphan)
say()
wait()
os.waitpid(fork(intermediate), 0)
wait()
"""


def test_what_an_orphan_of_the_group_takes_shows(start: Start, real: TreeMeter) -> None:
    worker = start(ORPHAN)
    before = real.sample([worker.pid])[worker.pid]
    told_to_go_on(worker)
    assert real.sample([worker.pid])[worker.pid] > before + SIZE - SLACK


def test_what_a_neighbour_takes_does_not_show(start: Start, real: TreeMeter) -> None:
    worker = start("say(); wait()")
    before = real.sample([worker.pid])[worker.pid]
    neighbour = start("buffer = take(); say(); wait()")
    both = real.sample([worker.pid, neighbour.pid])
    assert both[worker.pid] < before + SLACK
    assert both[neighbour.pid] > SIZE


def test_worker_that_has_ended_uses_nothing(start: Start, real: TreeMeter) -> None:
    worker = start("say(); wait()")
    assert worker.stdin is not None
    worker.stdin.close()
    os.waitid(os.P_PID, worker.pid, os.WEXITED | os.WNOWAIT)
    assert real.sample([worker.pid]) == {worker.pid: 0}
    worker.wait()
    assert real.sample([worker.pid]) == {worker.pid: 0}


def test_mapped_file_and_shared_memory_do_not_count(
    start: Start, linux: TreeMeter, tmp_path: Path
) -> None:
    path = tmp_path / "mapped"
    path.write_bytes(bytes(SIZE))
    code = f"""
        say()
        wait()
        with open({str(path)!r}, "rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        shared = mmap.mmap(-1, SIZE)  # anonymous and shared: memory, but of no process alone
        n_pages = sum(mapped[i] for i in range(0, SIZE, 4096))
        for i in range(0, SIZE, 4096):
            shared[i] = 1
        say()
        wait()
    """
    worker = start(code)
    before = linux.sample([worker.pid])[worker.pid]
    told_to_go_on(worker)
    assert linux.sample([worker.pid])[worker.pid] < before + SLACK


FORKED = """
buffer = take(4 * SIZE)
def child():
    say()
    wait()
    for i in range(0, SIZE, 4096):
        buffer[i] = 1
    say()
    wait()
fork(child)
os.wait()
"""


def test_pages_of_a_fork_count_when_they_have_been_written_to(
    start: Start, linux: TreeMeter
) -> None:
    """The process that has forked stands for the caller's, its child for a worker."""
    parent = start(FORKED)
    child = only_child(parent.pid)
    before = linux.sample([child])[child]
    assert before < SLACK
    told_to_go_on(parent)
    linux.sample([child])
    assert SIZE - SLACK < linux.sample([child])[child] - before < SIZE + SLACK


def test_pages_that_a_hook_shares_with_its_child_count_once(start: Start, linux: TreeMeter) -> None:
    parent = start(FORKED)
    used = linux.sample([parent.pid])[parent.pid]
    assert 4 * SIZE < used < 5 * SIZE


def only_child(pid: int) -> int:
    table = ProcTable()
    (child,) = (each for each in table.pids() if (kin := table.kin(each)) and kin.parent == pid)
    return child


def test_this_system_has_a_table() -> None:
    table: ProcessTable = system_table()
    assert os.getpid() in table.pids()


def test_psutil_is_asked_where_there_is_no_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ProcTable, "exists", lambda self: False)
    used = TreeMeter().sample([os.getpid()])
    assert used[os.getpid()] > MIB
