"""Fibonacci numbers from a loop of stages: a graph that feeds itself, and knows when to end.

Three stages, each in a process of its own. One adds two streams; one passes the sums on and ends
the stream after 987; one delays them, so that a sum meets the one before. What begins the loop are
the first elements of two streams. When one stage ends, so do the others, one after another.

It needs no data. Run it::

    python examples/fibonacci_loop.py [--last 987] [--threads] [--svg FILE]
"""

import argparse
from pathlib import Path

from bigpipe.streaming import Graph, step


@step
def until(last):
    """Pass numbers on, and end the stream with the first that is not below ``last``."""
    passed_on = None
    while True:
        number = yield passed_on
        if number >= last:
            return number
        passed_on = number


def delayed(number):
    """Return what came: the stage is there for the elements under way in it."""
    return number


def fibonacci(last, executor="processes"):
    """Return the graph."""
    graph = Graph(executor=executor)
    graph.begin("before", 0)
    graph.begin("current", 1)
    graph.step("add", sum, takes=["before", "current"], gives="sum")
    graph.step("until", until(last), takes="sum", gives="current")
    graph.step("delay", delayed, takes="current", gives="before")
    graph.output("current")
    return graph


def main():
    parser = argparse.ArgumentParser(description="Fibonacci numbers from a loop of stages.")
    parser.add_argument("--last", type=int, default=987, help="where to end (%(default)s)")
    parser.add_argument("--threads", action="store_true", help="stages in threads")
    parser.add_argument("--svg", type=Path, help="draw the graph here")
    options = parser.parse_args()
    graph = fibonacci(options.last, "threads" if options.threads else "processes")
    print(graph.diagram())
    print()
    print(*graph)
    print()
    print(graph.report)
    if options.svg:
        options.svg.write_text(graph.diagram("svg"), encoding="utf-8")


if __name__ == "__main__":
    main()
