"""Problems that people met when they used the package, each in its smallest form."""

from __future__ import annotations

import logging
import os
import select
import threading
import warnings
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from bigpipe import BigMultiPipe, Outcome
from bigpipe.errors import PipelineError, shown
from bigpipe.executors import launch
from tests.gate import Gate
from tests.mischief import PATIENCE, loop
from tests.pipes import Doubler

MakeFiles = Callable[..., list[str]]

pytestmark = pytest.mark.process


def draw_together(data, bmp_meta=None, gate=None, **kwargs):
    """Draw a random number in a worker of its own: both wait at the gate first."""
    gate("here")
    bmp_meta["drawn"] = np.random.random()  # noqa: NPY002 - as in code of some age
    return data


def test_workers_draw_different_random_numbers(
    tmp_path: Path, make_files: MakeFiles, gate: Gate, start_method: str
):
    def open_when_both_are_there() -> None:
        for _ in range(2):
            gate.arrived()
        gate.open(2)

    np.random.seed(1)  # noqa: NPY002
    doorkeeper = threading.Thread(target=open_when_both_are_there)
    doorkeeper.start()
    pout = Doubler(outdir=tmp_path, executor="processes", num_processes=2).pipeline(
        make_files(2), post_process_list=draw_together, gate=gate, start_method=start_method
    )
    doorkeeper.join()
    first, second = (meta["drawn"] for _, meta in pout)
    assert first != second
    own = np.random.random()  # noqa: NPY002
    assert own == np.random.RandomState(1).random_sample()


def swallow_everything(name: str) -> None:
    try:
        loop(name)
    except:  # noqa: E722, S110 - people write this
        pass


@pytest.mark.parametrize("hook", ["data_process", "file_write"])
def test_file_whose_hook_swallows_everything_times_out(
    tmp_path: Path, make_files: MakeFiles, start_method: str, hook: str
):
    out = tmp_path / "out"
    pout = Doubler(outdir=out, create_outdir=True, executor="processes").pipeline(
        make_files(3),
        trouble={(hook, "001.bin"): swallow_everything},
        file_timeout=1.0,
        on_error="return",
        start_method=start_method,
    )
    outcomes = [result.outcome for result in pout.results]
    assert outcomes == [Outcome.WRITTEN, Outcome.TIMED_OUT, Outcome.WRITTEN]
    assert sorted(os.listdir(out)) == ["000_bmp.bin", "002_bmp.bin"]


def note_length(data, bmp_meta=None, **kwargs):
    bmp_meta["length"] = len(data)  # and no output


@pytest.mark.timeout(60, method="thread")  # its other method has the alarm that serial needs
@pytest.mark.parametrize("executor", ["serial", "threads"])
def test_metadata_of_a_file_whose_hook_swallows_its_timeout_does_not_count(
    make_files: MakeFiles, executor: str
):
    pout = Doubler(executor=executor).pipeline(
        make_files(2),
        trouble={("data_process", "001.bin"): swallow_everything},
        post_process_list=note_length,
        file_timeout=1.0,
        on_error="return",
    )
    outcomes = [result.outcome for result in pout.results]
    assert outcomes == [Outcome.METADATA_ONLY, Outcome.TIMED_OUT]


def test_missing_folder_of_the_output_is_named_with_its_remedy(
    tmp_path: Path, make_files: MakeFiles
):
    missing = tmp_path / "a" / "b"
    with pytest.raises(PipelineError) as caught:
        Doubler(outdir=missing).pipeline(make_files(1), executor="serial")
    [error] = caught.value.exceptions
    assert type(error.__cause__) is FileNotFoundError
    assert error.__cause__.filename == str(missing)
    assert "create_outdir=True" in str(error)
    assert "staging" not in str(caught.value)


class ReadsTemplate(BigMultiPipe):
    def file_write(self, data, outname, **kwargs):
        os.makedirs(os.path.dirname(outname))
        with open("no such template") as template:
            return template.read()


def test_other_file_that_is_missing_is_not_taken_for_the_folder(
    tmp_path: Path, make_files: MakeFiles
):
    with pytest.raises(PipelineError, match="no such template"):
        ReadsTemplate(outdir=tmp_path / "a").pipeline(make_files(1), executor="serial")


def test_path_in_a_message_is_shown_as_a_name():
    assert shown(Path("raw/a.fits")) == "'raw/a.fits'"
    assert shown([Path("a"), ("b",)]) == "['a', ['b']]"


def test_end_of_a_worker_that_has_been_seen_can_still_be_waited_for(start_method: str):
    target = "tests.executors.launch_targets:return_seven"
    with closing(launch.start(start_method, target)) as child:
        assert child.wait(PATIENCE) == 7
        assert select.select([child], [], [], 0)[0]


def warn(data, **kwargs):
    warnings.warn("careful", stacklevel=1)
    return data


def test_warning_that_the_caller_logs_bears_the_input(
    tmp_path: Path, make_files: MakeFiles, caplog: pytest.LogCaptureFixture
):
    pipe = Doubler(outdir=tmp_path, executor="processes", post_process_list=warn)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(True)
        try:
            [name] = make_files(1)
            pipe.pipeline([name])
        finally:
            logging.captureWarnings(False)
    [record] = caplog.records
    assert record.in_name == name
    assert record.worker not in (None, os.getpid())
