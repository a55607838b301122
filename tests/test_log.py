"""Tests of `bigpipe.log`: records and warnings of workers, and marks on the caller's own."""

from __future__ import annotations

import io
import logging
import multiprocessing
import os
import pickle
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bigpipe import log
from bigpipe.context import FileContext, enter
from bigpipe.log import LogForwarder, LogReceiver, RecordFactory

IN_NAME = "raw/b0042.fits"
TIMEOUT = 30  # seconds; only a test that fails ever waits so long


class PickyWarning(UserWarning):
    """Cannot be made from its text alone, nor from a pickle."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} and {second}")


class Unloadable:
    """Pickles, and raises when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return int, ("not a number",)

    def __repr__(self) -> str:
        return "<unloadable>"


class ListHandler(logging.Handler):
    def __init__(self, level: int = 0) -> None:
        super().__init__(level)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


class Wire(list[tuple[Any, ...]]):
    """Stands between a worker and its parent: what is put in comes out as from a pickle."""

    def send(self, payload: tuple[Any, ...]) -> None:
        self.append(pickle.loads(pickle.dumps(payload)))

    def deliver(self, receiver: LogReceiver | None = None) -> None:
        receiver = receiver or LogReceiver()
        for payload in self:
            receiver.dispatch(payload, IN_NAME, 4121)
        self.clear()


