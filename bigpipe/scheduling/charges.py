"""What each worker is charged with, and which workers to pause or stop when memory runs out.

Owns the account of bytes, and decides which worker to pause, resume, stop or dismiss.
`bigpipe.scheduling.admission` decides which task may start.

A worker is charged with what it held when it was ready, plus the largest projection among its
tasks, as only one of them runs at a time. If the last measurement was higher, that counts::

    charge = reserved + max(projected, ...)                 sum of charges <= limit
    limit  = min(budget, used by all + available - floor)   other programs take memory too
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from bigpipe.scheduling.events import Dismiss, Pause, Resume, Stop

__all__ = ["Charge", "Charges", "Relief"]

MiB = 2**20

RESERVED_GUESS = 64 * MiB  # bytes of a worker, until one has been measured; arbitrary
LOOKAHEAD = 2.0  # expected growth by the next sample / last growth
FLAT = 5  # samples without growth after which none is expected; arbitrary
PATIENCE = 10  # samples of memory taken by other programs before a task is stopped; arbitrary
STANDSTILL = 20  # samples without growth after which a paused worker is resumed; arbitrary
NOISE = MiB  # bytes between two samples: smaller growth is ignored; arbitrary
BAND = 0.03  # of the limit, kept free while a worker exceeds its projection; arbitrary
AVAILABLE_FLOOR = 64 * MiB  # bytes that are left to the system; arbitrary
AVAILABLE_SHARE = 0.05  # of the budget, left to the system if that is more; arbitrary

Relief = Pause | Resume | Stop | Dismiss


@dataclass(slots=True)
class Charge:
    """What one worker holds, and is expected to hold."""

    reserved: int = 0
    projected: int = 0  # the largest projection among its tasks
    n_largest: int = 0  # how many of them are as large
    used: int = 0
    last_used: int | None = None  # by the sample before, if it had the same task
    grew: int = 0  # between the last two samples
    highest: int = 0  # used, since its task began
    n_flat: int = 0  # samples in a row without growth
    charge: int = 0
    tasks: dict[int, int] = field(default_factory=dict)  # with projections, begun first
    is_starting: bool = True
    is_paused: bool = False
    is_ending: bool = False
    is_too_large: bool = False
    is_used: bool = False  # it may still hold memory of earlier tasks

    @property
    def expected(self) -> int:
        """Bytes by which it may grow before the next sample."""
        growth = int(LOOKAHEAD * self.grew)
        left = self.reserved + self.projected - self.used
        return min(growth, left) if left >= 0 else growth


class Charges:
    """Account for the memory of the workers of a run.

    Parameters
    ----------
    budget : int
        Bytes that all workers together may use.
    is_given : bool
        Whether the caller gave the budget: a task that exceeds it alone is then ended.
    can_pause : bool, optional
        Whether workers can be paused and stopped.

    Attributes
    ----------
    workers : dict of int to Charge
        Workers that exist or are being started.
    paused : dict of int to None
        Workers that are paused.
    limit : int
        Bytes that may currently be used: the budget, or less if other programs take memory.
    total : int
        The sum of charges.
    n_at_work : int
        Workers with a task.
    is_tight : bool
        Whether the system is short of memory: no further task may start.
    reserved : int
        The most that an idle worker was seen to hold: what another one will hold.

    Notes
    -----
    Use exceeds the budget by no more than the growth between two samples. First, the sum of
    charges covers workers within their projections. Second, if a worker exceeds its projection,
    its growth is extrapolated, and the youngest workers are paused before the budget is reached.
    Third, if the budget is exceeded nevertheless, the excess is freed at once: idle workers are
    dismissed, then the youngest are stopped, paused ones first. The oldest is never stopped for
    the others, so that one after another ends.

    If other programs take memory, workers are paused, and stopped only if that persists.

    Running workers may wait for a paused one, for a lock in the hooks or for an output name. So
    after a while without growth, the oldest paused worker is resumed, within the limit but
    regardless of its expected growth.
    """

    def __init__(self, budget: int, *, is_given: bool, can_pause: bool = True) -> None:
        self.budget = self.limit = budget
        self.is_given = is_given
        self.can_pause = can_pause
        self.total = 0
        self.n_at_work = 0
        self.reserved = RESERVED_GUESS
        self.workers: dict[int, Charge] = {}
        self.paused: dict[int, None] = {}
        self._is_guess = True
        self._n_over = 0  # samples over the limit in a row
        self._n_still = 0  # samples in a row in which some were paused and none grew
        self._has_excess = False  # a worker uses more than was projected
        self.is_tight = False

    def room(self, worker: int) -> int:
        """Return the bytes by which an idle worker may grow; negative if not at all."""
        if self.is_tight:
            return -1
        at = self.workers[worker]
        return self.limit - self.total + at.charge - at.reserved

    def join(self, worker: int) -> None:
        """Account for a worker that is being started."""
        at = self.workers[worker] = Charge(self.reserved)
        self.update(at)

    def ready(self, worker: int, reserved: int | None) -> None:
        """Account for what a worker holds before it has a task."""
        at = self.workers[worker]
        at.is_starting = False
        at.reserved = reserved or 0
        self.update(at)
        if at.reserved > self.reserved or self._is_guess:
            self.reserved, self._is_guess = at.reserved, False
            for other in self.workers.values():
                if other.is_starting:  # it will hold as much
                    other.reserved = self.reserved
                    self.update(other)

    def assign(self, worker: int, task: int, projected: int) -> None:
        """Charge a worker with a task."""
        at = self.workers[worker]
        if not at.tasks:
            self.n_at_work += 1
        at.tasks[task] = projected
        if projected == at.projected:
            at.n_largest += 1
        elif projected > at.projected:
            at.projected, at.n_largest = projected, 1
            self.update(at)

    def remove(self, worker: int, task: int) -> None:
        """Remove a task from a worker that has not begun it, or has ended it."""
        at = self.workers[worker]
        projected = at.tasks.pop(task)
        if not at.tasks:
            self.n_at_work -= 1
            at.projected = at.n_largest = 0
            self.update(at)
        elif projected == at.projected:
            at.n_largest -= 1
            if not at.n_largest:
                left = list(at.tasks.values())
                at.projected = max(left)
                at.n_largest = left.count(at.projected)
                self.update(at)

    def ended(self, worker: int, task: int) -> None:
        """Remove an ended task from its worker. The next sample shows what that still holds."""
        at = self.workers[worker]
        at.is_used = True
        if at.last_used is not None:
            at.used = at.grew = at.highest = at.n_flat = 0
            at.last_used = None
            self.update(at)
        self.remove(worker, task)

    def leave(self, worker: int) -> None:
        """Drop a worker that is gone."""
        at = self.workers.pop(worker)
        self.total -= at.charge
        self.n_at_work -= bool(at.tasks)
        self.paused.pop(worker, None)

    def ending(self, worker: int) -> None:
        """Assume that a worker will be gone soon."""
        self.workers[worker].is_ending = True
        self.workers[worker].is_paused = False
        self.paused.pop(worker, None)

    def update(self, at: Charge) -> None:
        """Charge a worker with what it currently holds."""
        charge = at.reserved + at.projected
        if at.used > charge:  # a task above its projection may continue to grow
            may_grow = at.tasks and at.n_flat < FLAT
            charge = 2 * at.used - charge if may_grow else at.used
        self.total += charge - at.charge
        at.charge = charge

    def measure(
        self, used: dict[int, int], available: int | None, *, is_tight: bool = False
    ) -> None:
        """Record each worker's use, what the system has left, and whether it is under pressure."""
        self._has_excess = False
        self.is_tight = is_tight
        for worker, n_bytes in used.items():
            at = self.workers.get(worker)
            if at is None:
                continue
            if not at.is_paused:
                at.grew = max(0, n_bytes - (at.reserved if at.last_used is None else at.last_used))
                at.n_flat = 0 if at.grew > NOISE else at.n_flat + 1
            at.used = at.last_used = n_bytes
            if n_bytes > at.highest:
                at.highest = n_bytes
            if n_bytes > at.reserved + at.projected:
                self._has_excess = True
            self.update(at)
        self.limit = self.budget
        if available is not None:
            floor = int(max(AVAILABLE_FLOOR, AVAILABLE_SHARE * self.budget))
            self.limit = min(self.budget, max(0, sum(used.values()) + available - floor))

    @property
    def needs_relief(self) -> bool:
        """Whether a worker may have to be paused, resumed or stopped."""
        is_short = bool(self.paused) or self.total > self.limit or self._has_excess
        return is_short and self.can_pause

    def relief(self, at_work: Sequence[int]) -> list[Relief]:
        """Return the actions that relieve memory.

        Parameters
        ----------
        at_work : sequence of int
            The workers that have begun a task and are not being ended, oldest task first.
        """
        running = [worker for worker in at_work if worker not in self.paused]
        paused = [worker for worker in at_work if worker in self.paused]
        if idle := [worker for worker in paused if not self.workers[worker].tasks]:
            return [self._resume(worker) for worker in idle]  # ended just before it was paused
        if not running:
            return [self._resume(paused[0])] if paused else []
        actions: list[Relief] = []
        if self.is_given:
            actions += self._stop_too_large(running)
        total = sum(at.used for at in self.workers.values() if not at.is_ending)
        if total > self.budget:
            total -= self._free(total - self.budget, paused, running, actions)
        if total > self.limit:
            self._n_over += 1
        else:
            self._n_over = 0
        if self._n_over > PATIENCE:
            self._n_over = 0
            self._free(1, paused, [], actions)
        before = len(actions)
        self._pause_youngest(running, total, actions)
        if paused and len(actions) == before and total <= self.limit:
            expected = sum(self.workers[worker].expected for worker in [*running, paused[0]])
            if total + expected + self._band <= self.limit or self._is_at_standstill(running):
                actions.append(self._resume(paused[0]))
        return actions

    def _is_at_standstill(self, running: list[int]) -> bool:
        """Count samples in which no running worker grew; return whether they are enough."""
        if any(self.workers[worker].grew > NOISE for worker in running):
            self._n_still = 0
        self._n_still += 1
        return self._n_still > STANDSTILL

    @property
    def _band(self) -> int:
        """Bytes below the limit that are kept free while a worker exceeds its projection."""
        return int(BAND * self.limit) if self._has_excess else 0

    def _stop_too_large(self, running: list[int]) -> list[Relief]:
        """End workers whose task needs more than the whole budget."""
        too_large = [worker for worker in running if self.workers[worker].used > self.budget]
        for worker in too_large:
            self.workers[worker].is_too_large = True
            running.remove(worker)
        return [self._stop(worker) for worker in too_large]

    def _free(
        self, n_bytes: int, paused: list[int], running: list[int], actions: list[Relief]
    ) -> int:
        """End workers until enough is free; return how much that is.

        Idle workers go first, then paused ones, then running ones except the oldest; in each
        group the youngest first.
        """
        free = 0
        for worker, at in self.workers.items():
            if free < n_bytes and at.used and not at.tasks and not at.is_ending:
                at.is_ending = True
                free += at.used
                actions.append(Dismiss(worker))
        while free < n_bytes and (paused or len(running) > 1):
            worker = (paused or running).pop()
            free += self.workers[worker].used
            actions.append(self._stop(worker))
        return free

    def _pause_youngest(self, running: list[int], total: int, actions: list[Relief]) -> None:
        """Pause until the others will be within the limit at the next sample."""
        expected = sum(self.workers[worker].expected for worker in running)
        for worker in reversed(running[1:]):
            if total + expected + self._band <= self.limit:
                break
            if total + self._band > self.limit or self.workers[worker].expected:
                expected -= self.workers[worker].expected
                running.remove(worker)
                actions.append(self._pause(worker))

    def _pause(self, worker: int) -> Pause:
        self.workers[worker].is_paused = True
        self.paused[worker] = None
        self._n_still = 0
        return Pause(worker)

    def _resume(self, worker: int) -> Resume:
        at = self.workers[worker]
        at.is_paused = False
        at.grew = 0  # earlier growth says nothing about the time until the next sample
        del self.paused[worker]
        self._n_still = 0
        return Resume(worker)

    def _stop(self, worker: int) -> Stop:
        at = self.workers[worker]
        self.ending(worker)
        return Stop(worker, next(iter(at.tasks)))
