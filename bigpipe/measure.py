"""What this process may use of the machine, and what it has used: cores and memory.

Owns every measurement; the only importer of psutil. What follows from the figures is
decided in `bigpipe.budget`.

A process is limited by more than the machine: by its affinity, and by every control group
(cgroup) that it is in, the innermost and all those around it. Where the files of a group
are follows from two texts::

    /proc/self/cgroup       which group, for each hierarchy:   4:memory:/batch/job7
    /proc/self/mountinfo    where a hierarchy is mounted, and which of its groups is
                            at the mount point:                /batch -> /sys/fs/cgroup/memory

    here: /sys/fs/cgroup/memory/job7, then /sys/fs/cgroup/memory

The functions that read such texts take the folder that stands for ``/``.
"""

from __future__ import annotations

import math
import os
import re
import resource
import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NamedTuple

from bigpipe.budget import fit_count, format_bytes, parse_bytes, wanted_processes
from bigpipe.errors import MemoryBudgetError, OptionError

__all__ = [
    "PeakMeter",
    "mem_available_bytes",
    "n_cores",
    "n_logical_cores",
    "num_can_process",
]

_CLEAR_PEAK = b"5"  # written to clear_refs: peak RSS becomes current RSS, see proc(5)
_PEAK_LINE = re.compile(rb"^VmHWM:\s*([0-9]+) kB$", re.MULTILINE)
_RUSAGE_SLACK = 4 << 20  # bytes: how far the kernel's two figures of one peak differ; arbitrary


def num_can_process(
    num_to_process: int | None = None,
    num_processes: float | None = None,
    mem_available: float | str | None = None,
    mem_frac: float = 0.8,
    process_size: float | str | None = None,
    error_if_zero: bool = True,
) -> int:
    """Count the processes that may run at once.

    Parameters
    ----------
    num_to_process : int, optional
        Number of things to process, if it is known.
    num_processes : number, optional
        Processes allowed. ``None`` or 0: as many as there are physical cores that this
        process may use; below 1: that part of them, at least 1.
    mem_available : number or str, optional
        Bytes that all processes together may use, or text such as ``'8 GiB'``. If not
        given, `mem_frac` of what is available now.
    mem_frac : float, optional
        Part of the available memory to use. Not used if `mem_available` is given.
    process_size : number or str, optional
        Bytes that one process needs, or text. If not given, memory does not limit.
    error_if_zero : bool, optional
        Raise if the memory is not enough for one process. ``False``: return 0.

    Returns
    -------
    int
        The least of the three; 0 also if there is nothing to process.

    Raises
    ------
    MemoryBudgetError
        If the memory is not enough for one process. It is an `EnvironmentError`.
    OptionError
        If a value cannot be used, such as a negative number. It is a `ValueError`.

    Examples
    --------
    >>> num_can_process(100, num_processes=8, mem_available="10 GiB", process_size="3 GiB")
    3
    """
    n_processes = wanted_processes(num_processes, n_cores())
    n_tasks = None if num_to_process is None else _whole("num_to_process", num_to_process)
    size = None if process_size is None else _size("process_size", process_size)
    if not size:
        return fit_count(n_tasks, n_processes, None, None)
    if mem_available is not None:
        memory = _size("mem_available", mem_available)
    else:
        memory = int(mem_available_bytes() * _fraction("mem_frac", mem_frac))
    if memory < size and error_if_zero:
        source = f"mem_frac={mem_frac} of what is available now"
        raise MemoryBudgetError(
            f"Memory is not enough for one process: {format_bytes(memory)} may be used "
            f"({'mem_available' if mem_available is not None else source}), process_size is "
            f"{format_bytes(size)}. Lower process_size if one file needs less, raise "
            "mem_available or mem_frac, or free memory. With error_if_zero=False, "
            "num_can_process returns 0 instead."
        )
    return fit_count(n_tasks, n_processes, memory, size)


def _size(name: str, value: Any) -> int:
    try:
        return parse_bytes(value)
    except OptionError as error:
        raise OptionError(f"{name}={value!r}: {error}") from None


def _whole(name: str, value: Any) -> int:
    try:
        whole = int(value)
    except (TypeError, ValueError, OverflowError):
        whole = -1
    if whole < 0:
        raise OptionError(f"{name}={value!r} is not a count: give a whole number, not below 0.")
    return whole


def _fraction(name: str, value: Any) -> float:
    try:
        fraction = float(value)
    except (TypeError, ValueError):
        fraction = math.nan
    if not 0 <= fraction < math.inf:  # NaN fails this too
        raise OptionError(f"{name}={value!r} is not a part of the memory, such as 0.8.")
    return fraction


