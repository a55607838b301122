"""Pipelines of chunks for the tests, at top level, so that workers can import them."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np

from bigpipe.streaming import ChunkedMultiPipe, Step, consumer

TAPS = np.array([0.5, 0.25, 0.125, 0.125])


class Smooth(Step):
    """A FIR filter along the first axis that can say its state."""

    def local_init(self, gain=1, **kwargs):
        self.gain = gain
        self.kept = None

    def run(self, chunk):
        if self.kept is None:
            self.kept = np.zeros((len(TAPS) - 1, *chunk.shape[1:]))
        longer = np.concatenate([self.kept, chunk])
        self.kept = longer[len(longer) - len(TAPS) + 1 :]
        return self.gain * filtered(longer)[len(TAPS) - 1 :]

    def get_state(self):
        return {"kept": self.kept, "gain": self.gain}

    def set_state(self, state):
        self.kept, self.gain = state["kept"], state["gain"]


def filtered(whole):
    """Return what `Smooth` makes of a whole file, sample by sample in the same order."""
    padded = np.concatenate([np.zeros((len(TAPS) - 1, *whole.shape[1:])), whole])
    n = len(whole)
    return sum(tap * padded[len(TAPS) - 1 - i :][:n] for i, tap in enumerate(TAPS))


class EveryNth(Step):
    """Decimation: every n-th sample, whatever the chunks."""

    def __init__(self, n):
        self.n = n

    def local_init(self, **kwargs):
        self.skip = 0

    def run(self, chunk):
        taken = chunk[self.skip :: self.n]
        self.skip = (self.skip - len(chunk)) % self.n
        return taken if len(taken) else None

    def get_state(self):
        return self.skip

    def set_state(self, state):
        self.skip = state


@consumer
def differences():
    before, result = None, None
    while True:
        chunk = yield result
        if not len(chunk):
            result = None
            continue
        first = chunk[:1] if before is None else before
        result = np.diff(chunk, axis=0, prepend=first)
        before = chunk[-1:]


def amplified(chunk, gain=1, **kwargs):
    """A pre function that rejects nothing, and tells those that follow what it has found."""
    return {"bmp_data": chunk * 2.0, "bmp_kwargs": {"gain": 3}}


def counted(chunk, bmp_meta=None, **kwargs):
    """A post function: samples, and their sum, so far."""
    bmp_meta["n"] = bmp_meta.get("n", 0) + len(chunk)
    bmp_meta["sum"] = bmp_meta.get("sum", 0.0) + float(np.sum(chunk))
    return chunk


class Filter(ChunkedMultiPipe):
    """The same as `expected`, chunk by chunk."""

    data_process = Smooth()


def expected(whole, n=1):
    return 3 * filtered(whole * 2.0)[::n]


class Waver(ChunkedMultiPipe):
    """Doubles chunks; the keyword ``trouble`` maps a chunk's number to what happens there."""

    def data_process(self, chunk, trouble=None, **kwargs):
        number = int(chunk.flat[0]) // 10
        if trouble and number in trouble:
            trouble[number](kwargs["in_name"])
        return chunk * 2


def fail(in_name):
    raise ValueError("no good")


class Once:
    """Get into trouble the first time only; ``flag`` is a file that must not exist yet."""

    def __init__(self, flag):
        self.flag = str(flag)

    def __call__(self, in_name):
        try:
            Path(self.flag).touch(exist_ok=False)
        except FileExistsError:
            return
        self.strike(in_name)


class FailOnce(Once):
    def strike(self, in_name):
        fail(in_name)


class KillOnce(Once):
    def strike(self, in_name):
        os.kill(os.getpid(), signal.SIGKILL)


class KillRunOnce(Once):
    """Kill the process of the run, whose number is in a file, and this one."""

    def strike(self, in_name):
        run = int(Path(self.flag).with_name("run").read_text())
        os.kill(run, signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)


def noted(chunk, log=None, trouble=None, **kwargs):
    """A pre function: the second number of a chunk's samples is the number of the sample."""
    number = int(chunk[0, 1]) // 10
    with open(log, "a") as file:
        file.write(f"{number}\n")
    if trouble is not None and number in trouble:
        trouble[number](log)
    return chunk
