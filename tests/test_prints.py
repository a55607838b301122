"""Tests of `bigpipe.prints`: lines and bars in one terminal."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import types
from collections.abc import Callable, Iterator
from typing import IO

import pytest

from bigpipe import prints
from bigpipe.prints import Place, erasing, room_for_prints, settle_prints
from tests.programs import run_python
from tests.screen import Screen

COLUMNS = 60


@pytest.fixture
def screen() -> Iterator[Screen]:
    screen = Screen(COLUMNS)
    yield screen
    screen.close()


@pytest.mark.parametrize(
    "options",
    [
        ["executor=serial"],
        ["executor=threads"],
        pytest.param(["start_method=fork"], marks=pytest.mark.process),
        pytest.param(["start_method=spawn"], marks=pytest.mark.process),
    ],
    ids=["serial", "threads", "fork", "spawn"],
)
def test_lines_that_hooks_and_the_caller_print_stand_above_the_bar(screen, tmp_path, options):
    (tmp_path / "in").mkdir()
    for i in range(2):
        (tmp_path / f"in/{i}.txt").write_text("data")
    os.mkfifo(tmp_path / "gate")
    if "start_method=fork" in options or "start_method=spawn" in options:
        options = [*options, "executor=processes"]
    command = [sys.executable, "-m", "tests.printing", tmp_path, *options]
    streams = {"stdin": subprocess.DEVNULL, "stdout": screen.fd, "stderr": screen.fd}
    subprocess.run(command, check=True, timeout=60, **streams)
    *lines, bar = screen.lines()
    expected = ["read 0.txt"] * 2 + ["done 0"] + ["read 1.txt"] * 2 + ["done 1"]
    assert lines == expected
    assert re.match(r"2/2\|█+\|", bar)


def set_streams(monkeypatch: pytest.MonkeyPatch, stream: IO[str]) -> None:
    # pytest itself replaces those of `sys` between a fixture and its test.
    both = types.SimpleNamespace(stdout=stream, stderr=stream)
    monkeypatch.setattr(prints, "sys", both)


@pytest.fixture
def stream(screen, monkeypatch) -> IO[str]:
    """Standard output and standard error."""
    stream = screen.open()
    set_streams(monkeypatch, stream)
    return stream


def mark(stream: IO[str]) -> str:
    return "<"


def in_thread(function: Callable[..., object], *args: object, **kwargs: object) -> None:
    thread = threading.Thread(target=function, args=args, kwargs=kwargs)
    thread.start()
    thread.join()


def test_room_is_made_once_for_each_line(screen, stream):
    with stream, room_for_prints(mark):
        print("one", 1, file=stream)
        print(file=stream)
        print("two\nthree", file=stream)
    assert screen.text() == "<one 1\n<\n<two\n<three\n"


def test_lines_of_threads_are_not_mixed(screen, stream):
    with stream, room_for_prints(mark):
        print("one", end=" ", file=stream)
        in_thread(print, "two", file=stream)
        print("three", file=stream)
    assert screen.text() == "<two\n<one three\n"


def test_part_of_a_line_is_written_when_it_is_flushed(screen, stream):
    with stream, room_for_prints(mark):
        print(".", end="", flush=True, file=stream)
        in_thread(print, "-", end="", file=stream)
        print(".", end="", file=stream)
        assert os.read(screen.ours, 100) == b"<."
        print(file=stream, flush=True)
    assert screen.text() == ".\n<-"


def test_what_draws_by_itself_is_let_be(screen, stream):
    with stream, room_for_prints(mark):
        stream.write("\r 50%")
        stream.write("\r100%")
        stream.flush()
        stream.write("\n")
        stream.write("\n")
    assert screen.text() == "\r 50%\r100%\n<\n"


def test_part_of_a_line_waits_while_a_bar_is_drawn(screen, stream):
    with stream, room_for_prints(mark):
        print("one", end=" ", file=stream)
        stream.write("\r 50%")
        stream.flush()
        print("two", file=stream)
    assert screen.text() == "\r 50%<one two\n"


@pytest.mark.parametrize("flush", [True, False])
def test_counter_that_goes_back_after_each_number_is_let_be(screen, stream, flush):
    with stream, room_for_prints(mark):
        for i in range(3):
            print(f"{i}%", end="\r", file=stream, flush=flush)
        print("over", file=stream)
        stream.write("begin\n0%\r")
        stream.write("1%\r")
        stream.write("\n")
    assert screen.text() == "0%\r1%\r2%\r<over\n<begin\n0%\r1%\r\n"


def test_line_may_end_as_on_other_systems(screen, stream):
    with stream, room_for_prints(mark):
        print("one", end="\r\n", file=stream)
        print("two\r\nthree", file=stream)
        print("\r 50%", end="", file=stream)
        print(end="\r\n", file=stream)
        print("four", file=stream)
    assert screen.text() == "<one\r\n<two\r\n<three\n\r 50%\r\n<four\n"


def test_colours_are_a_part_of_their_line(screen, stream):
    with stream, room_for_prints(mark):
        print("\x1b[1;31mred\x1b[0m", end=" ", file=stream)
        print("\x1b[mplain", file=stream)
        stream.write("\x1b[2Kdrawn")
    assert screen.text() == "<\x1b[1;31mred\x1b[0m \x1b[mplain\n\x1b[2Kdrawn"


def test_long_line_is_written_bit_by_bit(screen, stream, monkeypatch):
    monkeypatch.setattr(prints, "MAX_HELD", 100)
    written = []
    stream.write = lambda text, write=stream.write: written.append(text) or write(text)
    with stream, room_for_prints(mark):
        for _ in range(250):
            stream.write(".")
    assert written == ["<" + 101 * ".", 101 * ".", 48 * "."]


@pytest.mark.parametrize("no_text", [5, b"bytes"], ids=["int", "bytes"])
def test_what_is_no_text_is_refused_as_by_the_stream(screen, stream, no_text):
    with (
        stream,
        room_for_prints(mark),
        pytest.raises(TypeError, match=r"must be str, not (int|bytes)"),
    ):
        stream.write(no_text)


@pytest.mark.parametrize("first", [0, 1])
def test_streams_are_as_before_when_all_runs_have_ended(screen, stream, first):
    runs = [room_for_prints(lambda stream, i=i: f"{i}<") for i in (0, 1)]
    print("both", file=stream)
    runs.pop(first).close()
    print("one", file=stream)
    runs.pop().close()
    print("none", file=stream)
    assert not vars(stream).keys() & {"write", "flush"}
    stream.close()
    left = 1 - first
    assert screen.text() == f"0<1<both\n{left}<one\nnone\n"


@pytest.mark.parametrize("is_before", [True, False], ids=["before", "meanwhile"])
def test_what_others_have_put_there_stays(screen, stream, is_before):
    noted = []

    def put() -> None:
        stream.write = lambda text, write=stream.write: noted.append(text) or write(text)

    if is_before:
        put()
    run = room_for_prints(mark)
    if not is_before:
        put()
    print("one", file=stream)
    run.close()
    print("two", file=stream)
    stream.close()
    assert screen.text() == "<one\ntwo\n"
    assert "".join(noted) == ("<one\ntwo\n" if is_before else "one\ntwo\n")


def test_text_that_is_held_in_the_end_is_written(screen, stream):
    run = room_for_prints(mark)
    in_thread(print, "one", end="", file=stream)
    run.close()
    stream.close()
    assert screen.text() == "<one"


@pytest.mark.process
def test_fork_prints_as_it_likes(screen, stream):
    with stream, room_for_prints(mark):
        pid = os.fork()
        if pid == 0:
            try:
                print("child", end="", flush=True, file=stream)
            finally:
                os._exit(0)
        os.waitpid(pid, 0)
    assert screen.text() == "child"


def test_lock_is_held_while_a_line_is_written(screen, stream):
    held = []

    class Lock:
        def __enter__(self) -> None:
            held.append("lock")

        def __exit__(self, *exc_info: object) -> None:
            held.append("unlock")

    with stream, room_for_prints(lambda stream: held.append("room") or "", Lock()):
        print("one", file=stream)
    assert held == ["lock", "room", "unlock"]


def test_bar_of_the_run_is_not_taken_for_one_of_the_hooks(screen, stream):
    lock = threading.RLock()
    with stream, room_for_prints(mark, lock):
        print("one", end=" ", file=stream)
        with lock, lock:
            stream.write("\r 50%")
            stream.flush()
            in_thread(print, "other", end="", file=stream)
        stream.write("two\n")
        with lock:
            stream.write("\r100%")
        print("\nthree", file=stream)
    assert screen.text() == "\r 50%<one two\n\r100%<\n<three\n<other"


def test_file_is_let_be(monkeypatch, tmp_path):
    with open(tmp_path / "log", "w") as file:
        set_streams(monkeypatch, file)
        with room_for_prints(mark):
            print("one", file=file)
            assert not vars(file).keys() & {"write", "flush"}
    assert (tmp_path / "log").read_text() == "one\n"


def test_what_has_been_put_in_place_of_a_stream_is_let_be(monkeypatch):
    class Strange:
        __hash__ = None

        def isatty(self) -> bool:
            return True

    set_streams(monkeypatch, Strange())
    with room_for_prints(mark):
        assert not vars(prints.sys.stdout)


def test_whole_line_of_the_terminal_is_erased(screen):
    with screen.open() as stream:
        assert erasing(stream) == "\r" + " " * (COLUMNS - 1) + "\r"


def test_line_of_a_terminal_of_unknown_width_is_erased(screen):
    screen.resize(0)
    with screen.open() as stream:
        assert erasing(stream) == "\r" + " " * 79 + "\r"


def test_terminal_that_is_gone_is_no_fault_of_the_run(screen, stream):
    run = room_for_prints(mark)
    in_thread(print, "one", end="", file=stream)
    stream.close()
    run.close()


class OutStream(list[str]):
    """The stream of a forked kernel, which sends each piece separately."""

    __module__ = "ipykernel.iostream"
    write = list.append

    def flush(self) -> None:
        """Send what has been sent already."""


@pytest.mark.parametrize(
    ("place", "sent"), [(Place.NOTEBOOK, ["one 2\n"]), (Place.ELSEWHERE, ["one", " ", "2", "\n"])]
)
def test_fork_of_a_kernel_prints_whole_lines(monkeypatch, place, sent):
    set_streams(monkeypatch, stream := OutStream())
    settle_prints(place)
    print("one", 2, file=stream)
    assert stream == sent


@pytest.mark.parametrize("is_unbuffered", [True, False], ids=["unbuffered", "buffered"])
def test_worker_of_a_notebook_prints_whole_lines_at_once(monkeypatch, is_unbuffered):
    ours, theirs = os.pipe()
    with os.fdopen(ours, "rb", 0) as kernel, os.fdopen(theirs, "w") as stream:
        stream.reconfigure(write_through=is_unbuffered)
        set_streams(monkeypatch, stream)
        settle_prints(Place.NOTEBOOK)
        print("one", end=" ", file=stream)
        os.write(theirs, b"other\n")
        print("two", file=stream)
        assert kernel.read(100) == b"other\none two\n"


IN_KERNEL = """
import os, signal, sys, types
from bigpipe import BigMultiPipe
from bigpipe.streaming import Graph

class ZMQInteractiveShell:
    pass

def last_words(*args, **kwargs):
    print("last", "words")
    os.kill(os.getpid(), signal.SIGKILL)

sys.modules["IPython"] = types.SimpleNamespace(get_ipython=ZMQInteractiveShell)
kind, method = sys.argv[1:]
if kind == "graph":
    graph = Graph(start_method=method)
    graph.source("inputs", [1], gives="input")
    graph.step("words", last_words, takes="input")
    try:
        graph.run()
    except Exception:
        pass
else:
    options = {"start_method": method, "executor": "processes", "max_worker_deaths": 1}
    pipe = BigMultiPipe(2, pre_process_list=last_words, on_error="return", **options)
    pipe.pipeline([__file__], progress=False)
"""


@pytest.mark.process
@pytest.mark.parametrize("kind", ["files", "graph"])
def test_what_a_worker_of_a_notebook_prints_does_not_die_with_it(tmp_path, kind, start_method):
    (tmp_path / "kernel.py").write_text(IN_KERNEL)
    run = run_python(
        tmp_path / "kernel.py", kind, start_method, env={"PYTHONUNBUFFERED": ""}, is_to_succeed=True
    )
    assert run.stdout == "last words\n"
