from __future__ import annotations

import gc
import json
import multiprocessing
import os
import select
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from bigpipe.errors import OptionError, WorkerError
from bigpipe.executors import _descriptors, _newborn, launch
from tests.mischief import check_descriptors_are_given_back

pytestmark = pytest.mark.process

ROOT = Path(__file__).parents[2]
TARGETS = "tests.executors.launch_targets"
PATIENCE = 60.0  # seconds; only a test that fails ever waits so long
SOON = 2.0  # seconds within which a worker must have noticed that its parent is gone
METHODS = ("fork", "forkserver", "spawn")


class Told:
    """A pipe through which a worker tells something to the test."""

    def __init__(self) -> None:
        self._read, self.fd = os.pipe()
        self._buffer = b""

    def __enter__(self) -> Told:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._read)
        os.close(self.fd)

    def hear(self) -> Any:
        while b"\n" not in self._buffer:
            assert select.select([self._read], [], [], PATIENCE)[0], "nothing was told"
            self._buffer += os.read(self._read, 65536)
        line, _, self._buffer = self._buffer.partition(b"\n")
        return json.loads(line)


@pytest.fixture
def told() -> Iterator[Told]:
    with Told() as told:
        yield told


@contextmanager
def watched(pid: int) -> Iterator[int]:
    """Give a descriptor that is readable once a process has ended; end it in any case."""
    fd = os.pidfd_open(pid)
    try:
        yield fd
    finally:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(fd, signal.SIGKILL)
        os.close(fd)


def has_ended(pidfd: int, within: float = PATIENCE) -> bool:
    return bool(select.select([pidfd], [], [], within)[0])


def start(method: str, target: str, *fds: int) -> closing[launch.Child]:
    return closing(launch.start(method, f"{TARGETS}:{target}", fds))


def script(text: str) -> str:
    """Complete a program that has no ``__main__`` guard."""
    return f"import sys\nfrom bigpipe.executors import launch\n{textwrap.dedent(text)}"


@contextmanager
def running(text: str, *arguments: str, pass_fds: tuple[int, ...] = ()) -> Iterator[int]:
    """Run a program; give its process id."""
    process = subprocess.Popen(
        [sys.executable, "-c", script(text), *arguments], cwd=ROOT, pass_fds=pass_fds
    )
    try:
        yield process.pid
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize(
    ("target", "exitcode"),
    [
        ("return_nothing", 0),
        ("return_seven", 7),
        ("exit_with_three", 3),
        ("kill_itself", -signal.SIGKILL),
    ],
)
def test_exit_code_tells_how_the_target_ended(start_method: str, target: str, exitcode: int):
    with start(start_method, target) as child:
        assert child.wait(PATIENCE) == exitcode
        assert child.poll() == exitcode


@pytest.mark.parametrize(
    ("target", "said"),
    [("raise_an_error", "ValueError: no such star"), ("exit_with_text", "no dark frames")],
)
def test_failed_target_says_why_on_standard_error(
    start_method: str, target: str, said: str, capfd: pytest.CaptureFixture[str]
):
    with start(start_method, target) as child:
        assert child.wait(PATIENCE) == 1
    assert said in capfd.readouterr().err


def test_breakpoint_says_where_there_is_a_terminal(
    start_method: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sys, "breakpointhook", sys.__breakpointhook__)  # not that of pytest
    monkeypatch.delenv("PYTHONBREAKPOINT", raising=False)
    with start(start_method, "stop_at_a_breakpoint") as child:
        assert child.wait(PATIENCE) == 1
    assert "Run this file with executor='serial'" in capfd.readouterr().err


def test_target_that_is_missing_fails(start_method: str, capfd: pytest.CaptureFixture[str]):
    with start(start_method, "no_such_function") as child:
        assert child.wait(PATIENCE) == 1
    assert "no_such_function" in capfd.readouterr().err


def test_worker_prints_where_its_caller_prints_now(
    start_method: str, capfd: pytest.CaptureFixture[str]
):
    with start(start_method, "print_without_newline") as child:
        assert child.wait(PATIENCE) == 0
    assert capfd.readouterr().out == "from the worker"


def test_running_worker_has_no_exit_code(start_method: str, told: Told):
    with start(start_method, "block", told.fd) as child:
        assert told.hear() == child.pid
        assert child.poll() is None
        assert child.wait(0.0) is None
        assert not select.select([child], [], [], 0.0)[0]


