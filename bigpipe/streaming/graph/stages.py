"""Stages in a row, in parallel: one reads while the next one works and the last one writes.

Owns the declaration of a row of stages. It is a `bigpipe.streaming.graph.graph.Graph` in which each
stage takes the stream of the one before.
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
    """A step that is to run in several processes. `parallel` returns one."""

    work: Any
    """The step."""
    copies: int
    """Number of processes."""


def parallel(step: Any, copies: int) -> Parallel:
    """Run a stage of `Stages` in several processes.

    Parameters
    ----------
    step : step
        The step. Each process has a fresh copy and receives only some of the elements, so the
        result for one element should not depend on others.
    copies : int
        Number of processes.

    Returns
    -------
    Parallel
        Pass it to `Stages` in place of the step. Results keep the order of the elements.
    """
    return Parallel(step, copies)


class Stages(Graph):
    """A row of stages, each in its own process, joined by bounded queues.

    Iterate over it for the results of the last stage, or call `run`. Leaving the loop early ends
    all stages.

    Parameters
    ----------
    stages : sequence
        First the source: an iterable, or a function without arguments that returns or yields the
        elements; it is called in the stage's process. Then the steps, each alone or as
        ``parallel(step, n)``. A last step that writes may return ``None``.
    **options
        Options of `Graph`: ``prefetch``, ``executor``, ``on_error``, ``start_method``,
        ``threads_per_worker``, ``keywords``.

    Raises
    ------
    GraphError
        If there is no source.

    Notes
    -----
    Arrays pass from stage to stage through shared memory. They are copied once and never pickled. A
    stage may write into the arrays that it receives. With threads, the objects themselves are
    passed on.

    Each stage begins, runs and ends its step in its own process: ``local_init``, ``run``, then
    ``local_term``, also after an error or Ctrl-C. The result of ``local_term`` goes to the next
    stage.

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
        """Return a name that no other stage uses."""
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
            Text for a terminal, or a picture.
        streams : bool, optional
            Whether to show the names of the streams, which are those of their stages.

        Returns
        -------
        str
            The drawing.
        """
        return super().diagram(form, streams=streams)
