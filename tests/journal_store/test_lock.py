"""One run at a time has a journal, and nobody once that run is dead."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import bigpipe
from bigpipe import JournalError
from bigpipe.journal_store.file import JournalFile
from bigpipe.journal_store.lock import JournalLock, holder_of

ROOT = Path(bigpipe.__file__).parents[1]


def told_by_python(code, *arguments):
    """Return what code prints in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        timeout=100,
    ).stdout.split()


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "night1.bigpipe")


def test_thread_is_refused_while_another_takes_the_lock(path):
    has_begun, may_go_on = threading.Event(), threading.Event()
    locks = []

    class Slow(JournalLock):
        def _locked(self):
            has_begun.set()
            assert may_go_on.wait(60)
            return super()._locked()

    thread = threading.Thread(target=lambda: locks.append(Slow(path)))
    thread.start()
    assert has_begun.wait(60)
    with pytest.raises(JournalError, match="another run in this process"):
        JournalLock(path)
    may_go_on.set()
    thread.join(60)
    locks[0].release()


def test_lock_that_could_not_be_taken_can_be_tried_again(tmp_path):
    path = str(tmp_path / "later" / "j")
    for _ in range(2):
        with pytest.raises(FileNotFoundError):
            JournalLock(path)


def test_lock_file_that_is_removed_before_it_is_locked_is_made_anew(path, monkeypatch):
    lock_at_once = fcntl.lockf
    removed = []

    def lock_late(fd, how):
        if not removed:
            removed.append(os.unlink(f"{path}-lock"))
        lock_at_once(fd, how)

    monkeypatch.setattr(fcntl, "lockf", lock_late)
    lock = JournalLock(path)
    assert os.path.samestat(os.stat(lock.path), os.fstat(lock._fd))
    lock.release()


def test_who_looks_whether_a_dead_run_has_the_journal_does_not_have_it(path, monkeypatch):
    leave = "import sys; from bigpipe.journal_store.lock import JournalLock as L; L(sys.argv[1])"
    told_by_python(leave, path)
    lock_at_once = fcntl.lockf
    n_looking = iter(range(2))

    def lock_beside_others(fd, how):
        if next(n_looking, None) is not None:
            raise BlockingIOError(errno.EAGAIN, "somebody looks")
        lock_at_once(fd, how)

    monkeypatch.setattr(fcntl, "lockf", lock_beside_others)
    JournalLock(path).release()


def test_links_lead_to_one_lock(path, tmp_path):
    os.symlink("night1.bigpipe", tmp_path / "link")
    lock = JournalLock(path)
    with pytest.raises(JournalError):
        JournalLock(str(tmp_path / "link"))
    lock.release()


def test_fork_neither_has_nor_releases_the_lock(path):
    code = """
import os, sys
from bigpipe.journal_store.file import JournalFile
from bigpipe.journal_store.lock import JournalLock, holder_of
lock = JournalLock(sys.argv[1])
if not os.fork():
    print("child", holder_of(sys.argv[1])["pid"] == os.getppid(), flush=True)
    try:
        JournalLock(sys.argv[1])
    except Exception as error:
        print("refused", type(error).__name__, flush=True)
    lock.release()
    os._exit(0)
os.wait()
print("there", os.path.exists(lock.path), holder_of(sys.argv[1])["pid"] == os.getpid())
lock.release()
print("there", os.path.exists(lock.path))
"""
    told = "child True refused JournalError there True True there False"
    assert told_by_python(code, path) == told.split()


HOLDER = """
import sys
from bigpipe.journal_store.lock import holder_of
print((holder_of(sys.argv[1]) or {}).get("pid"))
"""


@pytest.mark.parametrize("by_name", [False, True])
def test_holder_is_told_to_another_process(path, by_name):
    lock = JournalLock(path, by_name=by_name)
    assert told_by_python(HOLDER, path) == [str(os.getpid())]
    lock.release()
    assert told_by_python(HOLDER, path) == ["None"]


