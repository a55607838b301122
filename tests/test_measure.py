from __future__ import annotations

import os
import resource
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from bigpipe import measure
from bigpipe.errors import BigpipeError, MemoryBudgetError, OptionError
from bigpipe.measure import (
    PsutilTable,
    Share,
    current_share,
    mem_available_bytes,
    memory_pressure,
    n_cores,
    num_can_process,
    set_share,
    usable_memory,
)
from bigpipe.options import Options
from bigpipe.system.process_table import Kin

GIB = 2**30
PAGE = resource.getpagesize()
UNLIMITED_V1 = "9223372036854771712"
V2_MOUNT = "31 23 0:28 / /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw"

Tree = Callable[[dict[str, str]], str]


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """Return a function that makes a folder to stand for ``/`` from a dict of texts."""

    def make(texts: dict[str, str]) -> str:
        for name, text in texts.items():
            path = tmp_path / "root" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text + "\n")
        return str(tmp_path / "root")

    return make


def topology(*cores: str) -> dict[str, str]:
    """Texts of ``/sys`` for logical cores, each with the core that it is a thread of."""
    path = "sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"
    threads = [[str(cpu) for cpu, other in enumerate(cores) if other == core] for core in cores]
    return {path.format(cpu): ",".join(siblings) for cpu, siblings in enumerate(threads)}


def meminfo(available: int) -> dict[str, str]:
    lines = ["MemTotal: 999999999 kB", "MemFree: 1 kB", f"MemAvailable:  {available // 1024} kB"]
    return {"proc/meminfo": "\n".join(lines)}


def v2(group: str, files: dict[str, str], mount: str = V2_MOUNT) -> dict[str, str]:
    """Texts of a system with version 2 alone."""
    texts = {"proc/self/cgroup": f"0::{group}", "proc/self/mountinfo": mount}
    return texts | {f"sys/fs/cgroup/{name}": text for name, text in files.items()}


def v1(controller: str, group: str, files: dict[str, str], mounted: str = "/") -> dict[str, str]:
    """Texts of a system with version 1, as with version 2 beside it without controllers."""
    mounts = [
        "22 20 0:20 / / rw - ext4 /dev/sda rw",
        f"33 31 0:30 {mounted} /sys/fs/cgroup/{controller} rw - cgroup cgroup rw,{controller},x",
        "34 31 0:31 / /sys/fs/cgroup/other rw - cgroup cgroup rw,other",
        "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw",
    ]
    texts = {
        "proc/self/cgroup": f"4:{controller},x:{group}\n2:other:/elsewhere\n0::/",
        "proc/self/mountinfo": "\n".join(mounts),
    }
    return texts | {f"sys/fs/cgroup/{controller}/{name}": text for name, text in files.items()}


@pytest.fixture(autouse=True)
def no_limits_from_outside(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keep a batch system's limit out of these tests, and their shares out of others."""
    monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)
    before = set_share(None, None)
    yield
    set_share(*before)


@pytest.fixture
def affinity(monkeypatch: pytest.MonkeyPatch) -> Callable[[set[int] | None], None]:
    """Return a function that sets which logical cores this process may seem to use."""

    def set_to(cpus: set[int] | None) -> None:
        monkeypatch.setattr(measure, "_affinity", lambda: cpus)

    return set_to


FOUR_CORES_TWICE = topology(*"abcdabcd")


@pytest.mark.parametrize(
    ("allowed", "expected"),
    [
        pytest.param({0, 1, 2, 3, 4, 5, 6, 7}, 4, id="all"),
        pytest.param({0, 4}, 1, id="two-threads-of-one-core"),
        pytest.param({0, 2}, 2, id="threads-of-two-cores"),
        pytest.param({5}, 1, id="one"),
    ],
)
def test_only_cores_of_the_affinity_count(
    tree: Tree, affinity: Any, allowed: set[int], expected: int
) -> None:
    affinity(allowed)
    assert n_cores(tree(FOUR_CORES_TWICE)) == expected


def test_logical_cores_count_where_topology_is_not_told(tree: Tree, affinity: Any) -> None:
    affinity({0, 1, 2})
    assert n_cores(tree({})) == 3