def n_cores(root: str = "/") -> int:
    """Count the physical cores that this process may use: affinity and cgroup quotas kept.

    Parameters
    ----------
    root : str, optional
        The folder that stands for ``/``.

    Returns
    -------
    int
        At least 1. Where the cores of a machine cannot be told apart, its logical ones.
    """
    allowed = _affinity()
    if allowed is None:
        cores = _psutil_count(logical=False)
    else:
        cores = len({_core_of(cpu, root) for cpu in allowed})
    return _within_quota(cores, root)


def n_logical_cores(root: str = "/") -> int:
    """Count the logical cores (hardware threads) that this process may use.

    Parameters
    ----------
    root : str, optional
        The folder that stands for ``/``.

    Returns
    -------
    int
        At least 1.
    """
    allowed = _affinity()
    cores = _psutil_count(logical=True) if allowed is None else len(allowed)
    return _within_quota(cores, root)


def _affinity() -> set[int] | None:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None


def _psutil_count(*, logical: bool) -> int:
    import psutil

    return psutil.cpu_count(logical=logical) or os.cpu_count() or 1


def _core_of(cpu: int, root: str) -> tuple[str, ...]:
    """Name the physical core of a logical one; its own number where the system does not say."""
    topology = os.path.join(root, f"sys/devices/system/cpu/cpu{cpu}/topology")
    package = _read(os.path.join(topology, "physical_package_id"))
    core = _read(os.path.join(topology, "core_id"))
    if package is None or core is None:
        return (f"cpu{cpu}",)
    die = _read(os.path.join(topology, "die_id")) or ""  # since Linux 5.2
    return (package.strip(), die.strip(), core.strip())


def _within_quota(cores: int, root: str) -> int:
    quota = min(_cpu_quotas(root), default=math.inf)
    if quota < cores:
        cores = math.ceil(quota)
    return max(1, cores)


def _cpu_quotas(root: str) -> Iterator[float]:
    """Yield, for each enclosing group that limits it, the cores' worth of time allowed."""
    for version, folder in _group_folders("cpu", root):
        if version == 2:
            text = _read(os.path.join(folder, "cpu.max")) or ""
            quota, _, period = text.strip().partition(" ")
        else:
            quota = _read(os.path.join(folder, "cpu.cfs_quota_us")) or ""
            period = _read(os.path.join(folder, "cpu.cfs_period_us")) or ""
        allowed, each = _number(quota), _number(period)
        if allowed is not None and allowed > 0 and each:  # 'max' and -1 do not limit
            yield allowed / each


def mem_available_bytes(root: str = "/") -> int:
    """Measure the memory that this process may still take without swapping.

    Parameters
    ----------
    root : str, optional
        The folder that stands for ``/``.

    Returns
    -------
    int
        Bytes: the least of what the system has available and what each enclosing cgroup
        leaves. File cache that the kernel can drop counts as free.
    """
    return max(0, min([_system_available(root), *_group_available(root)]))


def _system_available(root: str) -> int:
    match = re.search(
        r"^MemAvailable:\s*([0-9]+) kB$", _read(os.path.join(root, "proc/meminfo")) or "", re.M
    )
    if match is not None:
        return int(match[1]) * 1024
    import psutil

    return int(psutil.virtual_memory().available)


class _MemoryFiles(NamedTuple):
    limits: tuple[str, ...]
    used: str
    reclaimable: str
    """Name of the line in ``memory.stat`` that counts droppable file cache, subgroups included."""


_MEMORY_FILES = {
    1: _MemoryFiles(("memory.limit_in_bytes",), "memory.usage_in_bytes", "total_inactive_file"),
    # Above memory.high processes are slowed down until they have given pages back.
    2: _MemoryFiles(("memory.max", "memory.high"), "memory.current", "inactive_file"),
}


def _group_available(root: str) -> Iterator[int]:
    """Yield, for each enclosing group that limits memory, the bytes it leaves."""
    for version, folder in _group_folders("memory", root):
        files = _MEMORY_FILES[version]
        texts = [_read(os.path.join(folder, name)) for name in files.limits]
        limits = [limit for limit in map(_number, texts) if limit is not None]
        used = _number(_read(os.path.join(folder, files.used)))
        if not limits or used is None:
            continue
        stat = _read(os.path.join(folder, "memory.stat")) or ""
        match = re.search(rf"^{files.reclaimable} ([0-9]+)$", stat, re.M)
        yield min(limits) - used + (int(match[1]) if match else 0)


def _group_folders(controller: str, root: str) -> Iterator[tuple[int, str]]:
    """Yield version and folder of each group that this process is in, innermost first."""
    groups = _groups_of_process(_read(os.path.join(root, "proc/self/cgroup")) or "")
    for mount in _cgroup_mounts(_read(os.path.join(root, "proc/self/mountinfo")) or ""):
        if mount.version == 1 and controller not in mount.controllers:
            continue
        group = groups.get(controller if mount.version == 1 else "")
        if group is None:
            continue
        top = os.path.join(root, mount.point.lstrip("/"))
        below = _path_below(group, mount.group)
        while below:
            yield mount.version, os.path.join(top, below)
            below = os.path.dirname(below)
        yield mount.version, top