def test_living_process_that_has_no_lock_is_no_holder(path):
    lock = JournalLock(path)
    owner = Path(lock.path).read_text()
    lock.release()
    Path(lock.path).write_text(owner)  # as if the folder had not let it be removed
    assert holder_of(path) is None


def test_lock_file_of_a_dead_run_is_written_anew(path):
    Path(f"{path}-lock").write_text(" " * 500 + "}")
    lock = JournalLock(path)
    assert json.loads(Path(lock.path).read_text())["pid"] == os.getpid()
    lock.release()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everything")
def test_holder_is_told_to_who_may_not_write(path):
    lock = JournalLock(path)
    os.chmod(lock.path, 0o444)
    assert told_by_python(HOLDER, path) == [str(os.getpid())]
    lock.release()


@pytest.mark.parametrize("by_name", [False, True])
def test_nobody_holds_what_a_dead_run_has_left(path, by_name):
    assert holder_of(path) is None
    code = "import sys; from bigpipe.journal_store.lock import JournalLock as L; "
    told_by_python(f"{code}L(sys.argv[1], by_name={by_name})", path)
    assert os.path.exists(f"{path}-lock")
    assert holder_of(path) is None


def test_number_that_belongs_to_another_process_now_is_that_of_a_dead_run(path):
    owner = {"pid": os.getpid(), "host": os.uname().nodename, "began": "?", "start": "long ago"}
    Path(f"{path}-lock").write_text(json.dumps(owner))
    assert holder_of(path) is None
    JournalLock(path, by_name=True).release()


@pytest.mark.parametrize("text", ["", "[]", "{", "nothing that was written here"])
def test_lock_file_that_says_nothing_is_in_the_way_by_name_alone(path, text):
    Path(f"{path}-lock").write_text(text)
    with pytest.raises(JournalError, match=r"in use by another run; .* remove"):
        JournalLock(path, by_name=True)
    JournalLock(path).release()


@pytest.mark.parametrize("pid", [None, "1", 1.5], ids=repr)
def test_lock_file_whose_process_has_no_number_is_in_the_way_by_name_alone(path, pid):
    owner = {"pid": pid, "host": os.uname().nodename, "began": "?", "by_name": True}
    Path(f"{path}-lock").write_text(json.dumps(owner))
    assert holder_of(path) == owner
    with pytest.raises(JournalError, match=r"in use by another run, process .* remove"):
        JournalLock(path, by_name=True)
    JournalLock(path).release()


def test_process_of_another_user_holds_its_lock_by_name(path, monkeypatch):
    def refuse(pid, number):
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "kill", refuse)
    owner = {"pid": 1, "host": os.uname().nodename, "began": "?", "by_name": True}
    Path(f"{path}-lock").write_text(json.dumps(owner))
    assert holder_of(path) == owner
    with pytest.raises(JournalError, match=r"in use by another run, process 1 on"):
        JournalLock(path, by_name=True)


def test_run_on_another_machine_is_told(path):
    owner = {"pid": 1, "host": "elsewhere", "began": "2026-01-01", "start": "1"}
    Path(f"{path}-lock").write_text(json.dumps(owner))
    assert holder_of(path) == owner


def test_file_system_without_locks_is_no_other_run(path, monkeypatch):
    def refuse(fd, how):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    with monkeypatch.context() as patched:
        patched.setattr(fcntl, "lockf", refuse)
        with pytest.raises(OSError, match=os.strerror(errno.ENOLCK)):
            JournalLock(path)
    JournalLock(path).release()


@pytest.mark.parametrize(
    ("number", "remedy"), [(errno.ENOSPC, "make room"), (errno.EROFS, "folder writable")]
)
def test_lock_that_the_disk_refuses_is_an_error_with_a_remedy(number, remedy, path, monkeypatch):
    def refuse(self):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(JournalLock, "_locked", refuse)
    with pytest.raises(JournalError, match=remedy):
        JournalFile(path)
