"""The shell of a run: waits in one place, passes events to the scheduler, does what it says.

Owns the loop from inputs to results: it reads inputs as they are needed, carries out
instructions, answers claims, and ends the run in order. `bigpipe.scheduler` decides what to do
when; `bigpipe.executors` process the files; the hooks are in `bigpipe.pipeline`.
"""

from __future__ import annotations

import atexit
import os
import signal
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import Any

from bigpipe.claims.register import Claims
from bigpipe.clock import Clock
from bigpipe.context import current
from bigpipe.errors import FileError, WorkerError
from bigpipe.executors import base, make_executor
from bigpipe.executors.failures import hook_frames
from bigpipe.executors.strategies import make_strategy
from bigpipe.interrupts import Interrupts, Terminated, Undisturbed
from bigpipe.log import LogReceiver, RecordFactory
from bigpipe.measure import count_workers
from bigpipe.prints import Place, room_for_prints
from bigpipe.progress import Progress, interrupted, make_progress, say
from bigpipe.records import FileFinished, FileResult, MemoryUse, Outcome, RunFinished, RunStarted
from bigpipe.running import make_recorder, outcomes
from bigpipe.running.intake import Intake
from bigpipe.running.ledger import Ended, Ledger
from bigpipe.running.memory_watch import MemoryWatch
from bigpipe.running.plan import Inputs, Plan
from bigpipe.running.questions import Questions
from bigpipe.running.recorder import Recorder
from bigpipe.running.sampler import Sampler
from bigpipe.running.taker import NOTHING, Taker
from bigpipe.scheduler import Scheduler
from bigpipe.scheduling import events as e
from bigpipe.scheduling.retries import Retries

__all__ = ["Run"]

MAX_READING = 0.01  # seconds of reading inputs before handling workers' events; arbitrary
TICK = 1.0  # seconds between updates of the time that the progress bar shows
MAX_HELD_BACK = 10_000  # results that wait for an earlier one, in an ordered iteration


