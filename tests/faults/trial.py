"""A night that is run with a fault and then resumed, and all that must be true of it.

Owns the time limits, the checks, and the account of what was seen, from which the page of
results is made.
"""

from __future__ import annotations

import os
import pickle
import shutil
import signal
import subprocess
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from bigpipe import FileResult, Outcome
from bigpipe.staging import STAGING_NAME
from tests.faults.night import Fault, Night, Reducer
from tests.mischief import has_gone

LIMIT = 60.0  # seconds; a run of a night takes less than one, on a machine that is idle
ROOT = Path(__file__).parents[2]
N_FILES = 12


@dataclass(frozen=True)
class Order:
    """The run that the program is to make."""

    names: list[Any] | None
    """The inputs; ``None`` for all that are there."""
    options: dict[str, Any]
    """Options of the run."""
    before: tuple[Callable[[], object], ...] = ()
    """Called first, in the program."""


@dataclass(frozen=True)
class Account:
    """The result of an input, in a form that can be kept."""

    index: int
    name: str
    outname: str | None
    meta: dict[str, Any]
    outcome: str
    hook: str | None
    cause: str | None
    """Type of the exception, or the signal or exit code of the worker."""
    message: str
    attempts: int

    def brief(self) -> str:
        if self.cause is None:
            return self.outcome if self.attempts == 1 else f"{self.outcome} when tried again"
        return f"{self.outcome}: {self.cause} in {self.hook}"


def account_of(result: FileResult) -> Account:
    """Return the account of a result."""
    error = result.error
    cause = None
    if error is not None:
        cause = type(error.__cause__).__name__ if error.__cause__ is not None else None
        if error.exitcode is not None:
            number = -error.exitcode
            cause = signal.Signals(number).name if number > 0 else f"exit code {error.exitcode}"
    return Account(
        result.index,
        os.path.basename(os.fspath(result.in_name)),
        result.outname,
        {} if error is not None else result.meta,
        str(result.outcome),
        None if error is None else error.hook,
        cause,
        "" if error is None else str(error),
        result.attempts,
    )


@dataclass
class Ended:
    """How a run has ended."""

    returncode: int
    stderr: str
    accounts: list[Account] | None
    """``None`` if it has not come to its end."""

    def of(self, name: str) -> Account:
        assert self.accounts is not None, self.stderr
        [account] = [account for account in self.accounts if account.name == name]
        return account

    def but(self, name: str) -> list[Account]:
        assert self.accounts is not None, self.stderr
        return [account for account in self.accounts if account.name != name]


