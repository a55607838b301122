"""The process-wide settings that a worker takes over, so that it behaves like its parent.

Owns the copying of settings, and the limit on threads of numerical libraries.
`bigpipe.executors.launch` starts workers; `bigpipe.log` sends log records and warnings back.
"""

from __future__ import annotations

import locale
import logging
import os
import pickle
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import threadpoolctl

from bigpipe.errors import BigpipeWarning
from bigpipe.system.system_files import read_text, word_after

__all__ = [
    "Environment",
    "current_folder",
    "folder_kept",
    "limit_threads",
    "reseed_numpy",
    "return_to",
    "thread_libraries",
    "threads_limited",
]

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "BLIS_NUM_THREADS",
)
"""Environment variables that numerical libraries read once, when they are loaded."""

THREADED_PACKAGES = ("numpy", "torch", "mkl")
"""Packages that load a BLAS or OpenMP library; without them there is nothing to limit."""


@dataclass(frozen=True)
class Environment:
    """Process-wide settings of the parent, to be set in a worker.

    Made by `capture` in the parent. Can be pickled: a warning filter whose category does not
    exist in the worker is left out there, and the parent's filters see its warnings.

    Notes
    -----
    `apply` changes only settings that differ, so it may be called again and is quick in a forked
    worker, which has most of them already. A setting that cannot be applied gives a
    `BigpipeWarning` and does not affect the others.
    """

    environ: Mapping[str, str]
    """Environment variables."""
    cwd: str | None
    """Current folder, ``None`` if it had been deleted."""
    sys_path: tuple[str, ...]
    """Module search path."""
    argv: tuple[str, ...]
    """Name of the program and its arguments, which a hook may write into a header."""
    umask: int | None
    """Permission bits that new files do not get; ``None`` if it cannot be read."""
    locale_name: str
    """All categories, as `locale.setlocale` returns and accepts them."""
    warning_filters: _WarningFilters
    """Entries of ``warnings.filters``, in order."""
    logging_settings: _LoggingSettings
    """Levels and switches of all loggers."""
    numpy_errors: Mapping[str, str] | None
    """Settings of `numpy.seterr`; ``None`` if numpy was not loaded."""

    @classmethod
    def capture(cls) -> Environment:
        """Read the settings of this process without changing them."""
        numpy: Any = sys.modules.get("numpy")
        return cls(
            environ=dict(os.environ),
            cwd=current_folder(),
            sys_path=tuple(sys.path),
            argv=tuple(getattr(sys, "argv", ())),  # an embedded interpreter has none
            umask=_umask(),
            locale_name=locale.setlocale(locale.LC_ALL, None),
            warning_filters=_WarningFilters(_active_filters()),
            logging_settings=_LoggingSettings.capture(),
            numpy_errors=numpy.geterr() if hasattr(numpy, "geterr") else None,
        )

    def apply(self) -> None:
        """Apply the captured settings to this process."""
        _try_each(
            {
                "environment variables": self._apply_environ,
                "current folder": self._apply_cwd,
                "sys.path": self._apply_sys_path,
                "sys.argv": self._apply_argv,
                "umask": self._apply_umask,
                "locale": self._apply_locale,
            }
        )
        self.apply_module_settings()

    def apply_module_settings(self) -> None:
        """Apply again the settings that importing a module may change.

        Called after the pipeline object has been loaded in a new interpreter: the modules
        imported with it may have added warning filters and loggers with levels of their own.
        """
        _try_each(
            {
                "warning filters": self._apply_warning_filters,
                "logging levels": self.logging_settings.apply,
                "numpy.seterr": self._apply_numpy_errors,
            }
        )

    def _apply_environ(self) -> None:
        for name in os.environ.keys() - self.environ.keys():
            del os.environ[name]
        for name, value in self.environ.items():
            if os.environ.get(name) != value:
                os.environ[name] = value

    def _apply_cwd(self) -> None:
        if self.cwd is not None and self.cwd != current_folder():
            os.chdir(self.cwd)

    def _apply_sys_path(self) -> None:
        if tuple(sys.path) != self.sys_path:
            sys.path[:] = self.sys_path

    def _apply_argv(self) -> None:
        sys.argv = list(self.argv)

    def _apply_umask(self) -> None:
        if self.umask is not None:
            os.umask(self.umask)

    def _apply_locale(self) -> None:
        if locale.setlocale(locale.LC_ALL, None) != self.locale_name:
            locale.setlocale(locale.LC_ALL, self.locale_name)

    def _apply_warning_filters(self) -> None:
        if tuple(_active_filters()) == self.warning_filters:
            # Resetting the filters would also forget which warnings have been shown.
            return
        warnings.resetwarnings()
        _active_filters().extend(self.warning_filters)

    def _apply_numpy_errors(self) -> None:
        numpy: Any = sys.modules.get("numpy")
        if self.numpy_errors is not None and hasattr(numpy, "seterr"):
            numpy.seterr(**self.numpy_errors)