def test_worker_is_readable_when_it_has_ended(start_method: str):
    with start(start_method, "return_seven") as child:
        assert select.select([child], [], [], PATIENCE)[0]
        assert child.wait(PATIENCE) == 7


def test_closed_child_keeps_its_exit_code_and_refuses_to_be_waited_for(start_method: str):
    child = launch.start(start_method, f"{TARGETS}:return_seven")
    child.wait(PATIENCE)
    child.close()
    child.close()
    child.terminate()
    child.kill_group()
    assert child.poll() == child.wait() == 7
    with pytest.raises(ValueError, match="closed"):
        child.fileno()


def test_worker_is_cleaned_of_what_the_parent_had_set_up(start_method: str, told: Told):
    before = {n: signal.signal(n, lambda *_: None) for n in (signal.SIGUSR1, signal.SIGINT)}
    before[signal.SIGTERM] = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGUSR2])
    try:
        with start(start_method, "describe", told.fd) as child:
            description = told.hear()
            child.wait(PATIENCE)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, handler in before.items():
            signal.signal(number, handler)
    assert description["pid"] == description["group"] == child.pid
    assert description["handlers"] == {
        "SIGINT": str(signal.SIG_IGN),
        "SIGTERM": str(signal.SIG_DFL),
        "SIGUSR1": str(signal.SIG_DFL),
    }
    assert description["blocked"] == 0
    assert description["stdin"] == ""
    assert not description["inheritable"]


def test_no_handler_of_the_parent_runs_in_a_worker_that_is_being_forked(
    monkeypatch: pytest.MonkeyPatch,
):
    """A handler that raises, or writes to a file, would do so in both processes."""
    monkeypatch.setattr(_newborn, "_forget_imports", lambda: signal.raise_signal(signal.SIGUSR1))
    before = signal.signal(signal.SIGUSR1, lambda *_: os._exit(99))
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
    try:
        with start("fork", "return_nothing") as child:
            assert child.wait(PATIENCE) == -signal.SIGUSR1
        assert signal.pthread_sigmask(signal.SIG_SETMASK, mask) == mask | {signal.SIGUSR2}
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGUSR1, before)


def test_worker_has_no_descriptors_of_other_workers(start_method: str, told: Told):
    with start(start_method, "describe", told.fd):
        alone = told.hear()["descriptors"]
    with start(start_method, "block", told.fd), start(start_method, "block", told.fd):
        told.hear(), told.hear()
        with start(start_method, "describe", told.fd):
            assert told.hear()["descriptors"] == alone


