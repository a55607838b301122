"""Very many files, one in a hundred of which fails, in all these ways at once."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from bigpipe import Outcome
from tests import mischief
from tests.faults import test_bad_hooks as hooks
from tests.faults import test_bad_inputs as inputs
from tests.faults.deeds import kill
from tests.faults.night import Fault
from tests.faults.sizes import SIZES
from tests.faults.test_bad_hooks import Bad
from tests.faults.trial import Trial

LIMIT = 550.0  # seconds for 10,000 files, a minute's work
FILE_TIMEOUT = 2.0  # seconds; a file takes milliseconds

pytestmark = [pytest.mark.process, pytest.mark.timeout(2 * LIMIT)]


def hangs(deed: Callable[[str], object]) -> Bad:
    return Bad(deed, "in data_process", "timed out: FileTimeoutError in data_process")


HANGS = {
    "hangs": hangs(mischief.loop),
    "hangs, and ignores SIGTERM": hangs(mischief.ignore_sigterm_and_loop),
}


@dataclass(frozen=True)
class Spoilt:
    """An input that is bad from the beginning."""

    spoil: Callable[[Path], None]
    account: str


SPOILT = {
    f"input is {what}": Spoilt(spoil, f"failed: {cause} in file_read")
    for what, (spoil, cause) in inputs.BAD.items()
    if spoil is not inputs.on_a_bad_disk
}
KINDS: dict[str, Bad | Spoilt] = {**hooks.ALL, **HANGS, **SPOILT}


def test_one_file_in_a_hundred_may_fail_in_all_ways_at_once(empty_trial: Trial):
    trial = empty_trial
    trial.make(SIZES.files)
    names = trial.night.names()
    n_bad = max(SIZES.files // 100, len(KINDS))
    bad = [os.path.basename(name) for name in names[:: len(names) // n_bad]][:n_bad]
    kinds = dict(zip(bad, itertools.cycle(KINDS.values()), strict=False))
    good_inputs = {}
    faults = [Fault(kill(trial.night, "worker"), "mid-write", mark="once")]
    for name, kind in kinds.items():
        if isinstance(kind, Spoilt):
            path = trial.night.folder / "in" / name
            good_inputs[path] = path.read_bytes()
            kind.spoil(path)
        else:
            faults.append(Fault(kind.deed, kind.point, name))
    ended = trial.run(*faults, names=names, limit=LIMIT, file_timeout=FILE_TIMEOUT)
    trial.observe_run(f"{SIZES.files} files, {n_bad} of them bad in {len(KINDS)} ways", ended)
    assert ended.returncode == 0, ended.stderr
    accounts = {account.name: account.brief() for account in ended.accounts}
    unexpected = {
        name: brief
        for name, brief in accounts.items()
        if not brief.startswith(kinds[name].account if name in kinds else "written")
    }
    assert not unexpected
    unsent = [name for name, kind in kinds.items() if kind in hooks.UNSENDABLE.values()]
    failed = [account.name for account in ended.accounts if account.outcome != Outcome.WRITTEN]
    trial.check_all_but(*(set(failed) - set(unsent)))
    trial.observe("file", f"{len(failed)} failed, each as it would alone")
    trial.observe("others", "all written")
    for path, content in good_inputs.items():
        if path.is_dir():
            path.rmdir()
        path.unlink(missing_ok=True)
        path.write_bytes(content)
    trial.resume(names)
