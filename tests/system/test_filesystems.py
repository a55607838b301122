"""On what kind of file system a journal is."""

from __future__ import annotations

import os

import pytest

from bigpipe.system.filesystems import file_system, is_network

MOUNTS = r"""22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:40 / /home rw,relatime shared:2 - nfs4 server:/home rw
31 30 8:2 / /home/ada/scratch rw - xfs /dev/sdb1 rw
32 22 0:41 / /mnt/my\040disk rw - fuse.sshfs far:/ rw
33 22 8:3 / /mnt/twice rw - ext4 /dev/sdc1 rw
34 33 0:42 / /mnt/twice rw - cifs //far/twice rw
a line that says nothing
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/raw/night1.bigpipe", "ext4"),
        ("/home", "nfs4"),
        ("/home/ada/night1.bigpipe", "nfs4"),
        ("/home/ada/scratch/night1.bigpipe", "xfs"),
        ("/homework/night1.bigpipe", "ext4"),
        ("/mnt/my disk/j", "fuse.sshfs"),
        ("/mnt/twice/j", "cifs"),
    ],
)
def test_mount_that_is_nearest_tells(path, kind):
    assert file_system(path, MOUNTS) == kind


def test_mount_may_have_any_character_in_its_name():
    mounts = f"{MOUNTS}35 22 0:43 / /mnt/a\N{LINE SEPARATOR}b rw - nfs4 server:/a rw\n"
    assert file_system("/mnt/a\N{LINE SEPARATOR}b/j", mounts) == "nfs4"


def test_link_is_followed(tmp_path):
    os.symlink("/home/ada", tmp_path / "link")
    assert file_system(tmp_path / "link" / "j", MOUNTS) == "nfs4"


def test_nothing_is_told_of_no_mounts():
    assert file_system("/raw", "") == ""


@pytest.mark.parametrize(("kind", "expected"), [("nfs4", True), ("lustre", True), ("ext4", False)])
def test_network_is_told_by_the_kind(monkeypatch, kind, expected):
    monkeypatch.setattr("bigpipe.system.filesystems.file_system", lambda path: kind)
    assert is_network("/raw") is expected
