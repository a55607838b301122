"""Tests of `bigpipe.progress`: the bar, lines, the caller's own function, and estimates."""

from __future__ import annotations

import io
import re
import sys
import threading
import types
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import IO, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bigpipe import progress
from bigpipe.errors import BigpipeWarning, FileError, OptionError
from bigpipe.progress import Progress, interrupted, make_progress, remaining_s
from bigpipe.records import FileFinished, FileResult, Outcome, RunFinished, RunStarted
from tests.screen import Screen

WRITTEN = FileFinished(FileResult(0, "a.fits", "a_bmp.fits", {}, Outcome.WRITTEN))
FAILED = FileFinished(
    FileResult(
        0,
        "a.fits",
        None,
        {},
        Outcome.FAILED,
        error=FileError("no header", in_name="a.fits", hook="file_read", exitcode=None, attempts=1),
    )
)
FINISHED = RunFinished(n_finished=4, n_failed=0, elapsed_s=8.0, interrupted=False)


class Terminal(io.StringIO):
    """A terminal that remembers what was written, and how many columns it has."""

    def isatty(self) -> bool:
        return True

    def lines(self) -> list[str]:
        """The text of each state of the bar."""
        return [line for line in re.split(r"[\r\n]+", self.getvalue()) if line.strip()]


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def _set_stderr(monkeypatch: pytest.MonkeyPatch, stream: IO[str] | None) -> None:
    # pytest itself replaces `sys.stderr` between a fixture and its test.
    monkeypatch.setattr(progress, "sys", types.SimpleNamespace(stderr=stream, modules=sys.modules))


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    terminal = Terminal()
    _set_stderr(monkeypatch, terminal)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("LINES", "30")
    return terminal


