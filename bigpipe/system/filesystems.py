"""The type of the file system that a path is on.

Owns the list of network file systems, where locks may not work.
"""

from __future__ import annotations

import os

from bigpipe.system.system_files import mounts_in, read_text

__all__ = ["file_system", "is_network"]

# Types as in mountinfo. Other fuse types may be local or not; they are taken as local.
_NETWORK = frozenset(
    (
        *("9p", "afp", "afs", "beegfs", "ceph", "cifs", "coda", "drvfs", "glusterfs", "gpfs"),
        *("lustre", "ncpfs", "nfs", "nfs4", "orangefs", "pvfs2", "smb2", "smb3", "smbfs"),
        *("vboxsf", "virtiofs", "wekafs", "fuse.ceph", "fuse.glusterfs", "fuse.lustre"),
        *("fuse.rclone", "fuse.s3fs", "fuse.sshfs"),
    )
)


def is_network(path: str | os.PathLike[str]) -> bool:
    """Return whether a path is on a file system that several machines may share."""
    return file_system(path) in _NETWORK


def file_system(path: str | os.PathLike[str], mounts: str | None = None) -> str:
    r"""Return the type of the file system of a path.

    Parameters
    ----------
    path : str or os.PathLike
        A file or folder; it need not exist.
    mounts : str, optional
        Text in the format of ``/proc/self/mountinfo``. Default: that of this process.

    Returns
    -------
    str
        Such as ``'ext4'`` or ``'nfs4'``; ``''`` if unknown.

    Examples
    --------
    >>> mounts = "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n30 22 0:40 / /home rw - nfs4 srv:/h rw\n"
    >>> file_system("/home/ada/night1.bigpipe", mounts)
    'nfs4'
    """
    if mounts is None:
        mounts = read_text("/proc/self/mountinfo")  # only Linux has it
    real = os.path.realpath(path)
    longest, found = "", ""
    for mount in mounts_in(mounts):
        point = mount.point
        is_below = real == point or real.startswith(point.rstrip("/") + "/")
        if is_below and len(point) >= len(longest):  # of two on one point, the last is visible
            longest, found = point, mount.kind
    return found
