"""The cores and memory that this process may use: those of the machine, or a share of them.

Measures the machine and the limits of this process; the only importer of psutil. Limits of control
groups are read in `bigpipe.system.cgroups`, the memory that processes use in
`bigpipe.executors.peak_meter` and `bigpipe.tree_meter`. `bigpipe.budget` decides from these
figures.

A process that works on one file of a run may use only the file's share of the machine::

    run:     so many cores and bytes        n files at a time
    file:    cores / n, its projection      set_share() in whoever runs its hooks
    hook:    num_can_process(), pipeline()  answered from the share

Functions that read ``/proc`` and ``/sys`` take the folder to use as ``/``.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import suppress
from contextvars import ContextVar
from typing import Any, NamedTuple

from bigpipe.budget import fit_count, format_bytes, parse_bytes, wanted_processes
from bigpipe.errors import MemoryBudgetError, OptionError
from bigpipe.options import Options
from bigpipe.system.cgroups import cpu_quotas, memory_left
from bigpipe.system.process_table import Anonymous, Kin, Memory, ProcTable
from bigpipe.system.system_files import read_text, word_after

__all__ = [
    "PsutilTable",
    "Share",
    "count_workers",
    "current_share",
    "mem_available_bytes",
    "memory_pressure",
    "n_cores",
    "num_can_process",
    "set_share",
    "usable_memory",
]


class Share(NamedTuple):
    """What one file of a run may use; ``None`` means not limited."""

    memory: int | None
    """Bytes: the projection of the file."""
    cores: float | None
    """Physical cores; may be a fraction."""


_SHARE = "the share of the file that a run is processing here"
_NO_SHARE = Share(None, None)
_process_share = _NO_SHARE
_thread_share: ContextVar[Share | None] = ContextVar("bigpipe_share", default=None)


def set_share(memory: int | None, cores: float | None, *, in_thread: bool = False) -> Share:
    """Set the share that the current file may use.

    Parameters
    ----------
    memory : int or None
        Bytes; ``None`` means no limit.
    cores : float or None
        Physical cores, possibly a fraction; ``None`` means no limit.
    in_thread : bool, optional
        Set the share for this thread only, because the process also runs other files or the
        caller's own code. It takes precedence over the share of the process; ``None`` for both
        removes it.

    Returns
    -------
    Share
        The previous share of the thread or process, to be set again when the file has ended.

    Notes
    -----
    Processes that a hook forks inherit the share; those that it starts by exec do not.
    """
    global _process_share
    if in_thread:
        before = _thread_share.get() or _NO_SHARE
        is_set = memory is not None or cores is not None
        _thread_share.set(Share(memory, cores) if is_set else None)
    else:
        before, _process_share = _process_share, Share(memory, cores)
    return before


def current_share() -> Share:
    """Return the share that is set for the current file."""
    return _thread_share.get() or _process_share


def num_can_process(
    num_to_process: int | None = None,
    num_processes: float | None = None,
    mem_available: float | str | None = None,
    mem_frac: float = 0.8,
    process_size: float | str | None = None,
    error_if_zero: bool = True,
) -> int:
    """Return the number of processes that may run at once.

    Parameters
    ----------
    num_to_process : int, optional
        Number of things to process, if it is known.
    num_processes : number, optional
        Maximum number of processes. ``None`` or 0 means all physical cores that this process may
        use, a number below 1 that fraction of them, at least 1.
    mem_available : number or str, optional
        Memory that all processes together may use: bytes, or text such as ``'8 GiB'``. If not
        given, `mem_frac` of the currently available memory.
    mem_frac : float, optional
        Fraction of the available memory to use. Ignored if `mem_available` is given.
    process_size : number or str, optional
        Memory that one process needs: bytes, or text. If not given, memory is not a limit.
    error_if_zero : bool, optional
        Raise if the memory is not enough for one process. ``False`` returns 0 instead.

    Returns
    -------
    int
        The smallest of the three limits; also 0 if there is nothing to process.

    Raises
    ------
    MemoryBudgetError
        If the memory is not enough for one process. It is an `EnvironmentError`.
    OptionError
        If a value is invalid, such as a negative number. It is a `ValueError`.

    Notes
    -----
    In a hook called by a pipeline, the cores are those of one worker, and the memory is at most
    what the run projected for the current file. Arguments take precedence over both.

    Examples
    --------
    >>> num_can_process(100, num_processes=8, mem_available="10 GiB", process_size="3 GiB")
    3
    """
    try:
        limits = Options(num_processes, mem_available, mem_frac, process_size)
        return count_workers(num_to_process, limits)
    except MemoryBudgetError as error:
        if not error_if_zero:
            return 0
        remedy = "With error_if_zero=False, num_can_process returns 0 instead."
        raise MemoryBudgetError(f"{error} {remedy}") from None


def count_workers(n_tasks: int | None, options: Options, n_begun: int = 1) -> int:
    """Count the workers of a run like `num_can_process`; raise `MemoryBudgetError` if none fits.

    ``n_begun`` is the number of files that a worker has at once.
    """
    n_processes = wanted_processes(options.num_processes, n_cores())
    n_tasks = None if n_tasks is None else _whole("num_to_process", n_tasks)
    given = options.process_size
    if given is None or callable(given) or not (size := _size("process_size", given)):
        return fit_count(n_tasks, n_processes, None, None)
    memory, source = usable_memory(options)
    if memory < size:
        raise MemoryBudgetError(
            f"memory is not enough for one process: {format_bytes(memory)} may be used "
            f"({source}), but process_size is {format_bytes(size)}. Lower process_size if one file "
            f"needs less, {_remedy(source)}."
        )
    # If a worker's files do not fit together, a single worker takes them one after another.
    return fit_count(n_tasks, n_processes, max(memory, n_begun * size), n_begun * size)


def usable_memory(options: Options) -> tuple[int, str]:
    """Return the bytes that all workers of a run may use, and the source of that figure.

    A share is used in full, because the run that set it has made sure that it fits.
    """
    if options.mem_available is not None:
        return _size("mem_available", options.mem_available), "mem_available"
    mem_frac = options.mem_frac
    free = _available(os.sep)
    part = int(free * _fraction("mem_frac", mem_frac))
    share = current_share().memory
    if share is None or part < share:
        return part, f"mem_frac={mem_frac} of the available memory"
    return share, _SHARE


def _remedy(source: str) -> str:
    if source != _SHARE:
        return "raise mem_available or mem_frac, or free memory"
    return "or give the outer run a larger process_size, which becomes the share of this file"


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
        raise OptionError(f"{name}={value!r} is not a count: give a whole number of at least 0")
    return whole


def _fraction(name: str, value: Any) -> float:
    try:
        fraction = float(value)
    except (TypeError, ValueError):
        fraction = math.nan
    if not 0 <= fraction < math.inf:  # NaN fails this too
        raise OptionError(f"{name}={value!r} is not a fraction of the memory, such as 0.8")
    return fraction


def n_cores(root: str = "/") -> int:
    """Count the physical cores that this process may use.

    The smallest of its affinity, the quotas of its cgroups, ``SLURM_CPUS_PER_TASK`` and the
    share of the current file.

    Parameters
    ----------
    root : str, optional
        The folder to use as ``/``.

    Returns
    -------
    int
        At least 1. Logical cores where the system does not distinguish physical ones.
    """
    allowed = _affinity()
    if allowed is None:
        cores = _psutil_count()
    else:
        cores = len({_core_of(cpu, root) for cpu in allowed})
    return _within_limits(cores, root)


def _affinity() -> set[int] | None:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None


def _psutil_count() -> int:
    import psutil

    return psutil.cpu_count(logical=False) or os.cpu_count() or 1


def _core_of(cpu: int, root: str) -> str:
    """Return a name for the physical core of a logical one: the list of the core's threads.

    The name is the number of the logical core where the system gives no such list.
    """
    path = f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"
    return read_text(os.path.join(root, path)) or str(cpu)


def _within_limits(cores: int, root: str) -> int:
    quota = min(cpu_quotas(root), default=math.inf)
    if quota < cores:
        cores = math.ceil(quota)
    with suppress(ValueError):  # not set, or not by Slurm
        cores = min(cores, int(os.environ.get("SLURM_CPUS_PER_TASK", "")))
    share = current_share().cores
    if share is not None:
        cores = min(cores, math.floor(share))
    return max(1, cores)


def mem_available_bytes(root: str = "/") -> int:
    """Measure the memory that this process may still take without swapping.

    Parameters
    ----------
    root : str, optional
        The folder to use as ``/``.

    Returns
    -------
    int
        Bytes: the smallest of what the system has available, what each enclosing cgroup
        leaves, the address space that ``RLIMIT_AS`` (``ulimit -v``) leaves, and the share
        of the current file. File cache that the kernel can drop counts as free.

    Notes
    -----
    The kernel applies ``RLIMIT_AS`` to each process separately, so several could use more. But
    batch systems that set it mean the memory of the whole job, so it counts here as the limit of
    all processes together.
    """
    available = _available(root)
    share = current_share().memory
    return available if share is None else min(available, share)


def _available(root: str) -> int:
    return max(
        0,
        min([_system_available(root), *memory_left(root), *_address_space_left(root)]),
    )


def _system_available(root: str) -> int:
    kib = word_after("MemAvailable:", read_text(os.path.join(root, "proc/meminfo")))
    if kib.isdecimal():
        return int(kib) * 1024
    import psutil

    try:
        return int(psutil.virtual_memory().available)
    except OSError:  # Linux without /proc, as in a chroot: reclaimable caches are not counted
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _address_space_left(root: str) -> Iterator[int]:
    """Yield the bytes that ``RLIMIT_AS`` leaves, if it is set."""
    limit = word_after("Max address space", read_text(os.path.join(root, "proc/self/limits")))
    if limit.isdecimal():  # not 'unlimited'
        own = ProcTable(root).own_memory()
        yield int(limit) - (own.size if own is not None else 0)


def memory_pressure(root: str = "/") -> float | None:
    """Return how much of the last 10 s some process of the machine waited for memory.

    Parameters
    ----------
    root : str, optional
        The folder to use as ``/``.

    Returns
    -------
    float or None
        Percent; ``None`` if the kernel does not report it (before Linux 4.20, or disabled).
    """
    percent = word_after("some avg10=", read_text(os.path.join(root, "proc/pressure/memory")))
    return float(percent) if percent else None


class PsutilTable:
    """The processes of a system without ``/proc``, like those of `bigpipe.system.process_table`.

    Notes
    -----
    Shared pages are unknown here: a process counts with its whole RSS. On Linux without ``/proc``,
    as in a chroot, psutil finds no processes at all.
    """

    def pids(self) -> set[int]:
        """Return the ids of all processes."""
        import psutil

        try:
            return set(psutil.pids())
        except (OSError, IndexError):  # raised by psutil where it finds no processes
            return set()

    def kin(self, pid: int) -> Kin | None:
        """Return the parent and process group of a process."""
        import psutil

        with suppress(psutil.Error, OSError):
            return Kin(psutil.Process(pid).ppid(), os.getpgid(pid))
        return None

    def memory(self, pid: int) -> Memory | None:
        """Return the memory of a process."""
        import psutil

        with suppress(psutil.Error, OSError):
            info = psutil.Process(pid).memory_info()
            return Memory(info.vms, info.rss, 0)
        return None

    def anonymous(self, pid: int) -> Anonymous | None:
        """Return ``None``: how pages are shared is unknown."""
        return None