@pytest.mark.parametrize("count", [8, None], ids=["known", "unknown"])
def test_system_is_asked_where_there_is_no_affinity(
    tree: Tree, affinity: Any, monkeypatch: pytest.MonkeyPatch, count: int | None
) -> None:
    affinity(None)
    monkeypatch.setattr(psutil, "cpu_count", lambda logical=True: count)
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert n_cores(tree({})) == (count or 1)


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        pytest.param(v2("/a/b", {"a/b/cpu.max": "200000 100000"}), 2, id="v2"),
        pytest.param(v2("/a/b", {"a/b/cpu.max": "250000 100000"}), 3, id="v2-rounded-up"),
        pytest.param(v2("/a/b", {"a/b/cpu.max": "1000 100000"}), 1, id="v2-at-least-one"),
        pytest.param(v2("/a/b", {"a/b/cpu.max": "max 100000"}), 4, id="v2-no-limit"),
        pytest.param(v2("/a/b", {"a/b/cpu.max": "900000 100000"}), 4, id="v2-above-cores"),
        pytest.param(
            v2("/a/b", {"a/b/cpu.max": "max 100000", "a/cpu.max": "100000 100000"}),
            1,
            id="v2-enclosing-group",
        ),
        pytest.param(v2("/", {"cpu.max": "300000 100000"}), 3, id="v2-own-root"),
        pytest.param(
            v2("/../x", {"cpu.max": "300000 100000", "../x/cpu.max": "1 1"}),
            3,
            id="v2-outside-namespace",
        ),
        pytest.param(
            v2(
                "/docker/c1/s",
                {"s/cpu.max": "max 100000", "cpu.max": "200000 100000"},
                "31 23 0:28 /docker/c1 /sys/fs/cgroup rw - cgroup2 cgroup2 rw",
            ),
            2,
            id="v2-container-sees-its-part",
        ),
        pytest.param(
            v2(
                "/elsewhere/abcd",
                {"cpu.max": "200000 100000", "abcd/cpu.max": "100000 100000"},
                "31 23 0:28 /docker/c1 /sys/fs/cgroup rw - cgroup2 cgroup2 rw",
            ),
            2,
            id="v2-group-is-not-in-the-mount",
        ),
        pytest.param(
            v1("cpu", "/j", {"j/cpu.cfs_quota_us": "150000", "j/cpu.cfs_period_us": "100000"}),
            2,
            id="v1",
        ),
        pytest.param(
            v1("cpu", "/j", {"j/cpu.cfs_quota_us": "-1", "j/cpu.cfs_period_us": "100000"}),
            4,
            id="v1-no-limit",
        ),
        pytest.param(
            v1("cpu", "/j/k", {"j/cpu.cfs_quota_us": "5000", "j/cpu.cfs_period_us": "5000"}),
            1,
            id="v1-enclosing-group",
        ),
        pytest.param(
            v1(
                "cpu",
                "/docker/c1",
                {"cpu.cfs_quota_us": "300000", "cpu.cfs_period_us": "100000"},
                mounted="/docker/c1",
            ),
            3,
            id="v1-container",
        ),
        pytest.param(
            v1("memory", "/j", {"j/cpu.cfs_quota_us": "1", "j/cpu.cfs_period_us": "1"}),
            4,
            id="v1-other-controller",
        ),
        pytest.param(
            {"proc/self/cgroup": "junk\n::", "proc/self/mountinfo": "x - y"}, 4, id="junk"
        ),
    ],
)
def test_cpu_quota_of_every_enclosing_group_counts(
    tree: Tree, affinity: Any, texts: dict[str, str], expected: int
) -> None:
    affinity({0, 1, 2, 3})
    assert n_cores(tree(topology(*"abcd") | texts)) == expected


@pytest.mark.parametrize(
    ("setting", "expected"),
    [("2", 2), ("9", 4), ("0", 1), ("", 4), ("many", 4)],
    ids=["lower", "higher", "at-least-one", "empty", "not-a-number"],
)
def test_slurm_gives_no_more_than_there_is(
    tree: Tree, affinity: Any, monkeypatch: pytest.MonkeyPatch, setting: str, expected: int
) -> None:
    affinity({0, 1, 2, 3})
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", setting)
    assert n_cores(tree({})) == expected


