"""Ctrl-C and SIGTERM at random instants, once or twice, to the parent or to its whole group."""

from __future__ import annotations

import random
import signal

import pytest

from tests.faults.deeds import Send
from tests.faults.night import POINTS, Fault
from tests.faults.sizes import SIZES
from tests.faults.trial import N_FILES, Trial

pytestmark = pytest.mark.process

CODES = {signal.SIGINT: -signal.SIGINT, signal.SIGTERM: 128 + signal.SIGTERM}
SEQUENCES = [
    (signal.SIGINT,),
    (signal.SIGTERM,),
    (signal.SIGINT, signal.SIGINT),
    (signal.SIGTERM, signal.SIGTERM),
    (signal.SIGINT, signal.SIGTERM),
    (signal.SIGTERM, signal.SIGINT),
]
OPTIONS = [
    {"start_method": "fork"},
    {"start_method": "fork"},
    {"start_method": "forkserver"},
    {"start_method": "spawn"},
    {"executor": "threads"},
    {"executor": "serial"},
]


@pytest.mark.parametrize("number", range(SIZES.interrupts))
def test_run_that_is_interrupted_at_a_random_instant_is_resumed(trial: Trial, number: int):
    rng = random.Random(f"{SIZES.seed} {number}")
    target = ("parent", "group")[number % 2]
    signals = SEQUENCES[number // 2 % len(SEQUENCES)]
    nth = rng.randrange(1, len(POINTS) * N_FILES)
    options = rng.choice(OPTIONS)
    names = " and ".join(each.name for each in signals)
    print(
        f"seed {SIZES.seed}, number {number}: {names} to the {target} after {nth} points, {options}"
    )
    send = Send(trial.night, tuple((target, each) for each in signals))
    ended = trial.run(Fault(send, nth=nth), **options)
    whom = "the parent alone" if target == "parent" else "the whole process group"
    trial.observe_run(f"{names} to {whom}", ended)
    # Of two that come at once, Python may hear either first.
    assert ended.returncode in {CODES[each] for each in signals}, ended.stderr
    assert ended.stderr.splitlines().count("KeyboardInterrupt") <= 1  # nobody else speaks
    trial.check_what_is_there()
    trial.check_tidy()
    trial.resume()
