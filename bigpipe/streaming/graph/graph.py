"""Stages in parallel, with several streams in and out, switches, merges and loops.

Owns the declarations, and how a run is begun, watched and ended. `bigpipe.streaming.graph.network`
checks that they fit together; `bigpipe.streaming.graph.crew` runs them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from bigpipe.errors import OptionError
from bigpipe.measure import n_cores
from bigpipe.streaming.graph.crew import Crew
from bigpipe.streaming.graph.diagram import as_svg, as_text
from bigpipe.streaming.graph.figures import Report, of_caller, of_stage
from bigpipe.streaming.graph.members import ProcessMembers, ThreadMembers
from bigpipe.streaming.graph.network import GraphError, Network, Node
from bigpipe.streaming.graph.part_process import PartSetup
from bigpipe.streaming.steps.kinds import as_step

__all__ = ["Graph"]

Names = str | Iterable[str]


class Graph:
    """Stages and the streams between them, each stage in its own process.

    Declare stages in any order. Each stream has a name, comes from one stage, and goes to all
    stages that take it. Then iterate over the graph, or call `run`.

    Parameters
    ----------
    prefetch : int, optional
        Most elements on the way from one stage to the next. Default 2. If one branch collects
        elements that another lets through, the limit is raised as far as necessary.
    executor : {'processes', 'threads'}, optional
        Where stages run. Default processes: arrays pass through shared memory, with one copy.
    on_error : {'raise', 'skip'}, optional
        What to do when a step raises an exception: end all stages, or skip the element. Default
        ``'raise'``. An exception of a source always ends all stages.
    start_method : {None, 'fork', 'forkserver', 'spawn'}, optional
        How processes are started. Default: the fastest method that is safe.
    threads_per_worker : int, optional
        Threads of numerical libraries in each process. Default: an equal share of the cores.
    keywords : mapping, optional
        Keywords for each step's ``local_init``.

    Attributes
    ----------
    report : Report or None
        Report of the last run, once it has ended.

    Notes
    -----
    Elements keep their order, also after a stage in several copies. Each copy has its own step and
    takes an element whenever it has room, so the step should not depend on earlier elements. What
    the copies give at the end comes copy by copy.

    After a skipped element, the step continues as it is; a generator cannot, and begins anew.

    In processes, each stage has its own elements and may write into their arrays. In threads, the
    object itself is passed on, possibly to several stages.

    Examples
    --------
    >>> graph = Graph(executor="threads")
    >>> graph.source("numbers", range(6), gives="n")
    >>> graph.switch("by parity", lambda n: n % 2, takes="n", gives={0: "even", 1: "odd"})
    >>> graph.step("sums", sum, takes=["even", "odd"], gives="sum")
    >>> graph.output("sum")
    >>> list(graph)
    [1, 5, 9]
    """

    def __init__(
        self,
        *,
        prefetch: int = 2,
        executor: str = "processes",
        on_error: str = "raise",
        start_method: str | None = None,
        threads_per_worker: int | None = None,
        keywords: Mapping[str, Any] | None = None,
    ) -> None:
        _check(prefetch, executor, on_error)
        self.report: Report | None = None
        self._prefetch = prefetch
        self._executor = executor
        self._on_error = on_error
        self._start_method = start_method
        self._threads = threads_per_worker
        self._keywords = dict(keywords or {})
        self._nodes: list[Node] = []
        self._first: dict[str, tuple[Any, ...]] = {}
        self._outputs: list[str] = []
        self._crew: Crew | None = None

    # Declaring

    def source(self, name: str, work: Any, gives: str) -> None:
        """Add a stage that provides elements.

        Parameters
        ----------
        name : str
            Name of the stage.
        work : iterable or callable
            The elements, or a function without arguments that returns or yields them; it is
            called in the stage's process. ``None`` is skipped.
        gives : str
            Name of the stream.
        """
        if not hasattr(type(work), "__iter__") and not callable(work):
            raise GraphError(
                f"the source {name!r} is {work!r}: give an iterable, or a function that returns one"
            )
        self._add(Node(name, "source", work, (), _names(gives)))

    def step(
        self,
        name: str,
        work: Any,
        takes: Names,
        gives: Names = (),
        *,
        copies: int = 1,
        strict: bool = True,
    ) -> None:
        """Add a stage that runs a step on each element.

        Parameters
        ----------
        name : str
            Name of the stage.
        work : step
            A function, a generator step or an object with ``run``.
        takes : str or iterable of str
            The stream to take. With several, the step receives a tuple with one element of each.
        gives : str or iterable of str, optional
            The stream to give. With several, the step returns a tuple, with ``None`` where a
            stream gets nothing. Without any, results are dropped.
        copies : int, optional
            Number of processes in which it runs in parallel.
        strict : bool, optional
            Whether it is an error if one of several streams ends before another. Streams of a
            loop may always differ.
        """
        node = Node(name, "step", work, _names(takes), _names(gives), copies, is_strict=strict)
        as_step(work)  # raises if it is not a step
        if not node.takes:
            raise GraphError(f"the stage {name!r} takes no stream: give one, or use source()")
        self._add(node)

    def switch(
        self,
        name: str,
        choose: Callable[[Any], Any],
        takes: str,
        gives: Mapping[Any, str] | Sequence[str],
    ) -> None:
        """Add a stage that sends each element to one of several streams.

        Parameters
        ----------
        name : str
            Name of the stage.
        choose : callable
            Called with the element. Its result selects the stream.
        takes : str
            The stream to take.
        gives : mapping or sequence of str
            The stream for each result of `choose`. With a sequence, `choose` returns the name of
            the stream.
        """
        keys = gives if isinstance(gives, Mapping) else {each: each for each in _names(gives)}
        streams = tuple(dict.fromkeys(keys.values()))
        self._add(Node(name, "switch", choose, _names(takes), streams, keys=dict(keys)))

    def merge(self, name: str, takes: Iterable[str], gives: str) -> None:
        """Add a stage that combines several streams into one, in the order in which elements come.

        Elements of one stream keep their order; how they mix with others may differ from run to
        run. Elements enter a loop through a merge.

        Parameters
        ----------
        name : str
            Name of the stage.
        takes : iterable of str
            The streams to take.
        gives : str
            The stream to give.
        """
        self._add(Node(name, "merge", None, _names(takes), _names(gives)))

    def begin(self, stream: str, *elements: Any) -> None:
        """Let a stream begin with some elements, so that a loop need not wait for itself.

        Parameters
        ----------
        stream : str
            The stream.
        *elements : object
            Elements that come before those of its stage.
        """
        self._first[stream] = self._first.get(stream, ()) + elements

    def output(self, *streams: str) -> None:
        """Make streams the output, over which you iterate.

        Parameters
        ----------
        *streams : str
            One stream, to get its elements; several, to get tuples of stream name and element.
        """
        self._outputs += [stream for stream in streams if stream not in self._outputs]

    def _add(self, node: Node) -> None:
        if any(each.name == node.name for each in self._nodes):
            raise GraphError(f"there are two stages {node.name!r}: give each its own name")
        self._nodes.append(node)

    def check(self) -> None:
        """Check that the graph can run.

        Raises
        ------
        GraphError
            If a stream has no source or no taker, or a loop lacks a first element. The message
            names the stage, the stream and the remedy.
        """
        self._network()

    def _network(self) -> Network:
        return Network(self._nodes, self._first, self._outputs)

    def diagram(self, form: str = "text", *, streams: bool = True) -> str:
        """Draw the graph.

        Parameters
        ----------
        form : {'text', 'svg'}, optional
            Text for a terminal, or a picture.
        streams : bool, optional
            Whether to show the names of the streams.

        Returns
        -------
        str
            The drawing.
        """
        if form not in ("text", "svg"):
            raise OptionError(f"form must be 'text' or 'svg', not {form!r}")
        draw = as_svg if form == "svg" else as_text
        return draw(self._nodes, self._first, self._outputs, with_streams=streams)

    # Running

    def run(self) -> Report:
        """Run to the end and drop the results.

        Returns
        -------
        Report
            Figures of all stages.
        """
        for _ in self:
            pass
        assert self.report is not None
        return self.report

    def __iter__(self) -> Iterator[Any]:
        """Run, and iterate over the results. Leaving the loop ends all stages."""
        network = self._network()
        crew = Crew(network, self._place(network), self._setups(network))
        self.report = None
        self._crew = crew
        has_one = len(self._outputs) == 1
        try:
            crew.start()
            while (taken := crew.next()) is not None:
                yield taken[1] if has_one else taken
                del taken  # so that its memory can be reused
        finally:
            crew.close()
            self.report = self._figures(crew)

    def _place(self, network: Network) -> ProcessMembers | ThreadMembers:
        if self._executor == "threads":
            return ThreadMembers(network)
        return ProcessMembers(network, self._start_method)

    def _setups(self, network: Network) -> list[PartSetup]:
        threads = self._threads
        if threads is None and self._executor == "processes":
            threads = max(1, n_cores() // len(network.parts))
        skips = self._on_error == "skip"
        return [
            PartSetup(part, self._keywords, skips, self._prefetch, threads)
            for part in network.parts
        ]

    def status(self) -> Report | None:
        """Return the figures of all stages so far; ``None`` before the first run.

        You may call it at any time, in the loop or in another thread. It does not slow the run.
        """
        return None if self._crew is None else self._figures(self._crew)

    def _figures(self, crew: Crew) -> Report:
        until = time.monotonic() if crew.ended_at is None else crew.ended_at
        elapsed_s = until - crew.began_at
        stages = []
        for node in self._nodes:
            meters = [
                member.meter for member in list(crew.members) if member.part.node.name == node.name
            ]
            stages.append(of_stage(node.name, meters, elapsed_s))
        is_over = crew.ended_at is not None
        stages.append(of_caller(crew.n_taken, crew.waited_s, elapsed_s, is_over))
        return Report(stages, elapsed_s, is_over, list(crew.skipped))

    def close(self) -> None:
        """End the run, if one is active."""
        if self._crew is not None:
            self._crew.close()

    def __enter__(self) -> Graph:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


def _names(names: Names) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)


def _check(prefetch: int, executor: str, on_error: str) -> None:
    if prefetch < 1:
        raise OptionError(f"prefetch must be 1 or more, not {prefetch}")
    if executor not in ("processes", "threads"):
        raise OptionError(f"executor must be 'processes' or 'threads', not {executor!r}")
    if on_error not in ("raise", "skip"):
        raise OptionError(f"on_error must be 'raise' or 'skip', not {on_error!r}")
