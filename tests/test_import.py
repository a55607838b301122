"""Importing bigpipe provides its names and has no side effects."""

from __future__ import annotations

import json

import pytest

import bigpipe
from tests.programs import run_python

CONTRACT = [
    *("BigMultiPipe", "NoDaemonPool", "NestablePool", "num_can_process", "outname_creator"),
    *("prune_pout", "bmp_cleanup", "multi_logging", "multi_proc", "no_outfile", "cached_pout"),
    *("WorkerWithKwargs", "assure_list", "OUTNAME_APPEND"),
    *("ArgparseHandler", "BMPArgparseMixin"),
]
STATE = """
import json, logging, multiprocessing, os, signal, sys, threading, warnings

def state():
    return {
        "start method": multiprocessing.get_start_method(allow_none=True),
        "signals": [repr(signal.getsignal(number)) for number in signal.valid_signals()],
        "filters": [repr(each) for each in warnings.filters],
        "showwarning": repr(warnings.showwarning),
        "record factory": repr(logging.getLogRecordFactory()),
        "log handlers": repr(logging.getLogger().handlers),
        "excepthooks": repr((sys.excepthook, threading.excepthook)),
        "threads": threading.active_count(),
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "path": sys.path,
    }

before = state()
from bigpipe import *
import bigpipe.argparse_handler, bigpipe.executors.processes, bigpipe.executors.threads
print(json.dumps([before, state()]))
"""


@pytest.mark.parametrize("name", bigpipe.__all__)
def test_public_name_can_be_imported(name):
    assert getattr(bigpipe, name) is not None
    assert name in dir(bigpipe)


@pytest.mark.parametrize("name", CONTRACT)
def test_every_name_of_the_predecessor_is_public(name):
    assert name in bigpipe.__all__


def test_a_name_that_is_not_there_is_said_so():
    with pytest.raises(AttributeError, match="no attribute 'BigMultiPip'"):
        bigpipe.BigMultiPip  # noqa: B018
    with pytest.raises(ImportError):
        from bigpipe import BigMultiPip  # noqa: F401


def test_star_import_takes_the_public_names():
    namespace: dict[str, object] = {}
    exec("from bigpipe import *", namespace)
    assert set(bigpipe.__all__) <= namespace.keys()


def test_importing_changes_nothing_in_the_caller():
    ran = run_python("-c", STATE, is_to_succeed=True)
    before, after = json.loads(ran.stdout)
    assert after == before
    assert before["start method"] is None


def test_system_without_what_is_needed_is_told_of_it() -> None:
    told = run_python("-c", "import os; os.name = 'nt'; import bigpipe")
    assert told.returncode == 1
    assert "ImportError: bigpipe needs Linux or macOS; on Windows, use" in told.stderr