class Run(AbstractContextManager["Run", None]):
    """One run of a pipeline: an iterator of results.

    Parameters
    ----------
    pipe : BigMultiPipe
        The pipeline.
    plan : Plan
        What to do.
    ordered : bool, optional
        Yield results in input order.
    taker : Taker, optional
        Decides how far the run reads ahead.

    Raises
    ------
    MemoryBudgetError
        If not even one worker fits into the memory budget.
    """

    def __init__(
        self, pipe: Any, plan: Plan, *, ordered: bool = False, taker: Taker | None = None
    ) -> None:
        options = plan.options
        self._pipe = pipe
        self._taker = taker or Taker()
        self._plan = plan
        self._options = options
        strategy = make_strategy(options)
        self._n_workers = count_workers(plan.n_files, options, strategy.n_begun)
        self._executor = make_executor(options, self._n_workers, strategy)
        self._n_workers = min(self._n_workers, self._executor.max_workers or self._n_workers)
        self._watch = MemoryWatch(options, self._n_workers, plan.project, self._executor)
        in_names = plan.in_names
        if self._executor.wants_all_tasks:
            in_names = list(in_names)
            self._n_workers = len(in_names)
        order = self._watch.order(in_names, as_given=ordered or self._n_workers <= 1)
        self._inputs = Inputs(in_names, order)
        self._watch.open_account(
            lambda index: self._watch.need(index, self._files.in_name(index)),
            is_list=self._inputs.are_kept,
        )
        self._scheduler = Scheduler(
            max(1, self._n_workers),
            max_ahead=self._executor.max_ahead,
            file_timeout=options.file_timeout if self._executor.can_stop else None,
            max_worker_deaths=options.max_worker_deaths,
            admission=self._watch.admission,
            n_begun=self._executor.n_begun,
            n_ahead=self._taker.set_up(self._executor, self._n_workers),
        )
        self._progress = make_progress(options.progress)
        self._receiver = LogReceiver(self._progress.paused)
        self._records = RecordFactory(before=self._progress.clear)
        self._retries = Retries(options.max_retries, options.retry_on, options.retry_pause)
        self._files = Ledger(options, self._watch.budget, self._retries, self._on_end)
        self._journal = Recorder()
        self._sampler = Sampler(lambda: self._scheduler, self._watch, self._executor, self._files)
        self._pid: int | None = None
        self.init_error: FileError | None = None
        self._interrupts = Interrupts(self._is_at_work)
        self._last = ExitStack()
        self._held: dict[int, FileResult] = {}
        self._stopped: set[int] = set()  # workers
        self._clock = Clock()
        self._raises = options.on_error == "raise" and self._taker.lets_raise
        self._loop = self._files.given_out(self._results(), self._held if ordered else None)

    @property
    def elapsed_s(self) -> float:
        """Seconds since the run began."""
        return self._clock.elapsed_s

    @property
    def memory(self) -> MemoryUse | None:
        """Memory that the run used."""
        return self._watch.use(self._scheduler.waited_s, self._sampler.kept)

    def __iter__(self) -> Iterator[FileResult]:
        return self._loop

    def __next__(self) -> FileResult:
        return next(self._loop)

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """End the run now: end the workers and drop the files in flight."""
        if not self._is_running:  # it runs in another thread while the program ends
            self._loop.close()
            self._files.ready.clear()

    @property
    def _is_running(self) -> bool:
        return bool(self._loop.gi_running)  # type: ignore[attr-defined]

    def _is_at_work(self) -> bool:
        """Whether an exception raised now would end the run; inside a hook, it may be caught."""
        return self._is_running and current() is None

    def _results(self) -> Generator[FileResult, None, None]:
        """Yield results in order of completion; always end the workers at the end."""
        graceful = False
        try:
            self._start()
            yield from self._until_done()
            self._watch.warn_of_excess()
            self._hear_out(self._executor.close(graceful=self.init_error is None))
            graceful = True
        except (KeyboardInterrupt, Terminated):
            self._interrupts.has_raised = True  # the caller's own handler may have raised it
            raise
        finally:
            self._interrupts.is_deaf = True
            if not self.is_copy:
                self._finish(graceful)

    @property
    def is_copy(self) -> bool:
        """Whether this process was forked by the caller's code after the run began."""
        return self._pid is not None and self._pid != os.getpid()

    def _until_done(self) -> Iterator[FileResult]:
        has_polled = False
        while True:
            if self.is_copy:  # it must not read messages that the parent waits for
                raise RuntimeError(outcomes.FORKED)
            self._interrupts.is_deaf = False
            self._read_inputs()
            yield from self._ended()
            if has_polled:
                yield NOTHING
            has_polled = not self._taker.may_wait
            if self._scheduler.is_done and not self._retries.n_waiting:
                if self._inputs.have_ended:
                    return
                continue
            self._executor.slack_s = self._scheduler.slack_s
            now, is_quiet = self._hear(self._wait())
            measured = self._watch.look(now)
            if measured is not None:
                self._carry_out(self._scheduler.handle(measured, now))
            self._sampler.look(now)
            if self._retries.n_waiting:
                again = self._retries.due(now)
                self._carry_out(self._scheduler.add(again, now, self._intake.needs(again)))
            if is_quiet or self._options.file_timeout is not None:
                self._carry_out(self._scheduler.handle(e.Tick(), now))
                self._progress.tick(len(self._scheduler.in_flight), self._watch.state)

    def _wait(self) -> list[base.ExecutorEvent]:
        patience = self._patience()
        due = self._clock.now() + patience
        events = self._executor.wait(patience)
        if not self._executor.works_in_turn:
            self._clock.leave_out_lateness(due)
        return events

    def _hear(self, events: list[base.ExecutorEvent]) -> tuple[float, bool]:
        """Handle events; a method, as the frame of the loop would keep the last ones alive."""
        now = self._clock.now()
        for event in events:
            self._carry_out(self._on_event(event, now))
        return now, not events

    def _ended(self) -> Iterator[FileResult]:
        """Yield results once they are in the journal; end the run if it has to stop."""
        self._journal.flush()
        with self._clock.stopped():
            while self._files.ready:
                result = self._files.ready.popleft()
                yield result
                if result.error is not None and self._raises:
                    raise result.error.with_traceback(hook_frames(result.error))
        if self._files.stop is not None and self._files.n_finished != self._plan.n_files:
            raise self._files.stop

    @property
    def _n_wanted(self) -> int:
        """Number of inputs that may be read now."""
        return self._taker.n_wanted(self._scheduler.n_wanted)

    @property
    def _is_choked(self) -> bool:
        return len(self._held) >= MAX_HELD_BACK

    def _patience(self) -> float:
        comes_slowly = self._n_wanted and not (self._inputs.have_ended or self._is_choked)
        if comes_slowly or not self._taker.may_wait:
            return 0.0
        now, deadline = self._clock.now(), self._scheduler.deadline()
        times = (deadline, self._retries.next_at())
        until = min((max(0.0, at - now) for at in times if at is not None), default=TICK)
        due = self._journal.until_due
        return min(TICK, until, self._watch.until_look(now), TICK if due is None else due)

    def _read_inputs(self) -> None:
        """Read as many inputs as the scheduler can use, and submit each at once.

        If inputs come slowly, workers' events are handled in between, as some wait for answers.
        """
        if self.init_error is not None:
            for index in self._intake.read(1):
                self._files.not_started(index, self.init_error)
            return
        if self._inputs.have_ended or (self._is_choked and not self._scheduler.is_done):
            return
        most_s = self._clock.stopped_s + MAX_READING
        while (n_wanted := self._n_wanted) and self.init_error is None:
            with self._clock.stopped():
                # The caller's iterator may take time for each.
                indices = self._intake.read(n_wanted if self._inputs.are_kept else 1)
                needs = self._intake.needs(indices)
            self._carry_out(self._scheduler.add(indices, self._clock.now(), needs))
            if self._inputs.have_ended:
                break
            if self._clock.stopped_s > most_s and not self._executor.wants_all_tasks:
                break

    def _carry_out(self, instructions: list[e.Instruction]) -> None:
        """Carry out the scheduler's instructions, and those that follow from them."""
        todo = deque(instructions)
        refusal = None
        while todo:
            match todo.popleft():
                case e.Submit(worker, indices):
                    self._submit(worker, indices)
                case e.Start(worker):
                    try:
                        self._executor.add_worker(worker)
                    except (OSError, WorkerError) as refused:  # continue with existing workers
                        refusal = refused
                        todo += self._scheduler.handle(e.StartRefused(worker), self._clock.now())
                case e.Recall(worker):
                    todo.extend(self._recall(worker))
                case e.Kill(worker, _):
                    self._executor.kill(worker)
                case e.Stop(worker, _) | e.Dismiss(worker):
                    self._stopped.add(worker)
                    self._executor.kill(worker, at_once=True)
                case e.Pause(worker):
                    self._executor.pause(worker)
                case e.Resume(worker):
                    self._executor.resume(worker)
                case e.GiveUp(index) as order:
                    projected = self._scheduler.projection(index)
                    self._files.given_up(order, projected, self._clock.now())
                case e.StartFailed(_, was_ready):
                    error = outcomes.start_failure(was_ready, self._files.last_death)
                    self._fail_all(error)
                    return
        if refusal is not None:
            outcomes.warn_of_fewer_workers(self._scheduler.n_workers, refusal)

    def _submit(self, worker: int, indices: Sequence[int]) -> None:
        """Send a worker its tasks."""
        in_names = list(map(self._files.in_names.__getitem__, indices))
        granted = self._claims.grant(list(zip(indices, in_names, strict=True)))
        tasks = list(map(base.Task, indices, in_names, granted, self._watch.shares(indices)))
        alone = {*self._scheduler.alone, *self._watch.too_large}
        for task in tasks if alone else ():
            task.is_alone = task.index in alone
        self._journal.prepare(tasks)
        self._executor.submit(worker, tasks)

    def _recall(self, worker: int) -> list[e.Instruction]:
        back = self._executor.recall(worker)
        for index in back:
            self._claims.withdraw(index)
        instructions = self._scheduler.handle(e.TasksRecalled(worker, back), self._clock.now())
        # Before they are submitted again and names are granted to them.
        return instructions + self._questions.ask_again(back)

    def _on_event(self, event: base.ExecutorEvent, now: float) -> list[e.Instruction]:
        if self.init_error is not None and not isinstance(event, base.Told):
            return []  # all submitted files have been given up
        match event:
            case base.Reported():
                return self._reported(event, now)
            case base.Ready(worker, reserved):
                self._watch.reserved = max(self._watch.reserved, reserved or 0)
                return self._scheduler.handle(e.WorkerReady(worker, reserved), now)
            case base.Asked():
                return self._questions.ask(event)
            case base.Told(pid, index, payload):
                self._told(pid, index, payload)
            case base.Died():
                return self._died(event, now)
            case base.InitFailed(_, error):
                self._fail_all(error)
        return []

    def _reported(self, event: base.Reported, now: float) -> list[e.Instruction]:
        indices = [report.index for report in event.reports]
        growths = [report.growth for report in event.reports]
        self._watch.note(event.worker, [self._files.in_names[i] for i in indices], growths)
        figures = self._scheduler.figures(indices)
        # Tell the scheduler first: it may ask for the files' needs, to learn from them.
        instructions = self._scheduler.ended(event.worker, indices, growths, now)
        self._files.reported(event.reports, figures, now)
        return instructions + self._questions.ask_again(indices)

    def _died(self, event: base.Died, now: float) -> list[e.Instruction]:
        owned = [i for i in self._scheduler.unended() if self._scheduler.owner(i) == event.worker]
        was_killed = event.exitcode == -signal.SIGKILL and self._executor.can_pause
        event.began_at = self._sampler.began_at(event.worker, now)
        died = e.WorkerDied(event.worker, event.unbegun, out_of_memory=was_killed)
        instructions = self._scheduler.handle(died, now)
        given_up = [order.task for order in instructions if isinstance(order, e.GiveUp)]
        event.peak_rss = self._watch.died(event.worker)
        event.was_stopped = event.worker in self._stopped
        for index in owned:
            self._claims.withdraw(index)
            if index not in event.unbegun:
                n = 0 if index in given_up else self._scheduler.attempts(index) - 1
                self._files.died(index, event, n)
        self._files.last_death = event
        self._taker.died(event.pid)
        return instructions + self._questions.ask_again(owned)

    def _owner(self, index: int) -> int | None:
        return self._scheduler.owner(index)  # the scheduler may have been replaced by then

    def _told(self, pid: int, index: int | None, payload: Any) -> None:
        self._receiver.dispatch(payload, self._files.in_name(index), pid)

    def _on_end(self, ended: Sequence[Ended], is_final: bool) -> None:
        self._taker.ended(ended, is_final=is_final)
        written = Outcome.WRITTEN
        self._claims.finish(
            (result.index, result.outcome is written or (report is not None and report.has_written))
            for result, report in ended
        )
        if is_final and type(self._progress) is not Progress:  # the base class shows nothing
            for result, _ in ended:
                self._progress.handle(FileFinished(result))
        self._journal.ended(ended, is_final=is_final)

    def _fail_all(self, error: FileError) -> None:
        """Fail every file, including inputs still to be read, because no worker can start."""
        self.init_error = error
        for index in self._scheduler.unended():
            self._files.not_started(index, error, self._scheduler.n_begun(index))
        for index in self._retries.drop():
            self._files.not_started(index, error)
        self._scheduler = Scheduler(1)

    def _start(self) -> None:
        self._pid = os.getpid()
        self._last.callback(self._taker.close)
        self._last.callback(atexit.unregister, self.close)
        atexit.register(self.close)
        self._interrupts.install()
        self._last.enter_context(self._records)
        if self._progress.is_in_terminal:
            self._last.enter_context(room_for_prints(self._make_room, self._progress.lock))
        self._claims = Claims(self._plan.predict, self._plan.protected)
        self._last.callback(self._claims.close)
        ways = self._executor, self._files.in_name, self._owner, self._recall
        self._questions = Questions(self._claims, *ways)
        self._journal = make_recorder(self._pipe, self._plan)
        self._files.journal = self._sampler.journal = self._journal
        self._watch.remember(self._journal.measured())
        parts = self._files, self._watch, self._journal, self._claims
        self._intake = Intake(self._inputs, *parts)
        self._last.callback(self._progress.close)
        self._progress.handle(RunStarted(self._plan.n_files, self._n_workers))
        claims = self._questions.ask_now, self._claims.taken
        arguments = self._pipe, self._plan.control, self._options, self._n_workers
        setup = base.Setup.of(*arguments, *claims)
        if self._progress.is_in_terminal:
            setup.place = Place.TERMINAL
        self._executor.start(setup)

    def _make_room(self, stream: Any) -> str:
        self._progress.clear()
        return ""

    def _finish(self, graceful: bool) -> None:
        try:
            with Undisturbed(), self._last:
                if not graceful:
                    self._hear_out(self._executor.close(graceful=False))
                self._sampler.take(self._clock.now())
                self._journal.close("finished" if graceful else "interrupted")
                counts = self._files.n_finished, self._files.n_failed
                self._progress.handle(RunFinished(*counts, self.elapsed_s, not graceful))
        finally:
            self._interrupts.uninstall()  # now that `Undisturbed` has put the handler back
        if self._interrupts.has_raised and not graceful and self._options.progress is not False:
            files = self._files.n_finished, self._plan.n_files, self._files.n_failed
            say(interrupted(*files, self.elapsed_s, has_journal=self._options.journal is not None))

    def _hear_out(self, events: Iterable[base.ExecutorEvent]) -> None:
        """Handle the last events of workers that have ended."""
        for event in events:
            if isinstance(event, base.Told):
                self._told(event.pid, event.index, event.payload)
