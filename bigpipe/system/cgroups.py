"""Limits that control groups (cgroups) set to this process.

Owns which groups enclose this process, for versions 1 and 2, and how their files are read.
`bigpipe.measure` combines these limits with others.

A process is in one group of each hierarchy. That group and all groups around it limit the
process. Two files tell where a group's files are::

    /proc/self/cgroup       which group, for each hierarchy:   4:memory:/batch/job7
    /proc/self/mountinfo    where a hierarchy is mounted, and which of its groups is
                            at the mount point:                /batch -> /sys/fs/cgroup/memory

    here: /sys/fs/cgroup/memory/job7, then /sys/fs/cgroup/memory

The functions take the folder to use as ``/``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from bigpipe.system.system_files import Mount, mounts_in, read_text, word_after

__all__ = ["cpu_quotas", "memory_left"]

NO_LIMIT = 2**62  # bytes: version 1 reports a larger number, which depends on the page size


def cpu_quotas(root: str) -> Iterator[float]:
    """Yield the CPU time that each enclosing group allows, in cores, if it has a limit."""
    for version, folder in _group_folders("cpu", root):
        if version == 2:
            text = read_text(os.path.join(folder, "cpu.max")) or ""
            quota, _, period = text.strip().partition(" ")
        else:
            quota = read_text(os.path.join(folder, "cpu.cfs_quota_us")) or ""
            period = read_text(os.path.join(folder, "cpu.cfs_period_us")) or ""
        allowed, each = _number(quota), _number(period)
        if allowed is not None and allowed > 0 and each:  # 'max' and -1 do not limit
            yield allowed / each


class _MemoryFiles(NamedTuple):
    limits: tuple[str, ...]
    used: str
    reclaimable: str
    """Name of the line in ``memory.stat`` that counts droppable file cache, subgroups included."""


_MEMORY_FILES = {
    1: _MemoryFiles(("memory.limit_in_bytes",), "memory.usage_in_bytes", "total_inactive_file"),
    # Above memory.high, the kernel slows processes down until they have returned pages.
    2: _MemoryFiles(("memory.max", "memory.high"), "memory.current", "inactive_file"),
}


def memory_left(root: str) -> Iterator[int]:
    """Yield the bytes that each enclosing group leaves, if it limits memory."""
    for version, folder in _group_folders("memory", root):
        files = _MEMORY_FILES[version]
        texts = [read_text(os.path.join(folder, name)) for name in files.limits]
        limits = [x for x in map(_number, texts) if x is not None and x < NO_LIMIT]
        used = _number(read_text(os.path.join(folder, files.used))) if limits else None
        if used is None:
            continue
        stat = read_text(os.path.join(folder, "memory.stat"))
        yield min(limits) - used + (_number(word_after(files.reclaimable + " ", stat)) or 0)


def _group_folders(controller: str, root: str) -> tuple[tuple[int, str], ...]:
    """Return the version and folder of each group of this process, innermost first."""
    text = read_text(os.path.join(root, "proc/self/cgroup")) or ""
    return _folders_of(text, controller, root)


@lru_cache(maxsize=8)
def _folders_of(text: str, controller: str, root: str) -> tuple[tuple[int, str], ...]:
    return tuple(_found_folders(_groups_of_process(text), controller, root))


def _found_folders(groups: dict[str, str], controller: str, root: str) -> Iterator[tuple[int, str]]:
    for mount in _cgroup_mounts(root):
        version = 2 if mount.kind == "cgroup2" else 1
        if version == 1 and controller not in mount.options.split(","):
            continue
        group = groups.get(controller if version == 1 else "")
        if group is None:
            continue
        top = os.path.join(root, mount.point.lstrip("/"))
        below = _path_below(group, mount.root)
        while below:
            yield version, os.path.join(top, below)
            below = os.path.dirname(below)
        yield version, top


def _path_below(group: str, mounted: str) -> str:
    """Return the path of a group below the mount point; ``''`` if it is not below it.

    In a container, the path may be that outside the container, which is not visible inside. The
    mount point is then the innermost group that can be read.
    """
    prefix = mounted.rstrip("/") + "/"
    inside = group.startswith(prefix) and ".." not in group.split("/")
    return group[len(prefix) :] if inside else ""


def _groups_of_process(text: str) -> dict[str, str]:
    """Parse ``/proc/self/cgroup``: the group of each controller; the key of version 2 is ``''``."""
    groups = {}
    for line in text.split("\n"):
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if path.startswith("/"):
            groups.update(dict.fromkeys(controllers.split(","), path))
    return groups


# A process may be moved to another group at any time, but groups are mounted when a system starts.
@lru_cache(maxsize=4)
def _cgroup_mounts(root: str) -> tuple[Mount, ...]:
    """Return the mounts of control groups."""
    mounts = mounts_in(read_text(os.path.join(root, "proc/self/mountinfo")))
    return tuple(mount for mount in mounts if mount.kind in ("cgroup", "cgroup2"))


def _number(text: str | None) -> int | None:
    try:
        return int(text or "")
    except ValueError:  # 'max': no limit
        return None
