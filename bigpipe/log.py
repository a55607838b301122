"""Log records and warnings of workers, shown by the parent as if it had made them.

Owns how they are sent and received; `bigpipe.log_payload` says what is sent, and the pipe belongs
to the executor.

    worker                                          parent
    logger.info -> LogForwarder -> send(payload) => LogReceiver.dispatch -> its handlers
    warnings.warn -^                                                     -> its warning filters

Files processed in the parent's own process need no sending: `RecordFactory` marks their records.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from bigpipe.context import FileContext, current, enter
from bigpipe.log_payload import Packed, encode_record, encode_warning, rebuilt_warning, unpack

__all__ = ["LogForwarder", "LogReceiver", "RecordFactory"]

MAX_WARNINGS_KEPT = 10_000  # texts remembered to show each once, for each source file. Arbitrary.


class LogForwarder:
    """Send a worker's log records and warnings to its parent.

    Parameters
    ----------
    send : callable
        Called with one payload, a picklable tuple, for each record or warning. Any
        thread of the worker may call it. It may block: that is the backpressure.

    Notes
    -----
    Only for a process that is a worker: it replaces ``logging.Logger.callHandlers`` for good.
    Records that pass their logger's level and filters are sent, each once. Handlers that existed
    at `install`, and handlers that write to the console, are not called: the parent has them. A
    handler that a hook adds, for a log file of its own, is called.

    A process that a hook forks from the worker logs by itself, as it must not share the pipe.
    """

    def __init__(self, send: Callable[[tuple[Any, ...]], object]) -> None:
        self._send = send
        self._pid: int | None = None
        self._inherited: dict[int, logging.Handler] = {}

    def install(self) -> None:
        """Start forwarding.

        A second call, after the pipeline object has been loaded, also silences handlers that its
        modules added when they were imported, as in the parent.
        """
        self._inherited.update({id(handler): handler for handler in _attached_handlers()})
        if self._pid is None:
            self._pid = os.getpid()
            self._forward_records()
            self._forward_warnings()

    def _forward_records(self) -> None:
        stock = logging.Logger.callHandlers

        def call_handlers(logger: logging.Logger, record: logging.LogRecord) -> None:
            if os.getpid() != self._pid:
                stock(logger, record)
                return
            self._send(encode_record(record, n_filters=len(logger.filters)))
            for handler in _handlers_of(logger):
                if record.levelno >= handler.level and self._is_for_the_worker(handler):
                    handler.handle(record)

        logging.Logger.callHandlers = call_handlers  # type: ignore[method-assign, assignment]

    def _is_for_the_worker(self, handler: logging.Handler) -> bool:
        return id(handler) not in self._inherited and not _writes_to_console(handler)

    def _forward_warnings(self) -> None:
        # This hook, and not `warnings.showwarning`: libraries replace that one and check
        # that theirs is still in place (astropy), `catch_warnings` puts an old one back.
        stock = warnings._showwarnmsg  # type: ignore[attr-defined]
        showwarning = warnings.showwarning
        recorder = _warning_recorder()

        def show(message: warnings.WarningMessage) -> None:
            if (
                os.getpid() != self._pid
                or _warning_recorder() != recorder
                or not _is_for_the_parent(warnings.showwarning, showwarning)
            ):
                stock(message)
            else:
                self._send(encode_warning(message, sys._getframe(1)))

        warnings._showwarnmsg = show  # type: ignore[attr-defined]


def _attached_handlers() -> Iterator[logging.Handler]:
    yield from logging.root.handlers
    for logger in list(logging.root.manager.loggerDict.values()):
        if isinstance(logger, logging.Logger):
            yield from logger.handlers


def _handlers_of(logger: logging.Logger | None) -> Iterator[logging.Handler]:
    while logger is not None:
        yield from logger.handlers
        logger = logger.parent if logger.propagate else None


def _writes_to_console(handler: logging.Handler) -> bool:
    stream = getattr(handler, "stream", None) or getattr(
        getattr(handler, "console", None), "file", None
    )
    if stream is None:
        return False
    if stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        return True
    try:
        return stream.fileno() in (1, 2)
    except (AttributeError, OSError, ValueError):  # a stream without a file, or a closed one
        return False


def _warning_recorder() -> tuple[int, int]:
    """Return an identity that changes inside ``catch_warnings(record=True)``."""
    get_context = getattr(warnings, "_get_context", None)  # Python >= 3.14
    log = None if get_context is None else get_context().log
    return id(warnings._showwarnmsg_impl), id(log)  # type: ignore[attr-defined]


def _is_for_the_parent(showwarning: object, at_install: object) -> bool:
    """Return whether warnings go to the parent: not if a hook has set its own ``showwarning``."""
    stock = warnings._showwarning_orig  # type: ignore[attr-defined]
    if showwarning is at_install or showwarning is stock:
        return True
    # A package that was imported late turns its warnings into log records (astropy). Sent
    # as warnings, the parent can treat them as in a loop and show repeated ones once.
    return isinstance(getattr(showwarning, "__self__", None), logging.Logger)


class LogReceiver:
    """Show the log records and warnings of workers in the parent.

    Parameters
    ----------
    paused : callable, optional
        Returns a context manager inside which records are shown: it takes a progress
        bar out of their way.

    Notes
    -----
    One receiver serves one run: with the filters ``default`` and ``once`` a warning is
    shown once in each run, whichever workers gave it.

    Records and warnings have the attributes ``in_name`` and ``worker``. No handler or filter of
    the parent can end the run here: an error in a handler is treated as in `logging`, and a
    warning that the parent's filters would turn into an exception is shown.
    """

    def __init__(self, paused: Callable[[], AbstractContextManager[object]] = nullcontext) -> None:
        self._paused = paused
        self._registries: dict[str, dict[Any, Any]] = {}
        self._reporter = logging.NullHandler()

    def dispatch(self, payload: tuple[Any, ...], in_name: Any, worker: int | None) -> None:
        """Show one payload of a `LogForwarder`.

        Parameters
        ----------
        payload : tuple
            The argument of its ``send``.
        in_name : str, os.PathLike, list or None
            The input that the worker had; ``None`` between files.
        worker : int or None
            The worker's process id.
        """
        kind, *content = payload
        show = self._show_record if kind == "record" else self._show_warning
        show({"in_name": in_name, "worker": worker}, *content)

    def _show_record(
        self,
        marks: dict[str, Any],
        fields: dict[str, Any],
        packed: dict[str, Packed],
        n_filters: int,
    ) -> None:
        fields.update({name: unpack(value) for name, value in packed.items()})
        record = logging.makeLogRecord(fields | marks)
        logger = _nearest_logger(record.name)
        is_own = logger.name == record.name
        if is_own and logger.disabled:
            return
        if record.levelno <= logger.manager.disable or record.levelno < logger.getEffectiveLevel():
            return
        with self._paused():
            try:
                # Filters that the worker's logger also has have been applied there.
                if is_own and len(logger.filters) > n_filters:
                    logger.handle(record)
                else:
                    logger.callHandlers(record)
            except Exception:  # any error: a handler is the user's code
                self._reporter.handleError(record)

    def _show_warning(
        self,
        marks: dict[str, Any],
        text: str,
        classes: list[tuple[str, str]],
        filename: str,
        lineno: int,
        module: str,
        packed: Packed,
    ) -> None:
        message = rebuilt_warning(text, classes, packed)
        vars(message).update(marks)
        registry = self._registries.setdefault(filename, {})
        if len(registry) > MAX_WARNINGS_KEPT:
            registry.clear()
        category = type(message)
        # In the parent, too, warnings may become log records, which must have the attributes.
        with self._paused(), enter(FileContext(**marks)):
            try:
                try:
                    warnings.warn_explicit(
                        message, category, filename, lineno, module=module, registry=registry
                    )
                except Warning as raised:
                    if raised is not message:
                        raise
                    # The worker's filters would have raised it, unless a hook let it pass.
                    warnings.showwarning(message, category, filename, lineno)
            except Exception:  # any error: `showwarning` may be the user's
                fields = {"msg": text, "pathname": filename, "lineno": lineno}
                self._reporter.handleError(logging.makeLogRecord(fields))


def _nearest_logger(name: str) -> logging.Logger:
    """Return the logger, or if the parent does not have it, the nearest one above it.

    `logging.getLogger` would create it, and a package with its own logger class could then no
    longer be imported in the parent.
    """
    loggers = logging.root.manager.loggerDict
    while name:
        logger = loggers.get(name)
        if isinstance(logger, logging.Logger):
            return logger
        name = name.rpartition(".")[0]
    return logging.root


class RecordFactory:
    """Mark log records made while a file is processed in the caller's own process.

    Parameters
    ----------
    before : callable, optional
        Called without arguments, in the thread that logs or warns, before a record or a warning
        is shown, to clear a progress bar.

    Notes
    -----
    Every record gets the attributes ``in_name`` and ``worker``, which are ``None`` outside a
    file, so a format that uses them always works. Attributes of these names given as ``extra=``
    are kept.

    ``logging.Logger.makeRecord`` is replaced, because with a factory set by
    `logging.setLogRecordFactory`, `logging` would refuse such an ``extra=``. Runs may overlap;
    the last to end restores the original, unless other code has replaced it since.
    """

    def __init__(self, before: Callable[[], object] | None = None) -> None:
        self.before = before

    def install(self) -> None:
        """Start marking records."""
        global _factories, _pid, _replaced
        with _factories_lock:
            if _pid != os.getpid():  # a worker that was forked during a run of its parent
                _factories, _pid = (), os.getpid()
            if not _factories:
                _replaced = (
                    _replace(logging.Logger, "makeRecord", _marking),
                    _replace(warnings, "_showwarnmsg", _making_room),
                )
            _factories += (self,)

    def uninstall(self) -> None:
        """Stop. A second call does nothing."""
        global _factories, _replaced
        with _factories_lock:
            _factories = tuple(factory for factory in _factories if factory is not self)
            if not _factories:
                for owner, name, stock, ours in _replaced:
                    if getattr(owner, name) is ours:
                        setattr(owner, name, stock)
                _replaced = ()

    def __enter__(self) -> RecordFactory:
        self.install()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.uninstall()


_factories_lock = threading.Lock()
_factories: tuple[RecordFactory, ...] = ()
_pid: int | None = None  # of the process that the factories belong to
_replaced: tuple[tuple[Any, str, Any, Any], ...] = ()  # owner, name, what was there, what is


def _replace(owner: Any, name: str, wrap: Callable[[Any], Any]) -> tuple[Any, str, Any, Any]:
    # A new function each time: other code may have wrapped an old one.
    stock = getattr(owner, name)
    ours = wrap(stock)
    setattr(owner, name, ours)
    return owner, name, stock, ours


def _marking(make_record: Callable[..., logging.LogRecord]) -> Callable[..., logging.LogRecord]:
    def make_marked_record(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = make_record(*args, **kwargs)
        if _make_room():
            file = current()
            fields = vars(record)
            fields.setdefault("in_name", None if file is None else file.in_name)
            fields.setdefault("worker", None if file is None else file.worker)
        return record

    return make_marked_record


def _making_room(show_warning: Callable[[Any], None]) -> Callable[[Any], None]:
    def show_after_making_room(message: warnings.WarningMessage) -> None:
        _make_room()
        show_warning(message)

    return show_after_making_room


def _make_room() -> bool:
    """Call the functions registered as `before`; return whether there is a run."""
    if _pid != os.getpid():
        return False
    factories = _factories
    for factory in factories:
        if factory.before is not None:
            factory.before()
    return bool(factories)