def test_mount_point_with_a_space_is_found(tree: Tree, affinity: Any) -> None:
    affinity({0, 1})
    mount = r"31 23 0:28 / /my\040groups rw - cgroup2 cgroup2 rw"
    texts = v2("/", {}, mount) | {"my groups/cpu.max": "100 100"}
    assert n_cores(tree(texts)) == 1


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        pytest.param({}, 8 * GIB, id="no-groups"),
        pytest.param(
            v2("/a", {"a/memory.max": str(4 * GIB), "a/memory.current": str(GIB)}),
            3 * GIB,
            id="v2",
        ),
        pytest.param(
            v2(
                "/a",
                {
                    "a/memory.max": str(4 * GIB),
                    "a/memory.current": str(3 * GIB),
                    "a/memory.stat": f"anon 5\ninactive_anon 7\ninactive_file {GIB}\nfile 9",
                },
            ),
            2 * GIB,
            id="v2-cache-is-free",
        ),
        pytest.param(
            v2("/a", {"a/memory.max": "max", "a/memory.high": "2048", "a/memory.current": "48"}),
            2000,
            id="v2-high",
        ),
        pytest.param(
            v2("/a", {"a/memory.max": "max", "a/memory.current": str(GIB)}), 8 * GIB, id="v2-max"
        ),
        pytest.param(
            v2(
                "/a/b",
                {
                    "a/b/memory.max": str(6 * GIB),
                    "a/b/memory.current": str(GIB),
                    "a/memory.max": str(7 * GIB),
                    "a/memory.current": str(5 * GIB),
                },
            ),
            2 * GIB,
            id="v2-siblings-use-the-enclosing-group",
        ),
        pytest.param(
            v2("/a", {"a/memory.max": "100", "a/memory.current": "200"}), 0, id="v2-over-limit"
        ),
        pytest.param(
            v1(
                "memory",
                "/j",
                {
                    "j/memory.limit_in_bytes": str(2 * GIB),
                    "j/memory.usage_in_bytes": str(GIB),
                    "j/memory.stat": f"inactive_file 1\ntotal_inactive_file {GIB // 2}",
                    "memory.limit_in_bytes": UNLIMITED_V1,
                    "memory.usage_in_bytes": str(GIB),
                },
            ),
            3 * GIB // 2,
            id="v1",
        ),
        pytest.param(
            v1(
                "memory",
                "/j",
                {
                    "j/memory.limit_in_bytes": UNLIMITED_V1,
                    "j/memory.usage_in_bytes": str(GIB),
                },
            ),
            8 * GIB,
            id="v1-no-limit",
        ),
        pytest.param(
            v2("/a", {"a/memory.max": str(99 * GIB), "a/memory.current": "0"}),
            8 * GIB,
            id="system-has-less",
        ),
    ],
)
def test_memory_is_the_least_that_system_and_groups_leave(
    tree: Tree, texts: dict[str, str], expected: int
) -> None:
    assert mem_available_bytes(tree(meminfo(8 * GIB) | texts)) == expected


def test_memory_is_that_of_the_present_limit_and_group(tree: Tree) -> None:
    files = {f"{name}/memory.current": "0" for name in "ab"}
    files |= {"a/memory.max": str(2 * GIB), "b/memory.max": str(5 * GIB)}
    root = tree(meminfo(8 * GIB) | v2("/a", files))
    assert mem_available_bytes(root) == 2 * GIB
    tree(v2("/a", {"a/memory.max": str(3 * GIB)}))
    assert mem_available_bytes(root) == 3 * GIB
    tree(v2("/b", {}))
    assert mem_available_bytes(root) == 5 * GIB


def test_psutil_is_asked_where_the_kernel_does_not_tell(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Memory", (), {"available": 7}))
    assert mem_available_bytes(tree({})) == 7


@pytest.fixture
def no_proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty folder for psutil, as ``/proc`` is in a chroot."""
    monkeypatch.setattr(psutil, "PROCFS_PATH", str(tmp_path))


@pytest.mark.skipif(sys.platform != "linux", reason="there is /proc on Linux alone")
def test_free_pages_count_where_psutil_does_not_know_either(no_proc: None, tree: Tree) -> None:
    assert (
        0
        < mem_available_bytes(tree({}))
        <= os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    )


@pytest.mark.skipif(sys.platform != "linux", reason="there is /proc on Linux alone")
def test_no_process_is_seen_where_psutil_sees_none(no_proc: None) -> None:
    table = PsutilTable()
    assert table.pids() == set()
    assert table.kin(os.getpid()) is None
    assert table.memory(os.getpid()) is None


def test_this_machine_gives_figures_that_psutil_does_not_contradict() -> None:
    assert 1 <= n_cores() <= psutil.cpu_count()
    assert 0 < mem_available_bytes() <= psutil.virtual_memory().total


def limits(address_space: str) -> dict[str, str]:
    lines = [
        "Limit                     Soft Limit           Hard Limit           Units     ",
        "Max resident set          1                    1                    bytes     ",
        f"Max address space         {address_space:20} unlimited            bytes     ",
    ]
    return {"proc/self/limits": "\n".join(lines)}


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        pytest.param(limits("unlimited"), 8 * GIB, id="none"),
        pytest.param(limits(str(3 * GIB)), 3 * GIB, id="own-size-unknown"),
        pytest.param(
            limits(str(3 * GIB)) | {"proc/self/statm": f"{GIB // PAGE} 9 1 1 0 1 0"},
            2 * GIB,
            id="less-own-size",
        ),
        pytest.param(limits("4096") | {"proc/self/statm": "9999 9 1 1 0 1 0"}, 0, id="used-up"),
        pytest.param(limits(str(99 * GIB)), 8 * GIB, id="system-has-less"),
    ],
)
def test_limit_of_the_address_space_counts(
    tree: Tree, texts: dict[str, str], expected: int
) -> None:
    assert mem_available_bytes(tree(meminfo(8 * GIB) | texts)) == expected


RLIMIT_CODE = """
import resource
from bigpipe.measure import mem_available_bytes
resource.setrlimit(resource.RLIMIT_AS, (2**31, resource.RLIM_INFINITY))
before = mem_available_bytes()
buffer = bytearray(2**27)
print(before, mem_available_bytes())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="kept by Linux alone")
def test_address_space_that_was_taken_is_no_longer_left() -> None:
    """The limit is far below what the machine has."""
    command = [sys.executable, "-c", RLIMIT_CODE]
    run = subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=60)
    before, after = map(int, run.stdout.split())
    assert before < 2**31
    assert after <= before - 2**27


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ({"proc/pressure/memory": "some avg10=12.50 avg60=0.00 total=7\nfull avg10=1.00"}, 12.5),
        ({"proc/pressure/memory": "junk"}, None),
        ({}, None),
    ],
    ids=["told", "junk", "not-told"],
)
def test_pressure_is_that_of_the_last_seconds(
    tree: Tree, texts: dict[str, str], expected: float | None
) -> None:
    assert memory_pressure(tree(texts)) == expected