def test_multiprocessing_knows_a_forked_worker_as_a_process_of_its_own(
    told: Told, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(multiprocessing.current_process()._config, "daemon", True)
    with start("fork", "describe", told.fd) as child:
        description = told.hear()
    assert description["name"] == f"bigpipe-worker-{child.pid}"
    assert description["daemon"] is False


def test_forked_worker_does_not_finalize_what_the_parent_left(told: Told):
    class Left:
        def __init__(self) -> None:
            self.itself = self

        def __del__(self) -> None:
            os.write(told.fd, b'"finalized"\n')

    gc.disable()
    try:
        Left()
        with start("fork", "collect", told.fd):
            assert told.hear() == "collected"
    finally:
        gc.enable()
    gc.collect()
    assert told.hear() == "finalized"


def test_terminate_spares_what_the_worker_started_and_close_does_not(start_method: str, told: Told):
    with (
        start(start_method, "block_with_program", told.fd) as child,
        watched(told.hear()[1]) as program,
    ):
        child.terminate()
        assert child.wait(PATIENCE) == -signal.SIGTERM
        assert not has_ended(program, within=0.0)
        child.close()
        assert has_ended(program)


def test_group_is_killed_with_what_the_worker_started(start_method: str, told: Told):
    with (
        start(start_method, "block_with_program", told.fd) as child,
        watched(told.hear()[1]) as program,
    ):
        child.kill_group()
        assert has_ended(program)
        assert child.wait(PATIENCE) == -signal.SIGKILL


@pytest.mark.parametrize("politely", [False, True], ids=["killed", "terminated"])
def test_what_has_left_the_group_ends_with_the_worker(
    start_method: str, told: Told, politely: bool
):
    with start(start_method, "wait_with_strays", told.fd) as child:
        pids = told.hear()
        with watched(pids[0]) as in_session, watched(pids[1]) as in_group:
            if politely:
                child.terminate()
                assert child.wait(PATIENCE) == -signal.SIGTERM
                assert not has_ended(in_session, within=0.0)  # its starter may end it itself
            child.kill_group()
            assert has_ended(in_session)
            assert has_ended(in_group)


def test_what_has_a_session_of_its_own_is_stopped_with_the_worker(start_method: str, told: Told):
    with start(start_method, "wait_with_strays", told.fd) as child:
        in_session, in_group = map(psutil.Process, told.hear())
        child.signal_group(signal.SIGSTOP)
        wait_until(lambda: in_session.status() == psutil.STATUS_STOPPED)
        assert in_group.status() != psutil.STATUS_STOPPED
        child.signal_group(signal.SIGCONT)
        wait_until(lambda: in_session.status() != psutil.STATUS_STOPPED)


def wait_until(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until
        os.sched_yield()


def test_group_can_be_killed_after_its_worker_has_ended(start_method: str, told: Told):
    with start(start_method, "leave_program", told.fd) as child, watched(told.hear()) as program:
        assert child.wait(PATIENCE) == 0
        child.kill_group()
        assert has_ended(program)


def test_close_ends_a_running_worker_and_leaves_no_zombie(start_method: str, told: Told):
    child = launch.start(start_method, f"{TARGETS}:block", [told.fd])
    process = psutil.Process(told.hear())
    child.close()
    with pytest.raises(ChildProcessError):
        os.waitpid(child.pid, os.WNOHANG)
    process.wait(PATIENCE)  # the fork server reaps its own, a moment later
    assert not process.is_running()


PARENT = """
    method, told, *other = sys.argv[1:]
    child = launch.start(method, "tests.executors.launch_targets:block_with_program", [int(told)])
    child.wait()
"""


@pytest.mark.parametrize("death", [signal.SIGKILL, signal.SIGTERM], ids=["SIGKILL", "SIGTERM"])
def test_busy_worker_and_its_program_end_with_the_parent(
    start_method: str, told: Told, death: signal.Signals
):
    with running(PARENT, start_method, str(told.fd), pass_fds=(told.fd,)) as parent:
        worker_pid, program_pid = told.hear()
        with watched(worker_pid) as worker, watched(program_pid) as program:
            os.kill(parent, death)
            assert has_ended(worker, within=SOON)
            assert has_ended(program, within=SOON)


def test_thread_ends_the_worker_where_the_kernel_does_not(told: Told):
    text = textwrap.dedent(PARENT).replace("block_with_program", "wait_with_program")
    text = f"import fcntl\ndel fcntl.F_SETSIG\n{text}"
    with running(text, "fork", str(told.fd), pass_fds=(told.fd,)) as parent:
        worker_pid, program_pid = told.hear()
        with watched(worker_pid) as worker, watched(program_pid) as program:
            os.kill(parent, signal.SIGKILL)
            assert has_ended(worker)
            assert has_ended(program)


def test_worker_ends_with_the_parent_though_a_forked_sibling_lives_on(
    start_method: str, told: Told
):
    text = """
        import os, signal
        from tests.executors import launch_targets as targets
        method, told = sys.argv[1:]
        child = launch.start(method, f"{targets.__name__}:block_with_program", [int(told)])
        if os.fork() == 0:
            targets.block(int(told))
        signal.pause()
    """
    with running(text, start_method, str(told.fd), pass_fds=(told.fd,)) as parent:
        heard = told.hear(), told.hear()
        sibling_pid = next(pid for pid in heard if isinstance(pid, int))
        worker_pid, _ = next(pids for pids in heard if isinstance(pids, list))
        with watched(worker_pid) as worker, watched(sibling_pid) as sibling:
            os.kill(parent, signal.SIGKILL)
            assert has_ended(worker, within=SOON)
            assert not has_ended(sibling, within=0.0)


def test_worker_whose_parent_is_gone_already_does_not_begin():
    ours, theirs = _descriptors.socket_pair()
    _descriptors.close_parent_fd(ours)
    pid = _newborn.fork_worker(f"{TARGETS}:return_seven", [], theirs)
    os.close(theirs)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1


def test_fork_server_ends_with_the_parent(told: Told):
    text = """
        import signal
        from tests.executors import launch_targets as targets
        child = launch.start("forkserver", f"{targets.__name__}:return_seven")
        assert child.wait() == 7
        targets.tell(int(sys.argv[1]), launch.forkserver_pid())
        signal.pause()
    """
    with running(text, str(told.fd), pass_fds=(told.fd,)) as parent, watched(told.hear()) as server:
        os.kill(parent, signal.SIGKILL)
        assert has_ended(server)


def test_fork_server_has_loaded_what_workers_need(told: Told):
    """Each would otherwise import it, and look for numerical libraries: 25 ms for a pipeline."""
    text = """
        import signal
        import bigpipe.pipeline, numpy
        from tests.executors import launch_targets as targets
        launch.start("forkserver", f"{targets.__name__}:describe", [int(sys.argv[1])])
        signal.pause()
    """
    expected = {"bigpipe.pipeline", "numpy", "cloudpickle", "threadpoolctl"}
    with running(text, str(told.fd), pass_fds=(told.fd,)):
        assert expected <= {*told.hear()["modules"]}


@pytest.mark.parametrize("library", ["h5py", "pandas", "tifffile", "xarray", "zarr"])
def test_fork_server_has_loaded_large_libraries_that_start_no_thread(told: Told, library: str):
    pytest.importorskip(library)
    text = f"""
        import os, signal
        import numpy
        n_threads = len(os.listdir("/proc/self/task"))
        import {library}
        assert len(os.listdir("/proc/self/task")) == n_threads
        from tests.executors import launch_targets as targets
        launch.start("forkserver", f"{{targets.__name__}}:describe", [int(sys.argv[1])])
        signal.pause()
    """
    with running(text, str(told.fd), pass_fds=(told.fd,)):
        assert library in told.hear()["modules"]


def test_fork_server_leads_a_group_of_its_own():
    with start("forkserver", "return_seven"):
        server = launch.forkserver_pid()
        assert server is not None
        assert os.getpgid(server) == server


def test_worker_finds_modules_of_a_path_added_after_the_fork_server_began(
    start_method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with start("forkserver", "return_seven"):
        pass
    (tmp_path / "added_later.py").write_text("def nine():\n    return 9\n")
    monkeypatch.syspath_prepend(tmp_path)
    with closing(launch.start(start_method, "added_later:nine")) as child:
        assert child.wait(PATIENCE) == 9


def test_worker_has_no_use_of_its_parents_fork_server(told: Told):
    with start("forkserver", "return_seven"), start("fork", "describe", told.fd):
        assert launch.forkserver_pid() is not None
        assert told.hear()["forkserver"] is None


def test_dead_fork_server_takes_its_workers_along_and_is_replaced(told: Told):
    with start("forkserver", "block", told.fd) as child:
        first = launch.forkserver_pid()
        assert first is not None
        with watched(told.hear()) as worker:
            os.kill(first, signal.SIGKILL)
            assert child.wait(PATIENCE) == -signal.SIGKILL
            assert has_ended(worker)
    with start("forkserver", "return_seven") as child:
        assert child.wait(PATIENCE) == 7
    assert launch.forkserver_pid() not in (None, first)


def test_many_workers_one_after_another_leave_no_descriptor(start_method: str):
    with start(start_method, "return_seven"):  # the server's own
        pass
    gc.collect()  # else what tests before this one have left would be closed in between
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(10 if start_method == "spawn" else 40):
        with start(start_method, "return_seven") as child:
            assert child.wait(PATIENCE) == 7
    assert len(os.listdir("/proc/self/fd")) <= before


def test_worker_starts_in_a_thread(start_method: str):
    exitcodes = []

    def run() -> None:
        with start(start_method, "return_seven") as child:
            exitcodes.append(child.wait(PATIENCE))

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert exitcodes == [7, 7, 7]


@pytest.mark.parametrize("inner", METHODS)
def test_worker_of_a_worker_ends_with_it(start_method: str, inner: str, told: Told):
    with (
        start(start_method, f"start_another_by_{inner}", told.fd) as child,
        watched(told.hear()) as inner_worker,
    ):
        child.kill_group()
        assert has_ended(inner_worker, within=SOON)


UNGUARDED = """
    import atexit
    print("main module", file=sys.stderr)
    atexit.register(print, "at exit", file=sys.stderr)
    print("buffered", end="")
    child = launch.start(sys.argv[1], "tests.executors.launch_targets:return_seven")
    assert child.wait() == 7
    child.close()
"""


@pytest.mark.parametrize("way", ["file", "stdin", "argument"])
def test_main_module_and_its_exit_run_once_without_a_guard(
    start_method: str, way: str, tmp_path: Path
):
    text = script(UNGUARDED)
    path = tmp_path / "unguarded.py"
    path.write_text(text)
    program = {"file": [str(path)], "stdin": ["-"], "argument": ["-c", text]}[way]
    with path.open() as stdin:
        done = subprocess.run(
            [sys.executable, *program, start_method],
            check=False,
            env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": ""},
            stdin=stdin if way == "stdin" else subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
    assert (done.returncode, done.stdout) == (0, "buffered"), done.stderr
    assert done.stderr.splitlines() == ["main module", "at exit"]


def test_worker_starts_where_standard_streams_are_closed(start_method: str, told: Told):
    text = """
        import os
        os.closerange(0, 3)
        with open("/proc/self/status") as at_zero, open("/dev/zero") as at_one:
            assert (at_zero.fileno(), at_one.fileno()) == (0, 1)
            fds = [os.dup(int(sys.argv[2]))]
            assert fds == [2]
            child = launch.start(sys.argv[1], "tests.executors.launch_targets:describe", fds)
            exitcode = child.wait()
            child.close()
            os._exit(exitcode)
    """
    with running(text, start_method, str(told.fd), pass_fds=(told.fd,)) as parent:
        assert told.hear()["stdin"] == ""
        with watched(parent) as process:
            assert has_ended(process)


def test_worker_starts_where_the_current_folder_is_gone(
    start_method: str, told: Told, tmp_path: Path
):
    text = """
        import os
        os.chdir(sys.argv[3])
        os.rmdir(sys.argv[3])
        told = int(sys.argv[2])
        child = launch.start(sys.argv[1], "tests.executors.launch_targets:describe", [told])
        child.wait()
    """
    folder = tmp_path / "gone"
    folder.mkdir()
    sys_path = f"import sys\nsys.path.insert(0, {str(ROOT)!r})\n"
    text = sys_path + textwrap.dedent(text)
    with running(text, start_method, str(told.fd), str(folder), pass_fds=(told.fd,)):
        assert told.hear()["stdin"] == ""


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # Python 3.12
def test_copy_of_a_child_in_a_forked_process_does_nothing(told: Told):
    asked, ask = os.pipe()
    with start("spawn", "answer", told.fd, asked) as child:
        told.hear()
        pid = os.fork()
        if pid == 0:
            try:
                child.terminate()
                child.kill_group()
                child.close()
            finally:
                os._exit(0)
        os.waitpid(pid, 0)
        os.write(ask, b"?")
        assert told.hear() == child.pid
        assert child.wait(PATIENCE) == 0
    os.close(asked)
    os.close(ask)


@pytest.mark.parametrize("missing", ["pidfd_open", "waitid"])
def test_worker_is_waited_for_on_a_system_without_it(
    missing: str, start_method: str, told: Told, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delattr(os, missing)
    with start(start_method, "return_seven") as child:
        assert select.select([child], [], [], PATIENCE)[0]
        assert child.wait(PATIENCE) == 7
    with start(start_method, "block", told.fd) as child:
        told.hear()
        assert child.wait(0.0) is None
        child.kill_group()
        assert child.wait(PATIENCE) == -signal.SIGKILL


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_end_is_seen_where_the_system_reaps_by_itself(method: str, told: Told):
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        with start(method, "return_seven") as child:
            assert child.wait(PATIENCE) == 255
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_unknown_method_is_refused():
    with pytest.raises(OptionError, match=r"start_method must be 'fork', .* not 'thread'"):
        launch.start("thread", f"{TARGETS}:return_seven")


def test_refusal_of_the_system_tells_what_to_change(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    with pytest.raises(WorkerError, match=r"/no/such/python.*Lower num_processes"):
        launch.start("spawn", f"{TARGETS}:return_seven")


def test_frozen_program_is_told_to_fork(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    with pytest.raises(WorkerError, match="start_method='fork'"):
        launch.start("spawn", f"{TARGETS}:return_seven")


def test_descriptors_left_from_a_refusal_are_none(monkeypatch: pytest.MonkeyPatch):
    before = len(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    with pytest.raises(WorkerError):
        launch.start("spawn", f"{TARGETS}:return_seven")
    assert len(os.listdir("/proc/self/fd")) <= before


def test_descriptors_left_are_none_if_there_are_too_few_of_them(start_method: str):
    with start(start_method, "return_nothing"):  # with forkserver, the server stays
        pass

    def start_again() -> None:
        with start(start_method, "return_nothing"):
            pass

    check_descriptors_are_given_back(start_again)


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # Python 3.12
def test_another_thread_cannot_fork_while_descriptors_are_made():
    forked = threading.Event()

    def fork() -> None:
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)
        forked.set()

    thread = threading.Thread(target=fork)
    with launch.no_fork():
        thread.start()
        assert not forked.wait(0.1)  # a slow machine cannot make this fail
    thread.join(PATIENCE)
    assert forked.is_set()
