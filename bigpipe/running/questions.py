"""Answers to workers that ask for a name: at once, or when the file that has the name ends.

Owns who waits for whom. `bigpipe.claims.register` knows who has which name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from bigpipe.claims.register import Claims
from bigpipe.errors import shown
from bigpipe.executors.base import Asked, Executor
from bigpipe.scheduling.events import Instruction

__all__ = ["Questions"]


class Questions:
    """Answers the workers of one run.

    Parameters
    ----------
    claims : Claims
        The register of names.
    executor : Executor
        Carries the answers. A question may wait for another file, unless workers have several
        files at once, which could wait for one another.
    in_name_of, owner_of : callable
        Return the input of a file in flight, and the worker that has it, by its index.
    recall : callable
        Recalls the tasks that a worker has not begun, and returns the instructions that follow.
    """

    def __init__(
        self,
        claims: Claims,
        executor: Executor,
        in_name_of: Callable[[int], Any],
        owner_of: Callable[[int], int | None],
        recall: Callable[[int], list[Instruction]],
    ) -> None:
        self._claims = claims
        self._executor = executor
        self._in_name_of = in_name_of
        self._owner_of = owner_of
        self._recall = recall
        self._waiting: dict[int, list[Asked]] = {}

    def ask(self, event: Asked) -> list[Instruction]:
        """Answer a worker that wants a name, unless that depends on a file in flight."""
        if self._owner_of(event.index) != event.worker:
            return []  # it failed or its worker died without waiting for the answer
        in_name = self._in_name_of(event.index)
        answer = self._claims.claim(event.index, in_name, event.outname, event.exists)
        if answer.wait_for is None:
            self._executor.answer(event.worker, event.index, answer.refusal)
            return self.ask_again((event.index,))
        # The other file may still turn out to have another name. It is running, or was sent
        # ahead, perhaps to the very worker that waits here: then it is recalled first.
        self._waiting.setdefault(answer.wait_for, []).append(event)
        owner = self._owner_of(answer.wait_for)
        instructions = [] if owner is None else self._recall(owner)
        if self._executor.n_begun > 1:
            self._refuse(answer.wait_for)
        return instructions

    def _refuse(self, index: int) -> None:
        """Refuse the questions that wait for a file that has begun."""
        for event in self._waiting.pop(index, ()):
            in_name, other = self._in_name_of(event.index), self._in_name_of(index)
            refusal = (
                f"{shown(in_name)} and {shown(other)}, which are processed at the same time, may "
                f"both be written to {event.outname!r}; give different names, or run without "
                "overlap and batch_size"
            )
            self._executor.answer(event.worker, event.index, refusal)

    def ask_now(self, index: int, in_name: Any, outname: str, exists: bool) -> str:
        """Return why a name may not be written, empty if it may; where files run one by one."""
        return self._claims.claim(index, in_name, outname, exists).refusal

    def ask_again(self, indices: Iterable[int]) -> list[Instruction]:
        """Decide the claims that waited for files that have ended, asked or been recalled."""
        instructions: list[Instruction] = []
        for index in indices if self._waiting else ():
            for event in self._waiting.pop(index, ()):
                instructions += self.ask(event)
        return instructions
