from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from bigpipe import measure
from bigpipe.errors import BigpipeError, MemoryBudgetError, OptionError
from bigpipe.measure import (
    PeakMeter,
    mem_available_bytes,
    n_cores,
    n_logical_cores,
    num_can_process,
)

GIB = 2**30
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


def topology(*cores: tuple[int, int]) -> dict[str, str]:
    """Texts of ``/sys`` for logical cores that are each on a (package, core)."""
    folder = "sys/devices/system/cpu/cpu{}/topology/{}"
    texts = {}
    for cpu, (package, core) in enumerate(cores):
        texts[folder.format(cpu, "physical_package_id")] = str(package)
        texts[folder.format(cpu, "core_id")] = str(core)
    return texts


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


@pytest.fixture
def affinity(monkeypatch: pytest.MonkeyPatch) -> Callable[[set[int] | None], None]:
    """Return a function that sets which logical cores this process may seem to use."""

    def set_to(cpus: set[int] | None) -> None:
        monkeypatch.setattr(measure, "_affinity", lambda: cpus)

    return set_to


FOUR_CORES_TWICE = topology((0, 0), (0, 1), (1, 0), (1, 1), (0, 0), (0, 1), (1, 0), (1, 1))


@pytest.mark.parametrize(
    ("allowed", "physical", "logical"),
    [
        pytest.param({0, 1, 2, 3, 4, 5, 6, 7}, 4, 8, id="all"),
        pytest.param({0, 4}, 1, 2, id="two-threads-of-one-core"),
        pytest.param({0, 2}, 2, 2, id="same-core-number-in-two-packages"),
        pytest.param({5}, 1, 1, id="one"),
    ],
)
def test_only_cores_of_the_affinity_count(
    tree: Tree, affinity: Any, allowed: set[int], physical: int, logical: int
) -> None:
    affinity(allowed)
    root = tree(FOUR_CORES_TWICE)
    assert n_cores(root) == physical
    assert n_logical_cores(root) == logical


def test_logical_cores_count_where_topology_is_not_told(tree: Tree, affinity: Any) -> None:
    affinity({0, 1, 2})
    assert n_cores(tree({})) == 3


def test_cores_of_two_dies_are_told_apart(tree: Tree, affinity: Any) -> None:
    affinity({0, 1})
    texts = topology((0, 0), (0, 0))
    for cpu in (0, 1):
        texts[f"sys/devices/system/cpu/cpu{cpu}/topology/die_id"] = str(cpu)
    assert n_cores(tree(texts)) == 2


@pytest.mark.parametrize("count", [8, None], ids=["known", "unknown"])
def test_system_is_asked_where_there_is_no_affinity(
    tree: Tree, affinity: Any, monkeypatch: pytest.MonkeyPatch, count: int | None
) -> None:
    affinity(None)
    monkeypatch.setattr(psutil, "cpu_count", lambda logical=True: count)
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert n_cores(tree({})) == (count or 1)
    assert n_logical_cores(tree({})) == (count or 1)


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
    assert n_cores(tree(topology((0, 0), (0, 1), (0, 2), (0, 3)) | texts)) == expected
    assert n_logical_cores(tree(texts)) == expected


def test_mount_point_with_a_space_is_found(tree: Tree, affinity: Any) -> None:
    affinity({0, 1})
    mount = r"31 23 0:28 / /my\040groups rw - cgroup2 cgroup2 rw"
    texts = v2("/", {}, mount) | {"my groups/cpu.max": "100 100"}
    assert n_logical_cores(tree(texts)) == 1


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


def test_psutil_is_asked_where_the_kernel_does_not_tell(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Memory", (), {"available": 7}))
    assert mem_available_bytes(tree({})) == 7


def test_this_machine_gives_figures_that_psutil_does_not_contradict() -> None:
    assert 1 <= n_cores() <= n_logical_cores() <= psutil.cpu_count()
    assert 0 < mem_available_bytes() <= psutil.virtual_memory().total


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seem to have four cores and 10,000 bytes."""
    monkeypatch.setattr(measure, "n_cores", lambda: 4)
    monkeypatch.setattr(measure, "mem_available_bytes", lambda: 10_000)


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


def touch(size: int) -> bytearray:
    """Return a buffer whose every page is resident."""
    return bytearray(b"x") * size


@pytest.fixture
def meter() -> Iterator[PeakMeter]:
    meter = PeakMeter()
    if not meter.resets:
        meter.close()
        pytest.skip("this system cannot reset the peak")
    yield meter
    meter.close()


SIZE = 64 << 20
SLACK = 8 << 20  # the kernel counts pages in batches, and Python keeps some of its own


def test_peak_falls_after_a_reset(meter: PeakMeter) -> None:
    meter.reset()
    before = meter.peak()
    buffer = touch(SIZE)
    assert meter.peak() > before + SIZE - SLACK
    del buffer
    assert meter.peak() > before + SIZE - SLACK
    meter.reset()
    assert meter.peak() < before + SLACK


PEAK_OF_A_SMALL_PROCESS = f"""
import json
from bigpipe.measure import PeakMeter
meter = PeakMeter()
meter.reset()
before = meter.peak()
buffer = bytearray(b"x") * {SIZE}
during = meter.peak()
del buffer
meter.reset()
print(json.dumps([meter.resets, before, during, meter.peak()]))
"""


def test_peak_is_not_that_of_the_process_that_started_this_one() -> None:
    """The kernel's cheap figure keeps, through exec, the peak of the parent."""
    buffer = touch(4 * SIZE)
    run = subprocess.run(
        [sys.executable, "-c", PEAK_OF_A_SMALL_PROCESS],
        check=True,
        stdout=subprocess.PIPE,
        timeout=60,
    )
    del buffer
    resets, before, during, after = json.loads(run.stdout)
    if not resets:
        pytest.skip("this system cannot reset the peak")
    assert before < 2 * SIZE
    assert before + SIZE - SLACK < during < before + SIZE + SLACK
    assert after < before + SLACK


def test_meter_measures_the_child_after_a_fork(meter: PeakMeter) -> None:
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            meter.reset()
            before = meter.peak()
            del before
            buffer = touch(SIZE)
            high = meter.peak()
            del buffer
            meter.reset()
            os.write(writer, json.dumps([high, meter.peak()]).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader) as answer:
        high, low = json.load(answer)
    os.waitpid(pid, 0)
    assert low < high - SIZE + SLACK


def test_closed_meter_still_gives_the_peak_of_the_process(meter: PeakMeter) -> None:
    meter.close()
    meter.close()
    meter.reset()
    assert not meter.resets
    assert meter.peak() > 0


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="descriptors are not listed")
def test_meter_gives_its_descriptors_back() -> None:
    before = len(os.listdir("/proc/self/fd"))
    meters = [PeakMeter() for _ in range(5)]
    for meter in meters:
        meter.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_peak_is_told_where_it_cannot_be_reset(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any) -> int:
        raise PermissionError("read-only /proc")

    monkeypatch.setattr(os, "open", refuse)
    meter = PeakMeter()
    meter.reset()
    assert not meter.resets
    assert meter.peak() > 1_000_000