def _path_below(group: str, mounted: str) -> str:
    """Return the path of a group below the mount point, ``''`` if it is that or not below.

    In a container the text may give the path outside, which is not visible inside: the
    mount point is then the innermost group that can be read.
    """
    prefix = mounted.rstrip("/") + "/"
    inside = group.startswith(prefix) and ".." not in group.split("/")
    return group[len(prefix) :] if inside else ""


def _groups_of_process(text: str) -> dict[str, str]:
    """Read ``/proc/self/cgroup``: the group for each controller, of version 2 for ``''``."""
    groups = {}
    for line in text.splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if path.startswith("/"):
            groups.update(dict.fromkeys(controllers.split(","), path))
    return groups


class _CgroupMount(NamedTuple):
    version: int
    group: str
    """The group that is found at the mount point."""
    point: str
    controllers: tuple[str, ...]


def _cgroup_mounts(text: str) -> list[_CgroupMount]:
    """Read ``/proc/self/mountinfo``: the mounts of control groups."""
    mounts = []
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        fields, source = before.split(), after.split()
        if len(fields) < 5 or not source or source[0] not in ("cgroup", "cgroup2"):
            continue
        mounts.append(
            _CgroupMount(
                version=2 if source[0] == "cgroup2" else 1,
                group=_unescape(fields[3]),
                point=_unescape(fields[4]),
                controllers=tuple(source[-1].split(",")),
            )
        )
    return mounts


def _unescape(field: str) -> str:
    """Undo the octal escapes of space, tab, newline and backslash in mount tables."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)


def _read(path: str) -> str | None:
    # A file that is missing, or that this process may not read, sets no limit it can know.
    with suppress(OSError), open(path, encoding="utf-8", errors="surrogateescape") as file:
        return file.read()
    return None


def _number(text: str | None) -> int | None:
    try:
        return int(text or "")
    except ValueError:  # 'max': no limit
        return None


class PeakMeter:
    """Measure the highest resident memory of this process since a moment.

    Attributes
    ----------
    resets : bool
        Whether `reset` has an effect. It needs ``/proc/self/clear_refs`` (Linux, and
        not every container); without it, `peak` is the highest since the process began.

    Notes
    -----
    The figure belongs to the process: what other threads hold is in it, and what was
    held before. The kernel counts pages in batches for each core, so it may be off by
    some hundred kB. A reset and a reading cost 2 us together. In a process that was
    started by ``exec``, the kernel's cheaper figure keeps the peak of whoever started it for
    ever; where that shows, the peak is read from ``/proc/self/status`` (10 us).

    Holds two file descriptors until `close`. Usable after a fork, also in the child.

    Examples
    --------
    >>> meter = PeakMeter()
    >>> meter.reset()
    >>> meter.peak() > 1_000_000
    True
    >>> meter.close()
    """

    def __init__(self) -> None:
        self._clear: int | None = None
        self._status: int | None = None
        self._pid = -1
        self._use_status = False
        self.resets = False
        self._open()

    def _open(self) -> None:
        # /proc/self is resolved when it is opened: after a fork it would be the parent's.
        self.close()
        self._pid = os.getpid()
        with suppress(OSError):  # not Linux, or /proc is read-only: the lifetime's peak is told
            self._clear = os.open("/proc/self/clear_refs", os.O_WRONLY | os.O_CLOEXEC)
            self._status = os.open("/proc/self/status", os.O_RDONLY | os.O_CLOEXEC)
            os.pwrite(self._clear, _CLEAR_PEAK, 0)
            self.resets = self._peak_from_status() is not None
        if self.resets:
            peak = self._peak_from_status() or 0
            self._use_status = _peak_from_rusage() > peak + _RUSAGE_SLACK

    def reset(self) -> None:
        """Start anew: the peak is now what is resident now."""
        if self._pid != os.getpid():
            self._open()
        if self.resets and self._clear is not None:
            os.pwrite(self._clear, _CLEAR_PEAK, 0)

    def peak(self) -> int:
        """Return the highest resident memory since the last reset, in bytes."""
        if self._use_status and self._pid == os.getpid():
            return self._peak_from_status() or _peak_from_rusage()
        return _peak_from_rusage()

    def _peak_from_status(self) -> int | None:
        if self._status is None:
            return None
        match = _PEAK_LINE.search(os.pread(self._status, 1 << 14, 0))
        return int(match[1]) * 1024 if match else None

    def close(self) -> None:
        """Give the file descriptors back. The meter then no longer resets."""
        for descriptor in (self._clear, self._status):
            if descriptor is not None:
                os.close(descriptor)
        self._clear = self._status = None
        self.resets = self._use_status = False


def _peak_from_rusage() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