class _WarningFilters(tuple[Any, ...]):
    """Warning filters that are pickled one by one, so that each may fail separately."""

    __slots__ = ()

    def __reduce__(self) -> tuple[Any, ...]:
        packed = []
        for entry in self:
            try:
                packed.append(pickle.dumps(entry))
            except Exception:  # any error: the category's own code runs
                # Its warnings are filtered when they arrive in the parent.
                continue
        return _unpacked_filters, (packed,)


def _unpacked_filters(packed: list[bytes]) -> _WarningFilters:
    entries = []
    for data in packed:
        try:
            entries.append(pickle.loads(data))  # from this program's own parent
        except Exception:  # any error: a module may be imported here
            # As above: filtered in the parent.
            continue
    return _WarningFilters(entries)


def _active_filters() -> list[Any]:
    # From Python 3.14 on, filters may belong to a context and not to the module.
    get_filters = getattr(warnings, "_get_filters", None)
    filters: list[Any] = warnings.filters if get_filters is None else get_filters()  # type: ignore[assignment]
    return filters


@dataclass(frozen=True, slots=True)
class _LoggerState:
    level: int
    disabled: bool
    propagate: bool
    plain: bool
    """Of the class `logging.Logger` itself, so that it can be made before its module is loaded."""

    @classmethod
    def of(cls, logger: logging.Logger) -> _LoggerState:
        plain = type(logger) is logging.Logger
        return cls(logger.level, logger.disabled, logger.propagate, plain)


@dataclass(frozen=True, slots=True)
class _LoggingSettings:
    loggers: Mapping[str | None, _LoggerState]
    """By name; the root logger is ``None``."""
    disable: int
    raise_exceptions: bool
    level_names: Mapping[str, int]

    @classmethod
    def capture(cls) -> _LoggingSettings:
        states: dict[str | None, _LoggerState] = {
            name: _LoggerState.of(logger)
            for name, logger in list(logging.root.manager.loggerDict.items())
            if isinstance(logger, logging.Logger)
        }
        return cls(
            loggers={None: _LoggerState.of(logging.root), **states},
            disable=logging.root.manager.disable,
            raise_exceptions=logging.raiseExceptions,
            level_names=logging.getLevelNamesMapping(),
        )

    def apply(self) -> None:
        known_names = logging.getLevelNamesMapping()
        for level_name, level in self.level_names.items():
            if known_names.get(level_name) != level:
                logging.addLevelName(level, level_name)
        logging.disable(self.disable)
        logging.raiseExceptions = self.raise_exceptions
        loggers = logging.root.manager.loggerDict
        for name, state in self.loggers.items():
            # A package with a logger class of its own (astropy) must make its logger itself:
            # it fails to import when it finds a plain one in that place.
            if name is None or state.plain or isinstance(loggers.get(name), logging.Logger):
                logger = logging.getLogger(name)
                if logger.level != state.level:
                    logger.setLevel(state.level)
                logger.disabled = state.disabled
                logger.propagate = state.propagate


def current_folder() -> str | None:
    """Return the current folder, or ``None`` if it is gone."""
    try:
        return os.getcwd()
    except FileNotFoundError:
        return None


def return_to(home: str | None) -> None:
    """Change back to a folder that a hook may have left, as relative names depend on it."""
    if home is not None and current_folder() != home:
        with suppress(OSError):  # it may be gone
            os.chdir(home)


