"""The functions that ``test_launch.py`` runs in processes; imports little, so they start fast."""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
import threading
from typing import Any

from bigpipe.executors import launch


def tell(fd: int, message: Any) -> None:
    os.write(fd, json.dumps(message).encode() + b"\n")


def return_nothing() -> None:
    pass


def return_seven() -> int:
    return 7


def raise_an_error() -> None:
    raise ValueError("no such star")


def stop_at_a_breakpoint() -> None:
    breakpoint()


def exit_with_three() -> None:
    sys.exit(3)


def exit_with_text() -> None:
    sys.exit("no dark frames")


def kill_itself() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def print_without_newline() -> None:
    print("from the worker", end="")


def block(told: int) -> None:
    """Tell its process id, then wait for ever."""
    tell(told, os.getpid())
    signal.pause()


def block_with_program(told: int) -> None:
    """Start a program, tell its process id and its own, then stay in C code."""
    program = subprocess.Popen(["sleep", "1000"])
    tell(told, [os.getpid(), program.pid])
    sum(range(10**12))


def wait_with_program(told: int) -> None:
    """Start a program, tell its process id and its own, then wait for ever."""
    program = subprocess.Popen(["sleep", "1000"])
    tell(told, [os.getpid(), program.pid])
    signal.pause()


def wait_with_strays(told: int) -> None:
    """Start programs in a session, and in a group, of their own; tell their ids; wait for ever."""
    programs = [
        subprocess.Popen(["sleep", "1000"], start_new_session=True),
        subprocess.Popen(["sleep", "1000"], process_group=0),
    ]
    tell(told, [program.pid for program in programs])
    signal.pause()


def leave_program(told: int) -> None:
    """Start a program and end before it."""
    program = subprocess.Popen(["sleep", "1000"])
    tell(told, program.pid)
    program.returncode = 0


def start_another_by_fork(told: int) -> None:
    _start_another("fork", told)


def start_another_by_forkserver(told: int) -> None:
    _start_another("forkserver", told)


def start_another_by_spawn(told: int) -> None:
    _start_another("spawn", told)


def _start_another(method: str, told: int) -> None:
    def run() -> None:
        launch.start(method, f"{__name__}:block", [told]).wait()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()


def answer(told: int, asked: int) -> None:
    """Tell its process id, wait to be asked, tell it again."""
    tell(told, os.getpid())
    os.read(asked, 1)
    tell(told, os.getpid())


def collect(told: int) -> None:
    gc.collect()
    tell(told, "collected")


def describe(told: int) -> None:
    multiprocessing = sys.modules.get("multiprocessing")
    handlers = {
        number.name: str(signal.getsignal(number))
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
    }
    tell(
        told,
        {
            "pid": os.getpid(),
            "group": os.getpgrp(),
            "handlers": handlers,
            "blocked": len(signal.pthread_sigmask(signal.SIG_BLOCK, ())),
            "stdin": sys.stdin.read(),
            "stdout": os.fstat(1).st_ino,
            "name": multiprocessing and multiprocessing.current_process().name,
            "daemon": multiprocessing and multiprocessing.current_process().daemon,
            "modules": list(sys.modules),
            "forkserver": launch.forkserver_pid(),
            "descriptors": len(os.listdir("/proc/self/fd")),
            "inheritable": os.get_inheritable(told),
        },
    )


def block_quietly() -> None:
    signal.pause()
