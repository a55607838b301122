"""Stages in a row, side by side: one reads while the next one works and the last one writes.

Owns what a person writes for a row of stages. It is a `bigpipe.streaming.graph.graph.Graph` in
which each stage takes what the one before gives.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from bigpipe.context import name_of
from bigpipe.streaming.graph.graph import Graph
from bigpipe.streaming.graph.network import GraphError
from bigpipe.streaming.steps.base import Step

__all__ = ["Parallel", "Stages", "parallel"]


@dataclass(frozen=True)
class Parallel:
    """A step that is to run in several processes: what `parallel` returns."""

    work: Any
    """The step."""
    copies: int
    """How many."""


def parallel(step: Any, copies: int) -> Parallel:
    """Have a stage of `Stages` run in several processes.

    Parameters
    ----------
    step : step
        Each process has a fresh one. It gets whichever elements come to it, so what it makes of
        one should not depend on others.
    copies : int
        Processes.

    Returns
    -------
    Parallel
        What `Stages` takes in place of the step. Order is kept behind it.
    """
    return Parallel(step, copies)


class Stages(Graph):
    """A row of stages, each in a process of its own, joined by bounded queues.

    Iterate it for what the last stage gives, or call `run`. To leave the loop early ends all
    stages.

    Parameters
    ----------
    stages : sequence
        First the source: an iterable, or a function without arguments that returns or yields the
        elements; it is called in the stage's process. Then steps, each alone or as
        ``parallel(step, n)``. A step at the end that writes may return ``None``.
    **options
        As for `Graph`: ``prefetch``, ``executor``, ``on_error``, ``start_method``,
        ``threads_per_worker``, ``keywords``.

    Raises
    ------
    GraphError
        If there is no source.

    Notes
    -----
    An array crosses from stage to stage through shared memory; it is copied once, and never
    pickled. A stage may write into what it is given. With threads, elements are handed on
    themselves.

    Each stage begins, runs and ends its step in its own process: ``local_init``, ``run``, then
    ``local_term``, also after an error or Ctrl-C. What ``local_term`` returns travels on.

    Examples
    --------
    >>> stages = Stages([range(4), lambda n: n * n, str], executor="threads")
    >>> list(stages)
    ['0', '1', '4', '9']
    >>> stages.report["str"].n_taken
    4
    """

    def __init__(self, stages: Sequence[Any], **options: Any) -> None:
        super().__init__(**options)
        if not stages:
            raise GraphError("there are no stages: give a source and steps")
        source, *steps = stages
        if isinstance(source, (Step, Parallel)) or hasattr(source, "run"):
            raise GraphError(
                f"the first stage is the source, but {name_of(source)} is a step: before it, give "
                "an iterable, or a function without arguments that yields the elements"
            )
        name = self._own_name("source" if not callable(source) else name_of(source))
        self.source(name, source, gives=name)
        for work in steps:
            before = name
            given, copies = (work.work, work.copies) if isinstance(work, Parallel) else (work, 1)
            name = self._own_name(name_of(given))
            self.step(name, given, takes=before, gives=name, copies=copies)
        self.output(name)

    def _own_name(self, name: str) -> str:
        """Return a name that no other stage has."""
        taken = {node.name for node in self._nodes}
        number, own = 1, name
        while own in taken:
            number += 1
            own = f"{name} {number}"
        return own

    def diagram(self, form: str = "text", *, streams: bool = False) -> str:
        """Draw the stages.

        Parameters
        ----------
        form : {'text', 'svg'}, optional
            What to return: text for a terminal, or a picture.
        streams : bool, optional
            Show the names of the streams: each has that of its stage.

        Returns
        -------
        str
            The drawing.
        """
        return super().diagram(form, streams=streams)