@dataclass
class Trial:
    """A night, what is done to it, and what was seen."""

    night: Night
    observe: Callable[[str, Any], None]
    """Takes a name and what was seen, for the page of results."""
    seen: dict[str, Any] = field(default_factory=dict)

    def make(self, n_files: int = N_FILES) -> None:
        """Make the inputs, of different sizes."""
        folder = self.night.folder / "in"
        folder.mkdir()
        for i in range(n_files):
            record = f"{i % 1000:03d}\n".encode()
            (folder / f"{i:03d}.bin").write_bytes(record * (100 + 10 * (i % 50)))

    def run(
        self,
        *faults: Fault,
        prefix: Sequence[str] = (),
        names: list[Any] | None = None,
        before: tuple[Callable[[], object], ...] = (),
        limit: float = LIMIT,
        **options: Any,
    ) -> Ended:
        """Run the night in a program of its own, which must end in time and leave nobody."""
        self.night.plan(*faults)
        folder = self.night.folder
        (folder / "tmp").mkdir(exist_ok=True)
        (folder / "accounts.pickle").unlink(missing_ok=True)
        (folder / "order.pickle").write_bytes(pickle.dumps(Order(names, options, before)))
        with (folder / "stderr").open("w") as stderr:
            process = subprocess.Popen(
                [*prefix, sys.executable, "-m", "tests.faults.program", str(folder)],
                cwd=ROOT,
                env={**os.environ, "TMPDIR": str(folder / "tmp")},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                start_new_session=True,
            )
        try:
            process.wait(limit)
        finally:
            process.kill()
            process.wait()
            left = session(process.pid)
            lasting = [_described(pid) for pid in left if not has_gone(pid)]
        self.night.plan()
        assert not lasting, f"still running: {lasting}"
        return Ended(process.returncode, (folder / "stderr").read_text(), self._accounts())

    def _accounts(self) -> list[Account] | None:
        with suppress(FileNotFoundError):
            accounts = pickle.loads((self.night.folder / "accounts.pickle").read_bytes())
            return sorted(accounts, key=lambda account: account.index)
        return None

    def run_here(self, *faults: Fault, names: list[Any] | None = None, **options: Any) -> Ended:
        """Run the night, or resume it, in this process."""
        self.night.plan(*faults)
        (self.night.folder / "parent").write_text(str(os.getpid()))
        options = {"start_method": "fork", **options}  # the usual one is slow: pytest has a thread
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            accounts = [account_of(result) for result in self.night.results(names, **options)]
        self.night.plan()
        stderr = "\n".join(str(warning.message) for warning in caught)
        return Ended(0, stderr, sorted(accounts, key=lambda account: account.index))

    def resume(
        self, names: list[Any] | None = None, may_redo: bool = False, **options: Any
    ) -> Ended:
        """Resume the night without a fault; check that it is then as if there had been none.

        What the caller was given is not done again, unless outputs or journal were lost.
        """
        handed_over = set() if may_redo else set(self.night.passed("after journal"))
        failed = self.seen.get("failed", set())
        n_before = Counter(self.night.passed("before read"))
        ended = self.run_here(names=names, **options)
        again = Counter(self.night.passed("before read")) - n_before
        done_twice = {name for name in again if n_before[name]}
        assert not done_twice & (handed_over - failed), "done, and done again"
        assert max(again.values(), default=1) == 1
        self.check_complete(ended, names, **options)
        self.observe("again", len(done_twice))
        self.observe("resumed", "as a serial run")
        return ended

    def check_complete(self, ended: Ended, names: list[Any] | None = None, **options: Any) -> None:
        """Check that each input is accounted for once, as in a serial run, and nothing is left."""
        self.check_outputs(ended, names, **options)
        self.check_tidy()

    def check_outputs(self, ended: Ended, names: list[Any] | None = None, **options: Any) -> None:
        """Check that each input is accounted for once, and outputs are those of a serial run."""
        names = self.night.names() if names is None else names
        assert ended.accounts is not None, ended.stderr
        assert [account.index for account in ended.accounts] == list(range(len(names)))
        assert {account.outcome for account in ended.accounts} == {Outcome.WRITTEN}, ended.accounts
        assert [account.meta for account in ended.accounts] == self.serial(names, **options)
        assert contents(self.night.out) == contents(self.night.folder / "serial" / "out")

    def check_what_is_there(self) -> None:
        """Check that each output that is there, of those there are to be, is whole."""
        there = contents(self.night.out) if self.night.out.exists() else {}
        self.serial(self.night.names())
        expected = contents(self.night.folder / "serial" / "out")
        hidden = {name for name in there if name.startswith(STAGING_NAME)}
        assert {name: there[name] for name in there.keys() - hidden}.items() <= expected.items()

    def check_all_but(self, *failed: str) -> None:
        """Check that of some outputs nothing is there, and the others are those of a serial run."""
        good = [name for name in self.night.names() if os.path.basename(name) not in failed]
        self.serial(good)
        assert contents(self.night.out) == contents(self.night.folder / "serial" / "out")
        self.check_tidy()

    def check_tidy(self) -> None:
        """Check that nothing is left but inputs, outputs, and what the trial itself has made."""
        assert not list(self.night.folder.rglob(STAGING_NAME))
        assert not list((self.night.folder / "tmp").glob("*"))
        beside = self.night.journal.parent.glob("*")
        assert {path.name for path in beside} <= {self.night.journal.name}

    def serial(self, names: list[Any], **options: Any) -> list[dict[str, Any]]:
        """Process the inputs one after another, elsewhere; return their metadata."""
        night = Night(self.night.folder / "serial")
        shutil.rmtree(night.folder, ignore_errors=True)
        night.folder.mkdir()
        options = {**options, "executor": "serial"}
        pipe = Reducer(outdir=night.out, create_outdir=True, night=night, **options)
        return [meta for _, meta in pipe.pipeline(names)]

    def observe_run(self, fault: str, ended: Ended, name: str | None = None) -> None:
        """Note what became of a file and of the others in the run that had the fault."""
        self.observe("fault", fault)
        if ended.accounts is None:
            self.observe("file", "the run has ended")
            return
        self.seen["failed"] = {a.name for a in ended.accounts if a.cause is not None}
        others = ended.accounts if name is None else ended.but(name)
        odd = sorted({account.brief() for account in others} - {str(Outcome.WRITTEN)})
        self.observe("others", "; ".join(odd) or "all written")
        if name is not None:
            self.observe("file", ended.of(name).brief())


def session(number: int) -> list[int]:
    """Return the processes of a session that have not ended."""
    found = []
    for process in psutil.process_iter(["status"]):
        with suppress(ProcessLookupError, PermissionError):
            if os.getsid(process.pid) == number and process.info["status"] != "zombie":
                found.append(process.pid)
    return found


def _described(pid: int) -> str:
    with suppress(psutil.Error):
        return f"{pid}: {' '.join(psutil.Process(pid).cmdline())[:200]}"
    return str(pid)


def contents(folder: Path) -> dict[str, bytes]:
    """Return what is in each file of a folder, however deep."""
    return {
        os.fspath(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
