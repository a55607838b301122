"""Fibonacci numbers from a loop of stages: a graph that feeds its output back to its input.

Each of the three stages has its own process. One adds two streams. One passes the sums on and ends
the stream at 987. One delays the sums, so that each sum meets the one before it. Two streams have a
first element, which starts the loop. When one stage ends, the others end one after another.

It needs no data. Run it::

    python examples/fibonacci_loop.py [--last 987] [--threads] [--svg FILE]
"""

import argparse
from pathlib import Path

from bigpipe.streaming import Graph, step


@step
def until(last):
    """Pass numbers on, and end the stream with the first number that is not below ``last``."""
    passed_on = None
    while True:
        number = yield passed_on
        if number >= last:
            return number
        passed_on = number


def delayed(number):
    """Return the number unchanged: the stage only holds it back for a moment."""
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
    parser.add_argument("--last", type=int, default=987, help="end at this number (%(default)s)")
    parser.add_argument("--threads", action="store_true", help="run the stages in threads")
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