def test_processes_are_found_without_proc() -> None:
    table = PsutilTable()
    assert os.getpid() in table.pids()
    assert table.kin(os.getpid()) == Kin(os.getppid(), os.getpgrp())
    memory = table.memory(os.getpid())
    assert memory is not None
    assert memory.private > 1_000_000
    assert table.anonymous(os.getpid()) is None


def test_process_that_is_gone_is_none_without_proc() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait(timeout=60)
    assert PsutilTable().kin(process.pid) is None
    assert PsutilTable().memory(process.pid) is None


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seem to have four cores and 10,000 bytes."""
    monkeypatch.setattr(measure, "n_cores", lambda: 4)
    monkeypatch.setattr(measure, "_available", lambda root: 10_000)


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        pytest.param({}, 4, id="cores"),
        pytest.param({"num_processes": 0}, 4, id="zero-is-all-cores"),
        pytest.param({"num_processes": 0.5}, 2, id="part-of-the-cores"),
        pytest.param({"num_processes": 0.01}, 1, id="at-least-one"),
        pytest.param({"num_processes": 2.0}, 2, id="float"),
        pytest.param({"num_processes": 99}, 99, id="more-than-cores"),
        pytest.param({"num_to_process": 3}, 3, id="few-to-process"),
        pytest.param({"num_to_process": 3.0}, 3, id="few-as-float"),
        pytest.param({"num_to_process": 0}, 0, id="none-to-process"),
        pytest.param({"process_size": 4000}, 2, id="part-of-what-is-available"),
        pytest.param({"process_size": 8000}, 1, id="one-fits-exactly"),
        pytest.param({"process_size": 5000, "mem_frac": 1}, 2, id="mem_frac"),
        pytest.param({"process_size": 1, "mem_available": 3}, 3, id="mem_available"),
        pytest.param({"process_size": "1kB", "mem_available": "2KiB"}, 2, id="text"),
        pytest.param({"process_size": 0}, 4, id="no-size-no-limit"),
        pytest.param({"process_size": 9000, "error_if_zero": False}, 0, id="none-fits"),
        pytest.param({"process_size": 1, "mem_available": 0, "error_if_zero": False}, 0, id="0 B"),
        pytest.param({"mem_available": 0}, 4, id="memory-without-size"),
    ],
)
def test_processes_that_may_run_at_once(arguments: dict[str, Any], expected: int) -> None:
    count = num_can_process(**arguments)
    assert count == expected
    assert type(count) is int


@pytest.mark.parametrize(
    ("share", "expected"),
    [
        pytest.param((None, None), (4, 10_000, 8000), id="none"),
        pytest.param((3000, None), (4, 3000, 3000), id="memory"),
        pytest.param((9000, None), (4, 9000, 8000), id="memory-above-part"),
        pytest.param((20_000, None), (4, 10_000, 8000), id="memory-above-all"),
        pytest.param((0, None), (4, 0, 0), id="no-memory"),
        pytest.param((None, 2.9), (2, 10_000, 8000), id="cores"),
        pytest.param((None, 0.5), (1, 10_000, 8000), id="part-of-a-core"),
        pytest.param((None, 64), (4, 10_000, 8000), id="more-cores-than-there-are"),
    ],
)
def test_figures_are_the_least_of_the_share_and_of_what_is_there(
    monkeypatch: pytest.MonkeyPatch,
    affinity: Any,
    share: tuple[int | None, float | None],
    expected: tuple[int, int, int],
) -> None:
    monkeypatch.setattr(measure, "_available", lambda root: 10_000)
    monkeypatch.setattr(measure, "cpu_quotas", lambda root: iter(()))
    monkeypatch.setattr(measure, "_core_of", lambda cpu, root: (str(cpu),))
    affinity({0, 1, 2, 3})
    set_share(*share)
    assert (n_cores(), mem_available_bytes(), usable_memory(Options())[0]) == expected
    assert num_can_process(process_size=1, error_if_zero=False) == min(expected[0], expected[2])


def test_setting_a_share_tells_the_one_before() -> None:
    assert set_share(7, 2.0) == Share(None, None)
    assert set_share(None, 1.0) == Share(7, 2.0)
    assert current_share() == Share(None, 1.0)
    assert set_share(1, None, in_thread=True) == Share(None, None)
    assert set_share(2, None, in_thread=True) == Share(1, None)
    assert current_share() == Share(2, None)
    assert set_share(None, None, in_thread=True) == Share(2, None)
    assert current_share() == Share(None, 1.0)


def share_in_another_thread() -> Share:
    shares: list[Share] = []
    thread = threading.Thread(target=lambda: shares.append(current_share()))
    thread.start()
    thread.join(60)
    return shares[0]


def test_share_of_a_process_holds_in_threads_of_a_hook() -> None:
    set_share(7, 2.0)
    assert share_in_another_thread() == Share(7, 2.0)


def test_share_of_a_thread_holds_in_no_other() -> None:
    set_share(7, 2.0, in_thread=True)
    try:
        assert share_in_another_thread() == Share(None, None)
    finally:
        set_share(None, None, in_thread=True)


@pytest.mark.usefixtures("machine")
def test_memory_that_is_given_goes_before_the_share() -> None:
    set_share(3000, None)
    assert num_can_process(process_size=1000, mem_available=4000) == 4


@pytest.mark.usefixtures("machine")
def test_too_small_a_share_is_said_to_be_one() -> None:
    set_share(2048, None)
    with pytest.raises(MemoryBudgetError) as caught:
        num_can_process(process_size="3 GiB")
    for part in ("2.0 KiB", "3.0 GiB", "the share of the file", "process_size"):
        assert part in str(caught.value)
    assert "mem_frac" not in str(caught.value)
    assert num_can_process(process_size="3 GiB", error_if_zero=False) == 0


def test_positional_order_is_the_published_one() -> None:
    assert num_can_process(9, 8, 7000, 0.5, 1000, True) == 7


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize(
    ("arguments", "figure"),
    [({}, "7.8 KiB"), ({"mem_available": 2048}, "2.0 KiB"), ({"num_to_process": 0}, "7.8 KiB")],
    ids=["measured", "given", "nothing-to-process"],
)
def test_too_little_memory_gives_both_figures_and_the_remedy(
    arguments: dict[str, Any], figure: str
) -> None:
    with pytest.raises(MemoryBudgetError) as caught:
        num_can_process(process_size="3 GiB", **arguments)
    assert isinstance(caught.value, EnvironmentError)
    assert isinstance(caught.value, BigpipeError)
    for part in (figure, "3.0 GiB", "process_size", "mem_available", "error_if_zero"):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    "arguments",
    [
        {"num_processes": -1},
        {"num_to_process": -1},
        {"num_to_process": "many"},
        {"process_size": "2G"},
        {"process_size": -1},
        {"process_size": 1, "mem_available": "much"},
        {"process_size": 1, "mem_frac": -0.1},
        {"process_size": 1, "mem_frac": "most"},
    ],
    ids=str,
)
def test_value_that_makes_no_sense_is_refused_by_its_name(arguments: dict[str, Any]) -> None:
    name, value = list(arguments.items())[-1]
    with pytest.raises(ValueError, match=f"{name}={value!r}") as caught:
        num_can_process(**arguments)
    assert isinstance(caught.value, OptionError)


def test_psutil_is_not_imported_on_linux() -> None:
    code = (
        "import sys\nfrom bigpipe.measure import num_can_process\n"
        "num_can_process(process_size=1)\nassert 'psutil' not in sys.modules or "
        "not sys.platform.startswith('linux')"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
