"""Sources and steps for stages, where each process can import them."""

from __future__ import annotations

import itertools
import os
import signal
import warnings
from pathlib import Path

import numpy as np

from bigpipe.streaming import Step, StopStream, step
from tests.mischief import Unloadable


def numbers():
    return range(10)


def square(n):
    return n * n


def evens_only(n):
    return n if n % 2 == 0 else None


def thrice(n):
    return iter([n, n, n])


def nothing(n):
    return None


def fail_at_3(n):
    if n == 3:
        raise ValueError("three is too much")
    return n


def warn(n):
    warnings.warn(f"{n} is odd", UserWarning, stacklevel=2)
    return n


def both_halves(n):
    return n // 2, n - n // 2


def forever():
    return itertools.count()


def fail_in_source():
    yield 0
    raise OSError("the disk is gone")


def arrays():
    for number in range(20):
        yield {"number": number, "data": np.full((300, 100), number, float)}


def many_arrays():
    for number in itertools.count():
        yield np.full(20_000, number)


def add_one(chunk):
    chunk["data"] += 1  # in place: it is the stage's own
    return chunk


def its_sum(chunk):
    return chunk["number"], float(chunk["data"].sum())


@step
def pairs():
    held = []
    out = None
    try:
        while True:
            held.append((yield out))
            out = None
            if len(held) == 2:
                out, held = tuple(held), []
    except GeneratorExit:
        return tuple(held) if held else None


@step
def total():
    found = 0
    try:
        while True:
            found += yield None
    except GeneratorExit:
        return found


@step
def running_total():
    found = 0
    while True:
        found += yield found


@step
def running_total_that_fails_at_3():
    found = 0
    while True:
        found += fail_at_3((yield found))


@step
def held_back(n):
    held = []
    out = None
    while True:
        held.append((yield out))
        out = None
        if len(held) == n:
            out, held = iter(held), []


@step
def until(limit):
    out = None
    while True:
        number = yield out
        if number >= limit:
            return number
        out = number


class Take(Step):
    """Ends the stream after some elements."""

    def __init__(self, n):
        self.n = n

    def run(self, chunk):
        self.n -= 1
        if self.n < 0:
            raise StopStream
        return chunk


class Diary:
    """Writes down in a file what is called, and in which process."""

    def __init__(self, path, trouble=None):
        self.path = path
        self.trouble = trouble

    def _note(self, what):
        with open(self.path, "a") as file:
            file.write(f"{os.getpid()} {what}\n")

    def local_init(self, **kwargs):
        self._note(f"init {sorted(kwargs.items())}")

    def run(self, chunk):
        if self.trouble is not None:
            self.trouble(chunk)
        return chunk

    def local_term(self):
        self._note("term")


class TerminatedInTheEnd(Diary):
    """Is asked to end while it cleans up, as comes to pass when others have ended first."""

    def local_term(self):
        os.kill(os.getpid(), signal.SIGTERM)
        super().local_term()


def diary_of(path: Path) -> list[list[str]]:
    """Return the process and what it wrote down, line by line."""
    return [line.split(" ", 1) for line in path.read_text().splitlines()]


class FailsInTheEnd:
    """Cannot be ended."""

    def run(self, chunk):
        return chunk

    def local_term(self):
        raise RuntimeError("never done")


class FailsTwice(FailsInTheEnd):
    """Fails, and then fails again when it is ended."""

    def run(self, chunk):
        raise ValueError("why")


class FailsInTheBeginning:
    """Cannot be begun."""

    def run(self, chunk):
        return chunk

    def local_init(self, **kwargs):
        raise RuntimeError("not yet")


def unpicklable(n):
    return {"generator": iter_of(n)}


def iter_of(n):
    yield n


def unloadable(n):
    return Unloadable()


class Kill:
    """Kills its process at an element."""

    def __init__(self, at):
        self.at = at

    def __call__(self, n):
        if n == self.at:
            os.kill(os.getpid(), signal.SIGKILL)
        return n


class Wait:
    """Waits at a gate, at one element."""

    def __init__(self, gate, at):
        self.gate = gate
        self.at = at

    def __call__(self, n):
        if n == self.at:
            self.gate(str(n))
        return n