@pytest.fixture
def log_file(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    log_file = io.StringIO()
    _set_stderr(monkeypatch, log_file)
    return log_file


def _run(shown: Progress, clock: Clock, n_files: int | None, seconds: list[float]) -> None:
    shown.handle(RunStarted(n_files, n_workers=2))
    for duration in seconds:
        clock.now += duration
        shown.handle(WRITTEN)
    shown.handle(FINISHED)
    shown.close()


def test_nothing_is_shown_where_standard_error_is_no_terminal(log_file, clock):
    _run(make_progress(None), clock, 2, [1, 60])
    assert log_file.getvalue() == ""


def test_nothing_is_shown_when_switched_off(terminal, clock):
    shown = make_progress(False)
    _run(shown, clock, 2, [1, 60])
    with shown.paused():
        shown.clear()
    shown.tick(2)
    assert terminal.getvalue() == ""


@pytest.mark.parametrize("option", [None, True])
def test_nothing_is_shown_without_a_standard_error(option, clock, monkeypatch):
    _set_stderr(monkeypatch, None)
    _run(make_progress(option), clock, 2, [1, 60])


@pytest.mark.parametrize("option", [1, "bar", 0])
def test_option_of_another_type_is_refused(option):
    with pytest.raises(OptionError, match="None, True, False, or a function"):
        make_progress(option)


def test_bar_shows_files_time_left_speed_and_files_in_flight(terminal, clock):
    shown = make_progress(None)
    shown.handle(RunStarted(20, n_workers=2))
    shown.tick(2)
    clock.now += 60
    shown.handle(WRITTEN)
    shown.handle(WRITTEN)
    clock.now += 30
    shown.tick(2)
    assert "| 2/20 files [01:30<08:30, 30 s/file, 2 in flight]" in terminal.lines()[-1]
    assert terminal.lines()[-1].startswith(" 10%|")
    shown.close()


def test_time_goes_on_between_two_finishes(terminal, clock):
    shown = make_progress(None)
    shown.handle(RunStarted(2, n_workers=1))
    for _ in range(3):
        clock.now += 1
        shown.tick(1)
    shown.close()
    assert [re.search(r"\[(.*?)<", line).group(1) for line in terminal.lines()[:3]] == [
        "00:01",
        "00:02",
        "00:03",
    ]


def test_failures_are_shown_once_there_are_any(terminal, clock):
    shown = make_progress(True)
    shown.handle(RunStarted(4, n_workers=1))
    for event in (WRITTEN, FAILED, FAILED):
        clock.now += 1
        shown.handle(event)
    shown.close()
    first, *_, last = terminal.lines()
    assert "failed" not in first
    assert last.endswith("failed=2]")


def test_last_state_is_exact_however_fast_files_are(terminal, clock):
    _run(make_progress(None), clock, 1000, [1e-5] * 1000)
    assert len(terminal.lines()) == 2  # the bar when it is made, and the last state
    assert "100%" in terminal.lines()[-1]
    assert "1000/1000" in terminal.lines()[-1]


def test_bar_is_drawn_ten_times_a_second(terminal, clock):
    _run(make_progress(None), clock, 10_005, [1e-3] * 10_005)
    assert 90 <= len(terminal.lines()) <= 110
    assert "10005/10005" in terminal.lines()[-1]


def test_number_of_files_may_be_unknown(terminal, clock):
    _run(make_progress(None), clock, None, [1, 1, 1])
    assert terminal.lines()[-1].rstrip() == "3 files [00:03, 1 files/s]"


def test_empty_run_says_so(terminal, clock):
    _run(make_progress(None), clock, 0, [])
    assert terminal.lines()[-1].rstrip() == "0 files [00:00, ? files/s]"


def test_run_that_never_started_shows_nothing(terminal):
    make_progress(None).close()
    assert terminal.getvalue() == ""


def test_line_is_ended_when_the_run_is_closed(terminal, clock):
    _run(make_progress(None), clock, 2, [1, 1])
    assert terminal.getvalue().endswith("\n")
    assert terminal.getvalue().count("\n") == 1


def test_bar_is_gone_while_others_print_and_back_afterwards(terminal, clock):
    shown = make_progress(None)
    shown.handle(RunStarted(4, n_workers=1))
    clock.now += 1
    shown.handle(WRITTEN)
    clock.now += 1
    with shown.paused():
        assert re.search(r"\r +\r$", terminal.getvalue())
        terminal.write("WARNING: odd header\n")
    assert "WARNING: odd header" in terminal.lines()
    assert "1/4" in terminal.lines()[-1]
    shown.close()


def test_flood_of_lines_does_not_draw_the_bar_for_each(terminal, clock):
    shown = make_progress(None)
    shown.handle(RunStarted(4, n_workers=1))
    clock.now += 1
    shown.handle(WRITTEN)
    before = len(terminal.getvalue())
    for _ in range(1000):
        clock.now += 1e-5
        with shown.paused():
            pass
    assert len(terminal.getvalue()) - before < 200
    shown.tick(1)
    shown.close()
    assert "1/4" in terminal.lines()[-1]


def test_bar_can_be_cleared_by_another_thread_after_the_terminal_broke(terminal, clock):
    shown = make_progress(None)
    shown.handle(RunStarted(4, n_workers=1))
    clock.now += 1
    shown.handle(WRITTEN)
    terminal.close()
    clock.now += 1
    shown.handle(WRITTEN)
    thread = threading.Thread(target=shown.clear, daemon=True)
    thread.start()
    thread.join(30)
    assert not thread.is_alive()
    shown.close()


@pytest.mark.parametrize("is_terminal", [True, False])
def test_run_goes_on_when_standard_error_breaks(clock, monkeypatch, is_terminal):
    class Broken(io.StringIO):
        def isatty(self) -> bool:
            return is_terminal

        def write(self, text: str) -> int:
            if "1/2" in self.getvalue() or "1 of 2" in self.getvalue():
                raise BrokenPipeError
            return super().write(text)

    _set_stderr(monkeypatch, Broken())
    _run(make_progress(True), clock, 2, [60, 60])


def test_no_thread_is_started(terminal, clock):
    before = threading.active_count()
    shown = make_progress(None)
    shown.handle(RunStarted(4, n_workers=1))
    clock.now += 20
    shown.tick(1)
    assert threading.active_count() == before
    shown.close()


def test_bar_inside_another_one_leaves_no_line(terminal, clock):
    import tqdm

    class Nights(tqdm.tqdm):
        monitor_interval = 0

    with Nights(total=2, file=terminal) as nights:
        _run(make_progress(None), clock, 2, [1, 1])
        nights.update()
    assert terminal.lines()[-1].startswith(" 50%|")
    assert re.search(r"2/2 files[^\r\n]*\n\r +\x1b\[A", terminal.getvalue())


@pytest.fixture
def make_screen(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], Screen]]:
    with ExitStack() as stack:

        def make(n_columns: int) -> Screen:
            screen = Screen(n_columns)
            stack.callback(screen.close)
            _set_stderr(monkeypatch, screen.open())
            return screen

        yield make