@contextmanager
def as_worker(wire: Wire) -> Iterator[LogForwarder]:
    """Make this process a worker for the time of the block."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logging.Logger, "callHandlers", logging.Logger.callHandlers)
        patch.setattr(warnings, "_showwarnmsg", warnings._showwarnmsg)
        forwarder = LogForwarder(wire.send)
        forwarder.install()
        yield forwarder


@pytest.fixture
def wire() -> Wire:
    return Wire()


@pytest.fixture
def logger(request: pytest.FixtureRequest) -> Iterator[logging.Logger]:
    logger = logging.getLogger(f"bigpipe_test.{request.node.name}")
    logger.setLevel(logging.DEBUG)
    yield logger
    logger.handlers.clear()
    logger.filters.clear()
    logging.root.manager.loggerDict.pop(logger.name)


@pytest.fixture
def handler(logger: logging.Logger) -> ListHandler:
    handler = ListHandler()
    logger.addHandler(handler)
    return handler


def test_record_arrives_once_with_file_and_worker(wire, logger, handler):
    with as_worker(wire):
        logger.info("bias %.1f of %s", 1012.25, IN_NAME)
        assert handler.records == []
    assert len(wire) == 1
    wire.deliver()
    [record] = handler.records
    assert record.getMessage() == "bias 1012.2 of raw/b0042.fits"
    assert (record.in_name, record.worker) == (IN_NAME, 4121)
    assert (record.levelname, record.process) == ("INFO", os.getpid())
    assert record.funcName == "test_record_arrives_once_with_file_and_worker"


def test_arguments_that_cannot_be_pickled_arrive_as_text(wire, logger, handler):
    with as_worker(wire):
        logger.info("lock %s", lock := threading.Lock())
    wire.deliver()
    assert handler.records[0].getMessage() == f"lock {lock}"


def test_exception_and_stack_arrive_as_text(wire, logger, handler):
    with as_worker(wire):
        try:
            raise ValueError("saturated")
        except ValueError:
            logger.exception("reading failed", stack_info=True)
    wire.deliver()
    shown = logging.Formatter().format(handler.records[0])
    assert shown.startswith("reading failed\nTraceback")
    assert "ValueError: saturated" in shown
    assert "Stack (most recent call last)" in shown


@pytest.mark.parametrize(
    ("value", "arrives"),
    [
        pytest.param(3, 3, id="number"),
        pytest.param({"gain": [1.5]}, {"gain": [1.5]}, id="dict"),
        pytest.param(print.__class__, print.__class__, id="class that cannot be found"),
        pytest.param(Unloadable(), "<unloadable>", id="cannot be unpickled"),
        pytest.param(b"x" * 100_000, repr(b"x" * 100_000)[:1000] + "...", id="large"),
    ],
)
def test_extra_attribute_arrives_as_it_is_or_as_its_repr(wire, logger, handler, value, arrives):
    if isinstance(value, type):
        arrives = repr(value)
    with as_worker(wire):
        logger.info("frame", extra={"detail": value})
    wire.deliver()
    assert handler.records[0].detail == arrives


@pytest.mark.parametrize("at", ["level", "filter", "logging.disable"])
def test_record_that_its_logger_rejects_is_not_sent(wire, logger, at):
    if at == "level":
        logger.setLevel(logging.WARNING)
    elif at == "filter":
        logger.addFilter(lambda record: record.levelno > logging.INFO)
    else:
        logging.disable(logging.INFO)
    try:
        with as_worker(wire):
            logger.info("hidden")
            logger.warning("shown")
    finally:
        logging.disable(logging.NOTSET)
    assert [payload[1]["msg"] for payload in wire] == ["shown"]


def test_worker_without_handlers_prints_nothing(wire, logger, capfd, monkeypatch):
    monkeypatch.setattr(logging.root, "handlers", [])
    with as_worker(wire):
        logger.warning("level 12 %")
    assert len(wire) == 1
    assert capfd.readouterr() == ("", "")


def test_handler_of_a_hook_fires_when_it_writes_to_a_file(wire, logger, tmp_path):
    with as_worker(wire):
        logger.addHandler(logging.FileHandler(tmp_path / "frame.log"))
        logger.info("seeing 1.2")
        logger.handlers[0].close()
    assert (tmp_path / "frame.log").read_text() == "seeing 1.2\n"
    assert len(wire) == 1


def test_handler_of_a_hook_keeps_its_level(wire, logger):
    with as_worker(wire):
        logger.addHandler(own := ListHandler(logging.ERROR))
        logger.info("fine")
        logger.error("bad")
    assert [record.getMessage() for record in own.records] == ["bad"]


@pytest.mark.parametrize("stream", ["stderr", "stdout"])
def test_handler_of_a_hook_is_silent_when_it_writes_to_the_console(wire, logger, stream, capsys):
    with as_worker(wire):
        logger.addHandler(logging.StreamHandler(getattr(sys, stream)))
        logger.warning("shown by the parent")
    assert capsys.readouterr() == ("", "")
    assert len(wire) == 1


def test_stream_handler_fires_when_its_stream_is_no_console(wire, logger):
    with as_worker(wire):
        logger.addHandler(logging.StreamHandler(text := io.StringIO()))
        logger.warning("kept")
    assert text.getvalue() == "kept\n"


def test_second_install_silences_handlers_added_while_loading(wire, logger):
    with as_worker(wire) as forwarder:
        logger.addHandler(added_by_module := ListHandler())
        forwarder.install()
        logger.info("once")
    assert added_by_module.records == []
    assert len(wire) == 1


def test_wrong_log_call_arrives_and_does_not_raise(wire, logger, handler):
    with as_worker(wire):
        logger.info("%d pixels", "many")
    wire.deliver()
    message = handler.records[0].getMessage()
    assert "'%d pixels' with arguments ('many',)" in message
    assert "TypeError" in message


def _log_in_grandchild(path: str) -> None:
    logging.getLogger("grandchild").addHandler(logging.FileHandler(path))
    logging.getLogger("grandchild").warning("by myself")
    warnings.simplefilter("always")
    warnings.warn("also by myself", UserWarning, stacklevel=1)


@pytest.mark.process
def test_process_forked_by_a_hook_does_not_use_the_workers_pipe(wire, tmp_path):
    read_end, write_end = os.pipe()
    with as_worker(wire) as forwarder:
        forwarder._send = lambda payload: os.write(write_end, b"sent")
        child = multiprocessing.get_context("fork").Process(
            target=_log_in_grandchild, args=(str(tmp_path / "child.log"),)
        )
        child.start()
        child.join(TIMEOUT)
    assert child.exitcode == 0
    os.close(write_end)
    with os.fdopen(read_end, "rb") as pipe:
        assert pipe.read() == b""
    assert (tmp_path / "child.log").read_text() == "by myself\n"


def test_level_of_the_parent_decides_what_is_shown(wire, logger, handler):
    with as_worker(wire):
        logger.info("detail")
        logger.error("trouble")
    logger.setLevel(logging.ERROR)
    wire.deliver()
    assert [record.getMessage() for record in handler.records] == ["trouble"]


@pytest.mark.parametrize("how", ["disabled", "logging.disable"])
def test_logger_that_is_switched_off_in_the_parent_shows_nothing(wire, logger, handler, how):
    with as_worker(wire):
        logger.error("trouble")
    if how == "disabled":
        logger.disabled = True
    else:
        logging.disable(logging.ERROR)
    try:
        wire.deliver()
    finally:
        logger.disabled = False
        logging.disable(logging.NOTSET)
    assert handler.records == []


def test_logger_that_the_parent_lacks_is_not_made(wire, logger, handler):
    with as_worker(wire):
        logging.getLogger(f"{logger.name}.deep.inside").warning("from below")
    for name in (f"{logger.name}.deep.inside", f"{logger.name}.deep"):
        logging.root.manager.loggerDict.pop(name, None)
    wire.deliver()
    assert [record.name for record in handler.records] == [f"{logger.name}.deep.inside"]
    assert f"{logger.name}.deep.inside" not in logging.root.manager.loggerDict


def test_filter_that_worker_and_parent_share_sees_a_record_once(wire, logger, handler):
    seen = []
    logger.addFilter(lambda record: seen.append(record) or True)
    with as_worker(wire):
        logger.info("once")
    wire.deliver()
    assert len(seen) == len(handler.records) == 1


def test_filter_that_only_the_parent_has_is_applied(wire, logger, handler):
    with as_worker(wire):
        logger.info("hidden")
    logger.addFilter(lambda record: False)
    wire.deliver()
    assert handler.records == []


@pytest.mark.parametrize("raise_exceptions", [True, False])
def test_handler_that_raises_does_not_end_the_run(
    wire, logger, handler, capsys, monkeypatch, raise_exceptions
):
    monkeypatch.setattr(logging, "raiseExceptions", raise_exceptions)

    class Broken(logging.Handler):
        def emit(self, record):
            raise RuntimeError("disk full")

    with as_worker(wire):
        logger.info("first")
        logger.info("second")
    logger.addHandler(Broken())
    wire.deliver()
    assert len(handler.records) == 2
    assert ("RuntimeError: disk full" in capsys.readouterr().err) == raise_exceptions


def test_records_and_warnings_are_shown_while_the_bar_is_paused(wire, logger, shown):
    states = []
    bar_is_paused = False

    @contextmanager
    def paused():
        nonlocal bar_is_paused
        bar_is_paused = True
        yield
        bar_is_paused = False

    class Watcher(logging.Handler):
        def emit(self, record):
            states.append(bar_is_paused)

    with as_worker(wire):
        logger.warning("a record")
        _warn("a warning")
    logger.addHandler(Watcher())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(warnings, "showwarning", lambda *args: states.append(bar_is_paused))
        wire.deliver(LogReceiver(paused))
    assert states == [True, True]


def _warn(text: str | Warning, category: type[Warning] = UserWarning) -> None:
    warnings.warn(text, category, stacklevel=1)


@pytest.fixture
def shown() -> Iterator[list[warnings.WarningMessage]]:
    """Warnings shown by this process when it is the parent."""
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        yield shown


def test_warning_arrives_with_class_place_file_and_worker(wire, shown):
    with as_worker(wire):
        _warn("negative flux", RuntimeWarning)
        assert shown == []
    wire.deliver()
    [warning] = shown
    assert warning.category is RuntimeWarning
    assert str(warning.message) == "negative flux"
    assert Path(warning.filename).name == "test_log.py"
    assert (warning.message.in_name, warning.message.worker) == (IN_NAME, 4121)


def test_attributes_of_a_warning_arrive(wire, shown):
    with as_worker(wire):
        warning = UserWarning("hot pixels")
        warning.n_pixels = 17
        _warn(warning)
    wire.deliver()
    assert shown[0].message.n_pixels == 17


@pytest.mark.parametrize(("action", "n_shown"), [("default", 1), ("once", 1), ("always", 4)])
def test_repeated_warning_is_shown_as_often_as_the_filter_says(wire, shown, action, n_shown):
    with as_worker(wire):
        for _ in range(4):
            _warn("negative flux")
    warnings.simplefilter(action)
    wire.deliver()
    assert len(shown) == n_shown


def test_each_run_shows_a_warning_again(wire, shown):
    with as_worker(wire):
        _warn("negative flux")
    payloads = list(wire)
    warnings.simplefilter("default")
    wire.deliver(LogReceiver())
    wire.extend(payloads)
    wire.deliver(LogReceiver())
    assert len(shown) == 2


def test_texts_kept_to_show_each_once_are_limited(wire, shown, monkeypatch):
    monkeypatch.setattr(log, "MAX_WARNINGS_KEPT", 10)
    with as_worker(wire):
        for i in range(50):
            _warn(f"frame {i}")
    warnings.simplefilter("default")
    receiver = LogReceiver()
    wire.deliver(receiver)
    assert len(shown) == 50
    assert max(map(len, receiver._registries.values())) <= 12


def test_filter_for_a_module_holds_in_the_parent(wire, shown):
    with as_worker(wire):
        _warn("from the tests")
    warnings.resetwarnings()
    warnings.simplefilter("ignore")
    warnings.filterwarnings("always", module=__name__.replace(".", r"\."))
    wire.deliver()
    assert len(shown) == 1


def test_warning_about_a_place_that_is_not_on_the_stack_arrives(wire, shown):
    with as_worker(wire):
        warnings.warn_explicit("odd header", UserWarning, "frames/b0042.py", 7)
    wire.deliver()
    assert [(warning.filename, warning.lineno) for warning in shown] == [("frames/b0042.py", 7)]


def test_filter_error_of_the_parent_shows_and_does_not_raise(wire, shown):
    with as_worker(wire):
        _warn("let through by a hook")
    warnings.simplefilter("error")
    wire.deliver()
    assert [str(warning.message) for warning in shown] == ["let through by a hook"]


def test_showwarning_that_raises_does_not_end_the_run(wire, shown, monkeypatch, capsys):
    def broken(*args, **kwargs):
        raise RuntimeError("no display")

    with as_worker(wire):
        _warn("negative flux")
    monkeypatch.setattr(warnings, "showwarning", broken)
    wire.deliver()
    assert "RuntimeError: no display" in capsys.readouterr().err


def test_warning_class_that_cannot_be_remade_from_text_arrives(wire, shown):
    with as_worker(wire):
        _warn(PickyWarning("clouds", "moon"))
    wire.deliver()
    assert type(shown[0].message) is PickyWarning
    assert str(shown[0].message) == "clouds and moon"


def test_warning_class_that_the_parent_lacks_arrives_as_its_base(wire, shown):
    class LocalWarning(RuntimeWarning):
        pass

    with as_worker(wire):
        _warn("overflow", LocalWarning)
    wire.deliver()
    assert shown[0].category is RuntimeWarning
    assert str(shown[0].message) == "LocalWarning: overflow"


def test_warning_imports_nothing_in_the_parent(wire, shown, tmp_path, monkeypatch):
    (tmp_path / "only_in_worker.py").write_text("class LateWarning(UserWarning): pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    with as_worker(wire):
        import only_in_worker

        _warn("overflow", only_in_worker.LateWarning)
    monkeypatch.delitem(sys.modules, "only_in_worker")
    wire.deliver()
    assert shown[0].category is UserWarning
    assert "only_in_worker" not in sys.modules


def test_hook_can_record_warnings_itself(wire, shown):
    with as_worker(wire):
        with warnings.catch_warnings(record=True) as recorded:
            warnings.simplefilter("always")
            _warn("expected")
        _warn("unexpected")
    assert [str(warning.message) for warning in recorded] == ["expected"]
    assert [payload[1] for payload in wire] == ["unexpected"]


def test_showwarning_set_by_a_hook_stays_in_force(wire, shown):
    own = []
    with as_worker(wire), pytest.MonkeyPatch.context() as patch:
        patch.setattr(warnings, "showwarning", lambda message, *args: own.append(str(message)))
        _warn("mine")
    assert own == ["mine"]
    assert wire == []


@pytest.mark.parametrize("enabled", ["before", "in the worker"])
def test_astropy_warning_arrives_once_as_a_warning(wire, shown, enabled):
    with pytest.MonkeyPatch.context() as patch:
        stock = warnings.showwarning
        patch.setattr(warnings, "showwarning", stock)
        from astropy import log as astropy_log
        from astropy.utils.exceptions import AstropyUserWarning

        # What the import did depends on whether this process had done it before.
        patch.setattr(warnings, "showwarning", stock)
        patch.setattr(astropy_log, "_showwarning_orig", None)
        if enabled == "before":
            astropy_log.enable_warnings_logging()
        with as_worker(wire):
            if enabled == "in the worker":
                astropy_log.enable_warnings_logging()
            _warn("header is odd", AstropyUserWarning)
            astropy_log.disable_warnings_logging()
    assert len(wire) == 1
    wire.deliver()
    assert [warning.category for warning in shown] == [AstropyUserWarning]


def _work_and_log(connection: Any) -> None:
    forwarder = LogForwarder(connection.send)
    forwarder.install()
    logging.getLogger("bigpipe_test.process").warning("level %d", 3, extra={"ratio": 0.5})
    warnings.simplefilter("always")
    warnings.warn("negative flux", RuntimeWarning, stacklevel=1)
    connection.send(None)


@pytest.mark.process
def test_worker_process_sends_records_and_warnings_and_prints_nothing(
    start_method, wire, shown, capfd
):
    context = multiprocessing.get_context(start_method)
    # Said from Python 3.12 on: the watchdog of pytest is a native thread.
    warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
    logger = logging.getLogger("bigpipe_test.process")
    handler = ListHandler()
    logger.addHandler(handler)
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_work_and_log, args=(theirs,))
    process.start()
    try:
        while ours.poll(TIMEOUT) and (payload := ours.recv()) is not None:
            LogReceiver().dispatch(payload, IN_NAME, process.pid)
    finally:
        process.join(TIMEOUT)
        logger.removeHandler(handler)
        ours.close()
        theirs.close()
    [record] = handler.records
    assert (record.getMessage(), record.ratio) == ("level 3", 0.5)
    assert (record.in_name, record.worker, record.process) == (IN_NAME, process.pid, process.pid)
    assert [str(warning.message) for warning in shown] == ["negative flux"]
    assert capfd.readouterr().err == ""


def test_record_made_for_a_file_is_marked(logger, handler):
    with RecordFactory():
        with enter(FileContext(IN_NAME, worker=7)):
            logger.info("inside")
        logger.info("outside")
    logger.info("after the run")
    inside, outside, after = handler.records
    assert (inside.in_name, inside.worker) == (IN_NAME, 7)
    assert (outside.in_name, outside.worker) == (None, None)
    assert not hasattr(after, "in_name")


def test_extra_of_the_same_name_is_allowed_and_stays(logger, handler):
    with RecordFactory(), enter(FileContext(IN_NAME, worker=7)):
        logger.info("mine", extra={"in_name": "my own", "worker": "me"})
    assert (handler.records[0].in_name, handler.records[0].worker) == ("my own", "me")


def test_record_is_marked_with_the_file_of_its_thread(logger, handler):
    both_inside = threading.Barrier(2, timeout=TIMEOUT)

    def work(in_name: str) -> None:
        with enter(FileContext(in_name)):
            both_inside.wait()
            logger.info(in_name)
            both_inside.wait()

    with RecordFactory():
        threads = [threading.Thread(target=work, args=(name,)) for name in ("a.fits", "b.fits")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(TIMEOUT)
    assert sorted(record.in_name for record in handler.records) == ["a.fits", "b.fits"]
    assert all(record.in_name == record.getMessage() for record in handler.records)


@pytest.mark.parametrize("first_out", [0, 1], ids=["first ends first", "last ends first"])
def test_overlapping_runs_leave_logging_as_it_was(logger, handler, first_out):
    stock = logging.Logger.makeRecord
    factories = [RecordFactory(), RecordFactory()]
    for factory in factories:
        factory.install()
    factories.pop(first_out).uninstall()
    logger.info("still marked")
    factories[0].uninstall()
    factories[0].uninstall()
    assert handler.records[0].in_name is None
    assert logging.Logger.makeRecord is stock


def test_what_someone_else_put_over_it_stays_and_works(logger, handler, monkeypatch):
    monkeypatch.setattr(logging.Logger, "makeRecord", logging.Logger.makeRecord)
    with RecordFactory():
        ours = logging.Logger.makeRecord

        def theirs(*args, **kwargs):
            return ours(*args, **kwargs)

        logging.Logger.makeRecord = theirs
    assert logging.Logger.makeRecord is theirs
    with RecordFactory():
        logger.info("in the next run")
    logger.info("after it")
    assert handler.records[0].in_name is None
    assert not hasattr(handler.records[1], "in_name")
    assert logging.Logger.makeRecord is theirs


def test_bar_is_cleared_before_a_record_is_shown(logger, handler):
    n_shown_when_cleared = []
    with RecordFactory(before=lambda: n_shown_when_cleared.append(len(handler.records))):
        logger.info("first")
        logger.info("second")
    assert n_shown_when_cleared == [0, 1]


def test_bar_is_cleared_before_a_warning_is_shown(shown):
    n_shown_when_cleared = []
    with RecordFactory(before=lambda: n_shown_when_cleared.append(len(shown))):
        _warn("first")
        _warn("second")
    _warn("after the run")
    assert n_shown_when_cleared == [0, 1]
    assert len(shown) == 3


def test_warnings_are_shown_as_before_after_the_run():
    stock = warnings._showwarnmsg
    with RecordFactory():
        assert warnings._showwarnmsg is not stock
    assert warnings._showwarnmsg is stock


def _log_in_forked_worker(connection: Any) -> None:
    handler = ListHandler()
    logger = logging.getLogger("bigpipe_test.forked")
    logger.addHandler(handler)
    logger.warning("in a worker")
    with RecordFactory():
        logger.warning("in a run of its own")
    connection.send([hasattr(record, "in_name") for record in handler.records])


@pytest.mark.process
def test_worker_forked_during_a_run_leaves_the_bar_alone():
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    with RecordFactory(before=lambda: os._exit(3)):
        process = context.Process(target=_log_in_forked_worker, args=(theirs,))
        process.start()
    theirs.close()
    process.join(TIMEOUT)
    assert process.exitcode == 0
    assert ours.recv() == [False, True]
    ours.close()