@contextmanager
def folder_kept() -> Iterator[str | None]:
    """Yield the current folder, and change back to it after a block that calls hooks."""
    home = current_folder()
    try:
        yield home
    finally:
        return_to(home)


def _umask() -> int | None:
    # `os.umask` would change it for a moment in which another thread may create a file.
    umask = word_after("Umask:", read_text("/proc/self/status"))
    return int(umask, 8) if umask else None


def _try_each(steps: Mapping[str, Callable[[], None]]) -> None:
    for what, step in steps.items():
        try:
            step()
        except Exception as error:  # a worker without this setting is better than none
            message = (
                f"a worker could not take over the {what} of its parent: "
                f"{type(error).__name__}: {error}. It continues with its own."
            )
            # Shown whatever the filters say: as an exception it would end the worker.
            with warnings.catch_warnings():
                warnings.simplefilter("always")
                warnings.warn(message, BigpipeWarning, stacklevel=3)


def reseed_numpy() -> None:
    """Reseed numpy's global random generator, as Python reseeds its own after a fork.

    Forked workers inherit the state of their parent, so all would draw the same numbers.
    """
    random: Any = sys.modules.get("numpy.random")
    if hasattr(random, "seed"):
        random.seed()


def limit_threads(n: int | None) -> None:
    """Limit the number of threads of each numerical library in this process.

    Parameters
    ----------
    n : int or None
        Threads, at least 1. An existing lower limit is kept. ``None`` changes nothing.

    Notes
    -----
    Environment variables limit libraries that are loaded later and programs that are started;
    ``threadpoolctl`` limits libraries already loaded. OpenMP has a limit for each calling thread,
    so threads other than the main one must call this function themselves.
    """
    if n is None:
        return
    for name in THREAD_VARIABLES:
        if not _is_at_most(os.environ.get(name), n):
            os.environ[name] = str(n)
    for library in thread_libraries():
        if library.num_threads > n and not _set_unstarted(library, n):
            library.set_num_threads(n)


def _set_unstarted(library: Any, n: int) -> bool:
    """Set the number of threads that an OpenBLAS without threads starts on first use.

    After a fork it has none. Its own function would start all of them before it stops most, and
    each spins for a tenth of a second before that, which is longer than many runs take.

    Returns
    -------
    bool
        Whether the number was set.
    """
    if library.internal_api != "openblas":
        return False
    import ctypes

    try:
        is_started, *limits = (
            ctypes.c_int.in_dll(library.dynlib, name)
            for name in ("blas_server_avail", "blas_num_threads", "blas_cpu_number")
        )
    except (AttributeError, ValueError):  # another version, or built with OpenMP
        return False
    if is_started.value:
        return False
    for limit in limits:
        limit.value = n
    return True


@contextmanager
def threads_limited(n: int | None) -> Iterator[None]:
    """Limit the numerical libraries' threads until the ``with`` block ends.

    Parameters
    ----------
    n : int or None
        As for `limit_threads`.
    """
    if n is None:
        yield
        return
    environ = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    libraries = [(library, library.num_threads) for library in thread_libraries()]
    try:
        limit_threads(n)
        yield
    finally:
        for name, value in environ.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        for library, n_threads in libraries:
            if not _set_unstarted(library, n_threads):
                library.set_num_threads(n_threads)


def _is_at_most(text: str | None, n: int) -> bool:
    # OpenMP allows one number for each level of nesting: "4,2".
    try:
        return 1 <= int((text or "").split(",")[0]) <= n
    except ValueError:
        return False


def thread_libraries() -> list[Any]:
    """Return the numerical libraries of this process that have threads.

    Called before a fork, it spares the child the search, which takes some ms.
    """
    if not any(package in sys.modules for package in THREADED_PACKAGES):
        return []
    return _libraries_found(len(sys.modules))


@lru_cache(maxsize=1)
def _libraries_found(n_modules: int) -> list[Any]:
    """Find libraries; cached until more modules are imported."""
    libraries: list[Any] = threadpoolctl.ThreadpoolController().lib_controllers
    return libraries