@pytest.mark.parametrize("n_files", [20, 100_000, None])
@pytest.mark.parametrize("n_columns", [40, 69, 80, 200])
def test_bar_fits_the_terminal_and_tells_what_matters(make_screen, clock, n_columns, n_files):
    screen = make_screen(n_columns)
    shown = make_progress(None)
    shown.handle(RunStarted(n_files, n_workers=16))
    for _ in range(12):
        clock.now += 60
        shown.handle(FAILED)
    shown.tick(16)
    shown.close()
    lines = screen.states()
    assert max(map(len, lines)) <= n_columns
    assert all("12" in line and "failed=12" in line for line in lines[-1:])


def test_line_is_written_now_and_then_where_a_bar_cannot_be(log_file, clock):
    _run(make_progress(True), clock, 4, [4, 4, 4, 4])
    assert log_file.getvalue().splitlines() == [
        "bigpipe: 3 of 4 files in 00:12, 00:04 left, 4 s/file",
        "bigpipe: 4 of 4 files in 00:16, 4 s/file",
    ]


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    class ZMQInteractiveShell:
        config: ClassVar[dict[str, object]] = {}

    module = types.SimpleNamespace(get_ipython=ZMQInteractiveShell)
    monkeypatch.setitem(sys.modules, "IPython", module)


def test_bar_is_shown_in_a_notebook(log_file, clock, notebook):
    shown = make_progress(None)
    _run(shown, clock, 2, [1, 1])
    assert "2/2 files" in log_file.getvalue()


def test_function_is_given_each_event():
    events = []
    shown = make_progress(events.append)
    for event in (RunStarted(1, 1), WRITTEN, FINISHED):
        shown.handle(event)
    shown.tick(1)
    shown.close()
    assert events == [RunStarted(1, 1), WRITTEN, FINISHED]


def test_function_that_raises_warns_once_and_the_run_goes_on():
    n_calls = 0

    def count_and_fail(event: object) -> None:
        nonlocal n_calls
        n_calls += 1
        raise ZeroDivisionError("no files")

    shown = make_progress(count_and_fail)
    with pytest.warns(BigpipeWarning, match="ZeroDivisionError: no files"):
        shown.handle(WRITTEN)
    shown.handle(WRITTEN)
    assert n_calls == 2


counts = st.integers(0, 10**6)
durations = st.floats(0, 1e7, allow_nan=False)


@given(counts, counts, st.integers(0, 1000), durations, durations)
def test_time_left_is_a_number_of_seconds(n_done, n_left, n_in_flight, last_finish_s, since):
    left = remaining_s(n_done, n_left, n_in_flight, last_finish_s, last_finish_s + since)
    if n_done == 0 or last_finish_s == 0:
        assert left is None
    else:
        assert 0 <= left < float("inf")


def test_time_left_counts_down_between_two_finishes():
    estimates = [remaining_s(2, 18, 2, 60.0, now) for now in (60.0, 80.0, 100.0, 120.0)]
    assert estimates == [540.0, 520.0, 500.0, 480.0]


def test_time_left_grows_when_files_take_longer_than_those_before():
    estimates = [remaining_s(2, 18, 2, 60.0, now) for now in (120.0, 240.0, 480.0)]
    assert estimates == sorted(estimates)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ((12, 20, 1, 125.0), "12 of 20 files, 1 of them failed, in 02:05"),
        ((0, 1, 0, 0.2), "0 of 1 file, in 00:00"),
        ((90_000, None, 0, 36_000.0), "90000 files, in 10:00:00"),
        ((1, None, 0, 1.0), "1 file, in 00:01"),
    ],
    ids=["failures", "one file", "unknown number", "one of unknown"],
)
def test_text_of_an_interrupted_run_says_how_far_it_got(arguments, line):
    text = interrupted(*arguments, has_journal=False)
    assert text == f"bigpipe: interrupted after {line}"
    first, second = interrupted(*arguments, has_journal=True).split("\n")
    assert first == text
    assert second.endswith("run again to do the others")
